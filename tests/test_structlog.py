"""structlog writes every line of a worker, the worker's own and those of process children too."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.stdlib import ProcessorFormatter

from pgqueue import JobFields, KeyRing, Tasks, enqueue, log_fields
from pgqueue.testing import drain
from tests.process import Stage

pytestmark = pytest.mark.smoke

Record = dict[str, Any]


@pytest.fixture(scope="module")
def records(
    pgqueue_databases: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Record]]:
    """What a worker with the set-up of the README logs of one job of each kind."""
    dsn = pgqueue_databases.create_migrated()
    with Stage(dsn, tmp_path_factory.mktemp("structlog")) as stage:
        worker = stage.command(tasks="tests.structured_tasks:tasks")
        for task in ("on-loop", "in-thread", "in-child"):
            stage.sql("SELECT pgqueue.enqueue(%s)", task)
        stage.until_drained()
        worker.terminate()
        assert worker.wait(within=30) == 0
        lines = worker.log.splitlines()
    yield [json.loads(line) for line in lines]
    pgqueue_databases.drop(dsn)


def test_every_line_is_one_object_the_lifecycle_included(records: list[Record]) -> None:
    events = [record["event"] for record in records]
    assert any(" runs 3 tasks from default=10" in event for event in events)
    assert any(event.endswith(" stopped") for event in events)


@pytest.mark.parametrize("task", ["on-loop", "in-thread", "in-child"])
def test_lines_of_the_standard_library_name_their_job(records: list[Record], task: str) -> None:
    own = {each["event"]: each for each in records if each.get("task") == task}
    (worker_id,) = {each["worker_id"] for each in records if "worker_id" in each}
    for event in ("by the\nstandard library", "caught"):
        assert own[event]["worker_id"] == worker_id
        assert (own[event]["attempt"], own[event]["run"], own[event]["queue"]) == (1, 1, "default")
    assert "ValueError" in json.dumps(own["caught"]["exception"])


def test_lines_of_structlog_name_the_job_that_the_middleware_bound(records: list[Record]) -> None:
    said = [each for each in records if each["event"] == "by structlog"]
    assert [each["books"] for each in said] == [3, 3, 3]
    assert {each.get("task") for each in said} == {"on-loop", "in-thread", None}
    bound = [each for each in said if "task" in each]
    assert all(each["job_id"] and each["worker_id"] for each in bound)


def test_a_processor_names_the_job_wherever_it_runs(connection: Any) -> None:
    tasks = Tasks()
    seen: list[dict[str, Any]] = []

    @tasks.task("says")
    def says() -> None:
        seen.append(log_fields())

    job = enqueue(connection, says.job(), metadata={"trace_id": "abc"})
    drain(connection, tasks)
    assert seen == [
        {
            "job_id": job.id,
            "attempt": 1,
            "queue": "default",
            "task": "says",
            "run": 1,
            "trace_id": "abc",
        }
    ]
    assert log_fields() == {}
    assert structlog.contextvars.get_contextvars() == {}


def test_what_is_encrypted_of_a_job_is_hidden_in_an_event_too(connection: Any) -> None:
    tasks = Tasks(keys=KeyRing({"k": b"0" * 32}))
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    ear = Ear()
    ear.addFilter(JobFields())
    ear.setFormatter(ProcessorFormatter(structlog.processors.JSONRenderer()))
    log = logging.getLogger("of.an.encrypted.job")
    log.addHandler(ear)

    @tasks.task("hides", encrypt=True)
    def hides(name: str) -> None:
        (event,), extra = ProcessorFormatter.wrap_for_formatter(
            log, "warning", {"event": "greeted", "who": name, "books": 3}
        )
        log.warning(event, **extra)

    enqueue(connection, hides.job("Ada Lovelace"))
    drain(connection, tasks)
    log.removeHandler(ear)
    assert [json.loads(line) for line in lines] == [
        {"event": "greeted", "who": "[encrypted]", "books": 3}
    ]
