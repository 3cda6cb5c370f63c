"""What workers tell of themselves: true, whole under --processes, never backwards, not when off."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgqueue import Tasks
from pgqueue.metrics import Histogram, Reading
from pgqueue.worker import Settings, Worker
from pgqueue.worker.families import ATTEMPTS, FAMILIES, HELD, LISTENER, RUN
from tests import rate_tasks as rate
from tests.process import Stage, WorkerProcess
from tests.scraping import (
    OPENMETRICS,
    Scrape,
    free_port,
    is_answering,
    lint,
    scrape,
    went_down,
)
from tests.test_rollups import some_of_everything
from tests.test_worker_process import ask
from tests.worker_tasks import wait

TASKS = "tests.rate_tasks:tasks"
OUTCOMES = ("succeeded", "failed", "timed_out", "cancelled", "snoozed", "released")
RECOUNT = """
SELECT outcome, count(*) FROM (
    SELECT state AS outcome FROM pgqueue.finished_jobs WHERE started_at IS NOT NULL
    UNION ALL SELECT outcome FROM pgqueue.attempts
) AS ended GROUP BY outcome
"""


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


def counted(told: Scrape) -> dict[str, float]:
    """How many attempts ended in each way, over all tasks."""
    return {
        outcome: sum(told.values("pgqueue_worker_attempts_total", outcome=outcome))
        for outcome in OUTCOMES
    }


def happened(stage: Stage) -> dict[str, float]:
    """The same, as history has it."""
    return {**dict.fromkeys(OUTCOMES, 0), **dict(stage.sql(RECOUNT))}


def test_a_worker_tells_what_it_did_and_how_it_stands(stage: Stage) -> None:
    port = free_port()
    worker = stage.start(
        tasks=TASKS, queues={"default": 20, "other": 5}, metrics_port=port, health_port=port
    )
    stage.ready(worker)
    stage.until(lambda: is_answering(port))
    fresh = scrape(port)
    assert fresh.value("pgqueue_worker_attempts_total", task="die", outcome="failed") == 0
    some_of_everything(stage, 10)
    stage.until_drained()
    stage.until(lambda: counted(scrape(port)) == happened(stage))
    told = scrape(port, OPENMETRICS)
    assert went_down(fresh, scrape(port)) == {}

    for family in FAMILIES:
        if family.name == "pgqueue_worker_exits":  # the parent of several has those
            continue
        found = told.families[family.name]
        assert (found.type, found.documentation) == (family.kind, family.help)
        assert found.samples, family.name
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)
    assert told.value("pgqueue_worker_slots", queue="default") == 20
    assert told.value("pgqueue_worker_busy", queue="default") == 0
    assert told.value("pgqueue_worker_held") == 0
    assert told.value("pgqueue_worker_listener_up") == 1
    assert told.value("pgqueue_worker_connected", connection="pump") == 1
    assert told.value("pgqueue_worker_deaths_total", task="die") == stage.value(
        "SELECT count(*) FROM pgqueue.jobs WHERE state = 'dead' AND task = 'die'"
    )
    succeeded = told.value("pgqueue_worker_attempts_total", task="succeed", outcome="succeeded")
    assert told.value("pgqueue_worker_run_seconds_count", task="succeed") == succeeded
    assert told.value("pgqueue_worker_run_seconds_sum", task="time-out") >= 5 * 0.2
    assert told.value("pgqueue_worker_pump_seconds_count") > 0
    assert told.value("pgqueue_worker_loop_lag_seconds_count") > 0
    assert ask(port, "/ready") == 200
    assert ask(port, "/nothing") == 404
    lint(scrape(port))


def test_slots_that_are_taken_and_jobs_in_hand_are_seen_while_they_are(stage: Stage) -> None:
    port = free_port()
    worker = stage.start(queues={"default": 3}, metrics_port=port)
    stage.ready(worker)
    jobs = stage.enqueue(*[wait.job(gate="go") for _ in range(2)])
    stage.until_started(*jobs)
    told = scrape(port)
    assert told.value("pgqueue_worker_busy", queue="default") == 2
    assert told.value("pgqueue_worker_held") == 2
    stage.journal.open_gate("go")
    stage.until(lambda: scrape(port).value("pgqueue_worker_held") == 0)


def test_a_parent_adds_up_its_members_and_outlives_them_without_a_step_back(stage: Stage) -> None:
    port = free_port()
    parent = stage.start(
        tasks=TASKS, processes=2, queues={"default": 8, "other": 3}, metrics_port=port
    )
    stage.until(lambda: len(stage.rows_of(parent)) == 2)
    stage.until(lambda: is_answering(port))
    assert scrape(port).value("pgqueue_worker_slots", queue="default") == 16

    def all_told() -> bool:
        return counted(scrape(port)) == happened(stage)

    some_of_everything(stage, 10)
    stage.until_drained()
    stage.until(all_told)
    before = scrape(port)
    assert before.value("pgqueue_worker_processes", state="answering") == 2
    assert "pgqueue_worker_connected" in before.families

    # One is told to stop, after more jobs than the parent has heard of: its last words count.
    some_of_everything(stage, 5)
    stage.until_drained()
    first, second = members(parent)
    os.kill(first, signal.SIGTERM)
    stage.until(lambda: scrape(port).value("pgqueue_worker_exits_total") == 1)
    stage.until(all_told)
    after_stop = scrape(port)
    assert went_down(before, after_stop) == {}

    # The other is killed: what it said last goes on being counted.
    os.kill(second, signal.SIGKILL)
    stage.until(lambda: scrape(port).value("pgqueue_worker_exits_total") == 2)
    stage.until(lambda: len(members(parent)) == 2)
    assert went_down(after_stop, scrape(port)) == {}
    stage.until(lambda: scrape(port).value("pgqueue_worker_processes", state="answering") == 2)


def test_a_member_that_hangs_is_not_waited_for_and_keeps_its_counts(stage: Stage) -> None:
    port = free_port()
    parent = stage.start(tasks=TASKS, processes=2, queues={"default": 4}, metrics_port=port)
    stage.until(lambda: len(stage.rows_of(parent)) == 2)
    stage.enqueue(*[rate.succeed.job() for _ in range(20)])
    stage.until_drained()
    stage.until(lambda: is_answering(port) and counted(scrape(port))["succeeded"] == 20)
    before = scrape(port)
    hangs, _ = members(parent)
    os.kill(hangs, signal.SIGSTOP)
    try:
        told = scrape(port, timeout=9)
    finally:
        os.kill(hangs, signal.SIGCONT)
    assert told.value("pgqueue_worker_processes", state="running") == 2
    assert told.value("pgqueue_worker_processes", state="answering") == 1
    assert told.value("pgqueue_worker_slots", queue="default") == 4
    assert went_down(before, told) == {}


def members(parent: WorkerProcess) -> list[int]:
    """The processes of the members that run."""
    listing = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--ppid", str(parent.pid)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [int(pid) for pid, state in rows if not state.startswith("Z")]


def test_a_worker_that_nobody_asks_keeps_no_figures(dsn: str) -> None:
    async def look(**settings: int | bool) -> list[object]:
        async with Worker(Tasks(), dsn, Settings(**settings)) as worker:  # type: ignore[arg-type]
            await asyncio.sleep(0)  # its parts have begun
            parts = worker.parts
            running = "pgqueue-meter" in {task.get_name() for task in asyncio.all_tasks()}
            return [running, parts.tally.on_taken, parts.pump.on_round_trip, parts.ears.on_figures]

    assert asyncio.run(look()) == [False, None, None, None]
    assert None not in asyncio.run(look(metered=True))


def test_readings_are_added_up_as_each_family_says_and_survive_the_line() -> None:
    one, other = Reading(), Reading()
    one.put(ATTEMPTS, 3, "q", "t", "failed")
    one.put(RUN, Histogram([1, 2], 0.5), "q", "t")
    one.put(LISTENER, 1)
    one.put(HELD, 4)
    other.put(ATTEMPTS, 4, "q", "t", "failed")
    other.put(ATTEMPTS, 5, "q", "t", "lost")
    other.put(RUN, Histogram([0, 1, 7], 2.0), "q", "t")
    other.put(LISTENER, 0)
    other.put(HELD, 6)
    both = Reading.from_json(one.to_json(), FAMILIES)
    both.add(other)
    assert dict(both) == {
        ATTEMPTS: {("q", "t", "failed"): 7, ("q", "t", "lost"): 5},
        RUN: {("q", "t"): Histogram([1, 3, 7], 2.5)},
        LISTENER: {(): 0},
        HELD: {(): 10},
    }
    gone = Reading()
    gone.add(both, gauges=False)
    assert {family for family, _ in gone} == {ATTEMPTS, RUN}
