"""Process children run jobs: real processes, no database."""

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from pgqueue.context import Context, Stop, Why, enter
from pgqueue.errors import LargePayload
from pgqueue.outcome import Cancelled, Crashed, Died, Lost, Released, Retried, Succeeded
from tests.child_tasks import Visit, tasks
from tests.crew import MOMENT, hire, make, own_children, played, vanishes

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
FOREVER = 3600.0


@played
async def test_arguments_and_result_cross_unchanged() -> None:
    async with hire() as crew:
        job = make("echo", visit=Visit("Ada", MOMENT))
        outcome = await crew.run(job)
        assert isinstance(outcome, Succeeded)
        assert outcome.job is job
        assert outcome.started <= outcome.ended
        assert tasks["echo"].codec.loads(outcome.result or "") == Visit("Ada", MOMENT)


@played
async def test_large_arguments_and_results_cross_too() -> None:
    text = "ä€" * 150_000
    async with hire() as crew:
        with pytest.warns(LargePayload):
            assert await crew.value("large", text=text) == text[::-1]


@played
async def test_a_handler_that_raises_is_retried_as_anywhere_else() -> None:
    async with hire() as crew:
        outcome = await crew.run(make("fail", message="no"))
        assert isinstance(outcome, Retried)
        assert (outcome.failure.type, outcome.failure.message) == ("ValueError", "no")
        assert "child_tasks.py" in (outcome.failure.traceback or "")


@pytest.mark.parametrize(("times", "kind"), [(3, Succeeded), (4, Died)])
@played
async def test_a_conflict_is_settled_within_the_attempt(times: int, kind: type) -> None:
    async with hire() as crew:
        outcome = await crew.run(make("conflicts", times=times)._replace(max_attempts=1))
    assert isinstance(outcome, kind)


@played
async def test_a_child_is_kept_for_the_next_job() -> None:
    async with hire() as crew:
        first = await crew.value("pid")
        await crew.run(make("fail", message="no"))
        assert await crew.value("pid") == first != os.getpid()


@pytest.mark.parametrize(
    ("task", "arguments", "death"),
    [
        ("abort", {}, "signal SIGABRT"),
        ("segfault", {}, "signal SIGSEGV"),
        ("kill", {}, "signal SIGKILL, for want of memory perhaps"),
        ("exit", {"status": 3}, "exit status 3"),
    ],
)
@played
async def test_a_crash_is_charged_to_its_job_and_the_next_runs_in_a_new_child(
    task: str, arguments: dict[str, Any], death: str
) -> None:
    async with hire() as crew:
        first = await crew.value("pid")
        outcome = await crew.run(make(task, **arguments))
        assert isinstance(outcome, Crashed)
        assert outcome.why == f"the process running it died: {death}"
        assert await crew.value("pid") != first


@pytest.mark.parametrize("task", ["spin", "freeze"])
@played
async def test_a_timeout_ends_what_nothing_else_can(task: str) -> None:
    async with hire() as crew:
        outcome = await crew.run(make(task, timeout=0.3))
        assert isinstance(outcome, Retried)
        assert outcome.timed_out
        assert outcome.failure.type == "Timeout"
        assert 0.3 <= outcome.ended - outcome.started < 5
        assert await vanishes(await crew.hear_pid())
        assert await crew.value("pid") > 0


@played
async def test_the_last_timeout_is_death() -> None:
    async with hire() as crew:
        outcome = await crew.run(make("spin", timeout=0.1)._replace(failures=4))
        assert isinstance(outcome, Died)
        assert outcome.reason == "timeout"


@played
async def test_a_handler_sees_that_it_is_cancelled() -> None:
    async with hire() as crew:
        stop = Stop()
        running = asyncio.create_task(crew.run(make("give_up"), stop))
        pid = await crew.hear_pid()
        threading.Thread(target=stop.request, args=(Why.CANCELLED,)).start()
        outcome = await running
        assert isinstance(outcome, Cancelled)
        assert outcome.why == "as you wish"
        assert await crew.value("pid") == pid


@played
async def test_a_finish_wins_over_a_cancel() -> None:
    async with hire() as crew:
        stop = Stop()
        running = asyncio.create_task(crew.run(make("polite"), stop))
        await crew.hear_pid()
        stop.request(Why.CANCELLED)
        outcome = await running
        assert isinstance(outcome, Succeeded)
        assert outcome.result == '"stopped because cancelled by a person"'


@played
async def test_a_stop_says_nothing_to_the_job_after_it() -> None:
    async with hire() as crew:
        stop = Stop()
        running = asyncio.create_task(crew.run(make("polite"), stop))
        pid = await crew.hear_pid()
        stop.request(Why.SHUTDOWN)
        await running
        assert stop.on_request is not None
        stop.on_request(Why.SHUTDOWN)
        outcome = await crew.run(make("polite", timeout=0.2))
        assert isinstance(outcome, Retried)
        assert outcome.timed_out
        assert await vanishes(pid)


@pytest.mark.parametrize(
    ("why", "kind"), [(Why.CANCELLED, Cancelled), (Why.SHUTDOWN, Released), (Why.LOST, Lost)]
)
@played
async def test_a_deaf_handler_is_killed_after_the_grace(why: Why, kind: type) -> None:
    async with hire(grace=FOREVER if why is Why.LOST else 0.2) as crew:
        stop = Stop()
        running = asyncio.create_task(crew.run(make("spin", timeout=None), stop))
        pid = await crew.hear_pid()
        stop.request(why)
        assert isinstance(await running, kind)
        assert await vanishes(pid)
        assert await crew.value("pid") != pid


@played
async def test_a_job_that_waits_for_a_child_can_be_stopped() -> None:
    async with hire() as crew:
        busy = Stop()
        running = asyncio.create_task(crew.run(make("polite"), busy))
        await crew.hear_pid()
        stop = Stop()
        waiting = asyncio.create_task(crew.run(make("pid"), stop))
        await asyncio.sleep(0)
        stop.request(Why.SHUTDOWN)
        assert isinstance(await waiting, Released)
        busy.request(Why.CANCELLED)
        assert isinstance(await running, Succeeded)
        assert await crew.value("pid") > 0


@played
async def test_a_job_stopped_before_it_began_is_not_run() -> None:
    before = own_children()
    async with hire() as crew:
        stop = Stop()
        stop.request(Why.CANCELLED)
        assert isinstance(await crew.run(make("abort"), stop), Cancelled)
        assert own_children() == before


@played
async def test_the_crew_never_exceeds_its_size() -> None:
    before = own_children()
    most = 0
    async with hire(size=2, max_jobs=2) as crew:

        async def one() -> int:
            nonlocal most
            pid: int = await crew.value("pid")
            most = max(most, len(own_children() - before))
            return pid

        pids = await asyncio.gather(*(one() for _ in range(9)))
    assert most <= 2
    assert len(set(pids)) >= 5


@played
async def test_a_child_is_replaced_after_max_jobs() -> None:
    async with hire(max_jobs=2) as crew:
        pids = [await crew.value("pid") for _ in range(4)]
        assert pids[0] == pids[1] != pids[2] == pids[3]
        assert await vanishes(pids[0])


@linux_only
@pytest.mark.parametrize("task", ["allocate", "hoard"])
@played
async def test_out_of_memory_is_a_failure_of_the_job_and_costs_the_child(task: str) -> None:
    async with hire(memory_mb=512) as crew:
        first = await crew.value("pid")
        outcome = await crew.run(make(task))
        assert isinstance(outcome, Retried), outcome
        assert outcome.failure.type == "MemoryError"
        # Which of its lines could still be had is luck, but there is room to write them down.
        assert (outcome.failure.traceback or "").rstrip().endswith("MemoryError")
        assert await crew.value("pid") != first


@played
async def test_logs_join_the_parents_with_the_fields_of_their_job(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logging.getLogger("tests.verbose").setLevel(logging.DEBUG)
    async with hire() as crew:
        await crew.value("talk", id=77)

    said = {r.getMessage(): vars(r) for r in crew.records}
    assert list(said) == [
        "low but wanted",
        "once, please",
        "by context",
        "by hand",
        "with a traceback",
    ]
    for fields in said.values():
        assert (fields["job_id"], fields["task"], fields["queue"]) == (77, "talk", "default")
        assert fields["process"] != os.getpid()
    assert (said["by hand"]["size"], said["by hand"]["at"]) == (3, "somewhere")
    assert (said["by hand"]["name"], said["by hand"]["funcName"]) == ("tests.child_tasks", "talk")
    assert "KeyError: 'k'" in said["with a traceback"]["exc_text"]
    out, _ = capfd.readouterr()
    assert "printed\n" in out
    assert out.count("once, please") <= 1  # the parent's, if that is captured here


@played
async def test_what_belongs_to_no_job_is_not_logged_for_the_one_its_child_was_started_for() -> None:
    enter(Context(make("pid", id=5)))
    async with hire() as crew:
        await crew.value("murmur", id=5)

    (record,) = crew.records
    assert "job_id" not in vars(record)


@played
async def test_a_handler_finds_itself_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    async with hire() as crew:
        for id in (1, 2):
            around = await crew.value("around", id=id)
            assert str(tmp_path) in around.pop("path")
            assert around == {
                "current": True,
                "state": None,
                "before": None,
                "argv": [],
                "stdin": "",
            }


@played
async def test_a_transaction_is_refused_with_the_way_out() -> None:
    async with hire() as crew:
        outcome = await crew.run(make("transact"))
        assert isinstance(outcome, Retried)
        assert 'needs executor="thread"' in outcome.failure.message
