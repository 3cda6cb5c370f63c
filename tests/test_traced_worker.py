"""A worker that traces and logs JSON: its spans, and its lines, from every place a handler runs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgqueue import NewJob
from tests.process import Stage

pytestmark = pytest.mark.smoke

PLACES = ("on-loop", "in-thread", "in-child")
THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Seen:
    """What a worker that ran one job of each task left behind."""

    def __init__(self, dsn: str, home: Path) -> None:
        with Stage(dsn, home) as stage:
            worker = stage.command("--log-format", "json", tasks="tests.traced_tasks:tasks")
            names = [*PLACES, "fails"]
            said: Any = {"metadata": {"traceparent": THEIRS}, "max_attempts": 1}
            jobs = [NewJob(name, **said) for name in names]
            self.ids = dict(zip(names, stage.enqueue(*jobs), strict=True))
            stage.until_drained()
            worker.terminate()
            assert worker.wait(within=30) == 0
            self.lines = worker.log.splitlines()
        self.records = [json.loads(line) for line in self.lines]
        self.spans: list[tuple[str, dict[str, Any]]] = [
            (path.stem, json.loads(line))
            for path in home.glob("*.spans")
            for line in path.read_text().splitlines()
        ]

    def attempt(self, task: str) -> tuple[str, dict[str, Any]]:
        """The process and the span of the attempt at the job of *task*."""
        ((pid, span),) = [
            (pid, span)
            for pid, span in self.spans
            if span["attributes"].get("pgqueue.task") == task
        ]
        return pid, span

    def work(self, task: str) -> tuple[str, dict[str, Any]]:
        """The process and the span of what the handler of *task* traced."""
        trace_id = self.attempt(task)[1]["context"]["trace_id"]
        ((pid, span),) = [
            (pid, span)
            for pid, span in self.spans
            if span["name"] == "work" and span["context"]["trace_id"] == trace_id
        ]
        return pid, span


@pytest.fixture(scope="module")
def seen(pgqueue_databases: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    databases = pgqueue_databases
    dsn = databases.create_migrated()
    yield Seen(dsn, tmp_path_factory.mktemp("traced"))
    databases.drop(dsn)


@pytest.mark.parametrize("task", PLACES)
def test_what_a_handler_traces_is_below_its_attempt_wherever_it_runs(seen: Seen, task: str) -> None:
    pid, attempt = seen.attempt(task)
    where, work = seen.work(task)
    assert work["parent_id"] == attempt["context"]["span_id"]
    assert (where == pid) == (task != "in-child")
    assert [link["context"]["span_id"] for link in attempt["links"]] == ["0x00f067aa0ba902b7"]


@pytest.mark.parametrize("task", PLACES)
def test_a_line_from_a_handler_names_job_worker_and_span(seen: Seen, task: str) -> None:
    _, work = seen.work(task)
    (worker_id,) = {each["worker_id"] for each in seen.records if "worker_id" in each}
    for logger, message in (
        ("shop", "working\r\nhard \x1b[31m\x9b31m\u2028 at it"),
        ("shop.structured", "counted"),
    ):
        (record,) = [
            each
            for each in seen.records
            if each.get("task") == task and each["logger"] == logger and each["level"] == "INFO"
        ]
        assert record["message"] == message
        assert {name: record[name] for name in ("job_id", "attempt", "queue", "run")} == {
            "job_id": seen.ids[task],
            "attempt": 1,
            "queue": "default",
            "run": 1,
        }
        assert record["worker_id"] == worker_id
        assert f"0x{record['trace_id']}" == work["context"]["trace_id"]
        assert f"0x{record['span_id']}" == work["context"]["span_id"]
        assert (record.get("books") == 3) == (logger == "shop.structured")


def test_every_line_of_the_worker_is_one_object_that_no_terminal_obeys(seen: Seen) -> None:
    for line in seen.lines:
        assert line.isprintable(), line
    said = [record["message"] for record in seen.records if record["logger"] == "pgqueue.worker"]
    assert any(" runs 4 tasks" in message for message in said)
    assert any(message.endswith(" stopped") for message in said)
    assert any("two\nlines" in each["message"] for each in seen.records), "a warning of Python's"


def test_a_failed_attempt_is_a_line_with_the_trace_of_who_enqueued(seen: Seen) -> None:
    (record,) = [each for each in seen.records if each["message"].startswith("job_failed")]
    assert record["job_id"] == seen.ids["fails"]
    assert record["trace_id"] == THEIRS.split("-")[1]
    assert record["error"] == "no\nsuch password=[redacted]"
    assert "worker_id" in record


def test_the_exception_of_a_child_is_an_object(seen: Seen) -> None:
    (record,) = [each for each in seen.records if each["message"] == "caught"]
    assert record["exception"]["type"] == "ValueError"
    assert "in in_child" in record["exception"]["traceback"]
    assert "hunter2" not in "\n".join(seen.lines)
