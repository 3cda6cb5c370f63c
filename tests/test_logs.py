"""Every line that is logged below a handler names its job, for people and for machines."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.logging_tasks import in_child, in_thread, on_loop, outside
from tests.process import Stage

TASKS = "tests.logging_tasks:tasks"
SAID = {
    "on-loop": {
        "in the handler",
        "with the context's log",
        "in a task of the handler's",
        "in a thread of the handler's",
    },
    "in-thread": {"in the handler", "with the context's log"},
    "in-child": {"in the handler", "with the context's log", "two\nlines"},
}
JOBS = [on_loop.job(), in_thread.job(), in_child.job(), outside.job()]


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


def logged(stage: Stage, *words: str) -> tuple[list[str], dict[str, int]]:
    """Run the jobs; return what was logged, and the job of each task."""
    worker = stage.command(*words, tasks=TASKS)
    ids = stage.enqueue(*[job.options(queue="default") for job in JOBS])
    stage.until_drained()
    worker.terminate()
    worker.wait(within=20)
    names = [job.task for job in JOBS]
    return worker.log.splitlines(), dict(zip(names, ids, strict=True))


def test_each_line_of_json_has_the_fields_of_its_job(stage: Stage) -> None:
    lines, ids = logged(stage, "--log-format", "json")
    records = [json.loads(line) for line in lines]

    for task, said in SAID.items():
        own = [record for record in records if record.get("task") == task]
        assert {record["message"] for record in own} == said
        for record in own:
            fields = {name: record[name] for name in ("job_id", "attempt", "queue")}
            assert fields == {"job_id": ids[task], "attempt": 1, "queue": "default"}
            assert record["level"] == "INFO"
    assert [record["order"] for record in records if "order" in record] == [17]
    (stray,) = [record for record in records if record["message"] == "of no job"]
    assert "job_id" not in stray
    assert all({"at", "level", "logger", "message"} <= record.keys() for record in records)


def test_each_line_of_text_ends_with_its_job(stage: Stage) -> None:
    lines, ids = logged(stage)

    for task, said in SAID.items():
        mark = f" [{task} {ids[task]}.1 default]"
        own = [line.removesuffix(mark) for line in lines if line.endswith(mark)]
        assert len(own) == len(said)
        for message in said:
            printed = message.replace("\n", "\\n")
            assert [line for line in own if line.endswith(f" {printed}")], "one line each"
    (stray,) = [line for line in lines if "of no job" in line]
    assert stray.endswith("of no job")
