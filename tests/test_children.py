"""Process children: real processes, no database."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgqueue.context import JobFields, Stop, Why
from pgqueue.job import Job
from pgqueue.outcome import Cancelled, Crashed, Died, Lost, Outcome, Released, Retried, Succeeded
from pgqueue.worker.children import Children
from tests.child_tasks import Visit, tasks

PATH = "tests.child_tasks:tasks"
FOREVER = 3600.0
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


class Ear(logging.Handler):
    """Hears what children log."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(JobFields())
        self.records: list[logging.LogRecord] = []
        self._heard: list[tuple[str, asyncio.Event]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        for text, event in self._heard:
            if text in record.getMessage():
                event.set()

    async def hear(self, text: str) -> logging.LogRecord:
        event = asyncio.Event()
        self._heard.append((text, event))
        if not any(text in record.getMessage() for record in self.records):
            async with asyncio.timeout(30):
                await event.wait()
        return next(record for record in self.records if text in record.getMessage())

    async def hear_pid(self, text: str = "running in") -> int:
        return int((await self.hear(text)).getMessage().split()[-1])

    def errors(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.levelno >= logging.ERROR]


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear, root = Ear(), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.INFO)
    yield ear
    root.setLevel(level)
    root.removeHandler(ear)


@contextlib.asynccontextmanager
async def crew(**options: Any) -> AsyncIterator[Children]:
    children = Children(**{"path": PATH, "size": 1, "max_jobs": 100, "memory_mb": None} | options)
    try:
        yield children
    finally:
        async with asyncio.timeout(30):
            await children.close()


def make(task: str, timeout: float | None = 60.0, id: int = 1, **arguments: Any) -> Job:
    moment = datetime.now(UTC)
    return Job(
        id=id,
        attempt=1,
        queue="default",
        task=task,
        priority=0,
        run_at=moment,
        created_at=moment,
        failures=0,
        crashes=0,
        max_attempts=5,
        max_crashes=3,
        timeout_ms=None if timeout is None else int(timeout * 1000),
        actor=None,
        args=tasks[task].codec.dumps(arguments, what="args"),
        metadata=None,
    )


async def run(children: Children, job: Job, stop: Stop | None = None) -> Outcome:
    async with asyncio.timeout(60):
        return await children.run(tasks[job.task], job, stop or Stop())


async def value(children: Children, task: str, **arguments: Any) -> Any:
    """Run a job that succeeds, and return its result."""
    outcome = await run(children, make(task, **arguments))
    assert isinstance(outcome, Succeeded), outcome
    return None if outcome.result is None else tasks[task].codec.loads(outcome.result)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state) and not state.startswith("Z")


async def vanishes(pid: int) -> bool:
    async def watch() -> None:
        while is_running(pid):
            await asyncio.sleep(0.01)

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(watch(), 10)
    return not is_running(pid)


def own_children() -> set[int]:
    """The processes this one started, zombies included."""
    with subprocess.Popen(
        ["ps", "-A", "-o", "ppid=,pid="], stdout=subprocess.PIPE, text=True
    ) as ps:
        listing, _ = ps.communicate()
    pairs = (map(int, line.split()) for line in listing.splitlines())
    return {pid for parent, pid in pairs if parent == os.getpid()} - {ps.pid}


def test_arguments_and_result_cross_unchanged() -> None:
    async def story() -> None:
        async with crew() as children:
            visit = Visit("Ada", datetime(2026, 3, 1, 12, tzinfo=UTC))
            outcome = await run(children, make("echo", visit=visit))
            assert isinstance(outcome, Succeeded)
            assert outcome.started <= outcome.ended
            assert outcome.job == make("echo", visit=visit)._replace(
                run_at=outcome.job.run_at, created_at=outcome.job.created_at
            )
            assert tasks["echo"].codec.loads(outcome.result or "") == visit
            text = "ä€" * 150_000
            assert await value(children, "large", text=text) == text[::-1]

    with pytest.warns(UserWarning):
        play(story)


def test_a_handler_that_raises_is_retried_as_anywhere_else() -> None:
    async def story() -> None:
        async with crew() as children:
            outcome = await run(children, make("fail", message="no"))
            assert isinstance(outcome, Retried)
            assert (outcome.failure.type, outcome.failure.message) == ("ValueError", "no")
            assert "child_tasks.py" in (outcome.failure.traceback or "")

    play(story)


def test_a_child_is_kept_for_the_next_job() -> None:
    async def story() -> None:
        async with crew() as children:
            first = await value(children, "pid")
            await run(children, make("fail", message="no"))
            assert await value(children, "pid") == first != os.getpid()

    play(story)


@pytest.mark.parametrize(
    ("task", "arguments", "death"),
    [("abort", {}, "signal SIGABRT"), ("exit", {"status": 3}, "exit status 3")],
)
def test_a_crash_is_charged_to_its_job_and_the_next_runs_in_a_new_child(
    task: str, arguments: dict[str, Any], death: str
) -> None:
    async def story() -> None:
        async with crew() as children:
            first = await value(children, "pid")
            outcome = await run(children, make(task, **arguments))
            assert isinstance(outcome, Crashed)
            assert outcome.why == f"the process running it died: {death}"
            assert await value(children, "pid") != first

    play(story)


@pytest.mark.parametrize("task", ["spin", "freeze"])
def test_a_timeout_ends_what_nothing_else_can(task: str, ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            outcome = await run(children, make(task, timeout=0.3))
            assert isinstance(outcome, Retried)
            assert outcome.timed_out
            assert outcome.failure.type == "Timeout"
            assert 0.3 <= outcome.ended - outcome.started < 5
            assert await vanishes(await ear.hear_pid())
            assert await value(children, "pid") > 0

    play(story)


def test_the_last_timeout_is_death() -> None:
    async def story() -> None:
        async with crew() as children:
            outcome = await run(children, make("spin", timeout=0.1)._replace(failures=4))
            assert isinstance(outcome, Died)
            assert outcome.reason == "timeout"

    play(story)


def test_the_start_of_a_child_is_not_charged_to_the_timeout(tmp_path: Path, monkeypatch) -> None:
    write(tmp_path, "slow_tasks", "import time; time.sleep(0.5); from tests.child_tasks import *")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        async with crew(path="slow_tasks:tasks") as children:
            assert isinstance(await run(children, make("pid", timeout=0.3)), Succeeded)

    play(story)


def test_a_handler_sees_that_it_is_cancelled(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            stop = Stop()
            running = asyncio.create_task(run(children, make("give_up"), stop))
            pid = await ear.hear_pid()
            threading.Thread(target=stop.request, args=(Why.CANCELLED,)).start()
            outcome = await running
            assert isinstance(outcome, Cancelled)
            assert outcome.why == "as you wish"
            assert await value(children, "pid") == pid

    play(story)


def test_a_finish_wins_over_a_cancel(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            stop = Stop()
            running = asyncio.create_task(run(children, make("polite"), stop))
            await ear.hear_pid()
            stop.request(Why.CANCELLED)
            outcome = await running
            assert isinstance(outcome, Succeeded)
            assert outcome.result == '"stopped because cancelled by a person"'

    play(story)


def test_a_stop_says_nothing_to_the_job_after_it(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            stop = Stop()
            running = asyncio.create_task(run(children, make("polite"), stop))
            pid = await ear.hear_pid()
            stop.request(Why.SHUTDOWN)
            await running
            stop.on_request and stop.on_request(Why.SHUTDOWN)
            outcome = await run(children, make("polite", timeout=0.2))
            assert isinstance(outcome, Retried)
            assert outcome.timed_out
            assert await vanishes(pid)

    play(story)


@pytest.mark.parametrize(
    ("why", "kind"), [(Why.CANCELLED, Cancelled), (Why.SHUTDOWN, Released), (Why.LOST, Lost)]
)
def test_a_deaf_handler_is_killed_after_the_grace(why: Why, kind: type, ear: Ear) -> None:
    async def story() -> None:
        async with crew(grace=FOREVER if why is Why.LOST else 0.2) as children:
            stop = Stop()
            running = asyncio.create_task(run(children, make("spin", timeout=None), stop))
            pid = await ear.hear_pid()
            stop.request(why)
            assert isinstance(await running, kind)
            assert await vanishes(pid)
            assert await value(children, "pid") != pid

    play(story)


def test_a_job_that_waits_for_a_child_can_be_stopped(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            busy = Stop()
            running = asyncio.create_task(run(children, make("polite"), busy))
            await ear.hear_pid()
            stop = Stop()
            waiting = asyncio.create_task(run(children, make("pid"), stop))
            await asyncio.sleep(0)
            stop.request(Why.SHUTDOWN)
            assert isinstance(await waiting, Released)
            busy.request(Why.CANCELLED)
            assert isinstance(await running, Succeeded)
            assert await value(children, "pid") > 0

    play(story)


def test_a_job_stopped_before_it_began_is_not_run() -> None:
    async def story() -> None:
        before = own_children()
        async with crew() as children:
            stop = Stop()
            stop.request(Why.CANCELLED)
            assert isinstance(await run(children, make("abort"), stop), Cancelled)
            assert own_children() == before

    play(story)


def test_a_job_stopped_while_its_child_starts_leaves_nothing_behind(tmp_path, monkeypatch) -> None:
    write(tmp_path, "endless_tasks", "import time; time.sleep(600)")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        before = own_children()
        async with crew(path="endless_tasks:tasks") as children:
            stop = Stop()
            running = asyncio.create_task(run(children, make("pid"), stop))
            await until(lambda: own_children() != before)
            stop.request(Why.SHUTDOWN)
            assert isinstance(await running, Released)
            await until(lambda: own_children() == before)

    play(story)


def test_the_crew_never_exceeds_its_size() -> None:
    async def story() -> None:
        before = own_children()
        most = 0
        async with crew(size=2, max_jobs=2) as children:

            async def one() -> int:
                nonlocal most
                pid: int = await value(children, "pid")
                most = max(most, len(own_children() - before))
                return pid

            pids = await asyncio.gather(*(one() for _ in range(9)))
        assert most <= 2
        assert len(set(pids)) >= 5

    play(story)


def test_a_child_is_replaced_after_max_jobs() -> None:
    async def story() -> None:
        async with crew(max_jobs=2) as children:
            pids = [await value(children, "pid") for _ in range(4)]
            assert pids[0] == pids[1] != pids[2] == pids[3]
            assert await vanishes(pids[0])

    play(story)


@linux_only
@pytest.mark.parametrize("task", ["allocate", "hoard"])
def test_out_of_memory_is_a_failure_of_the_job_and_costs_the_child(task: str) -> None:
    async def story() -> None:
        async with crew(memory_mb=512) as children:
            first = await value(children, "pid")
            outcome = await run(children, make(task))
            assert isinstance(outcome, Retried), outcome
            assert outcome.failure.type == "MemoryError"
            assert await value(children, "pid") != first

    play(story)


def test_logs_join_the_parents_with_the_fields_of_their_job(ear: Ear, capfd) -> None:
    logging.getLogger("tests.verbose").setLevel(logging.DEBUG)

    async def story() -> None:
        async with crew() as children:
            await value(children, "talk", id=77)

    play(story)
    said = {r.getMessage(): vars(r) for r in ear.records}
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
    assert sorted(out.split("\n")) == ["", "once, please", "printed"]


def test_an_import_that_fails_is_one_clear_error_and_loses_no_job(
    tmp_path: Path, monkeypatch, ear: Ear
) -> None:
    write(tmp_path, "broken_tasks", "import no_such_library")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        async with crew(path="broken_tasks:tasks", size=2) as children:
            both = [run(children, make("pid")), run(children, make("pid"))]
            for outcome in await asyncio.gather(*both):
                assert isinstance(outcome, Released)
                assert "broken_tasks failed: No module named 'no_such_library'" in outcome.why
            # The next try waits, so that a worker does not spin; it can be told to stop.
            stop = Stop()
            waiting = asyncio.create_task(run(children, make("pid"), stop))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            stop.request(Why.SHUTDOWN)
            assert isinstance(await waiting, Released)

    play(story)
    (error,) = ear.errors()
    assert error.startswith("no process child can run broken_tasks:tasks: ")
    assert "next try in 1 s" in error
    assert "line 1, in <module>\n    import no_such_library" in error


def test_a_crew_recovers_once_its_tasks_can_be_imported(tmp_path, monkeypatch, ear: Ear) -> None:
    write(tmp_path, "mended_tasks", "raise SystemExit(4)")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        async with crew(path="mended_tasks:tasks") as children:
            assert isinstance(await run(children, make("pid")), Released)
            write(tmp_path, "mended_tasks", "from tests.child_tasks import tasks  # mended")
            assert isinstance(await run(children, make("pid")), Succeeded)

    play(story)
    assert "SystemExit: 4" in ear.errors()[0]


def test_a_child_that_dies_while_starting_is_reported(tmp_path, monkeypatch, ear: Ear) -> None:
    write(tmp_path, "deadly_tasks", "import os; os._exit(9)")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        async with crew(path="deadly_tasks:tasks") as children:
            outcome = await run(children, make("pid"))
            assert isinstance(outcome, Released)
            assert outcome.why.endswith("it died while starting: exit status 9")

    play(story)


def test_an_import_that_does_not_end_is_given_up(tmp_path, monkeypatch, ear: Ear) -> None:
    write(tmp_path, "endless_tasks", "import time; time.sleep(600)")
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        before = own_children()
        async with crew(path="endless_tasks:tasks", start_timeout=0.5) as children:
            outcome = await run(children, make("pid"))
            assert isinstance(outcome, Released)
            assert outcome.why.endswith("importing it took longer than 0.5 s")
            await until(lambda: own_children() == before)

    play(story)


def test_a_task_that_the_child_lacks_asks_for_a_restart(monkeypatch, ear: Ear) -> None:
    monkeypatch.setenv("PGQUEUE_TEST_MISSING", "pid")

    async def story() -> None:
        async with crew() as children:
            outcome = await run(children, make("pid"))
            assert isinstance(outcome, Released)
            assert "no task named 'pid'" in outcome.why
            assert outcome.why.endswith("restart the worker")

    play(story)


def test_cancelling_the_wait_kills_the_job(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            running = asyncio.create_task(run(children, make("spin", timeout=None)))
            pid = await ear.hear_pid()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await vanishes(pid)
            assert await value(children, "pid") != pid

    play(story)


@linux_only
def test_close_leaves_no_process_no_zombie_and_no_descriptor(ear: Ear) -> None:
    async def story() -> None:
        await asyncio.to_thread(lambda: None)
        processes, descriptors = own_children(), set(os.listdir("/proc/self/fd"))
        async with crew(size=3, max_jobs=2, grace=0.1) as children:
            jobs = [make("pid"), make("abort"), make("spin", timeout=0.1), make("pid")]
            await asyncio.gather(*(run(children, job) for job in jobs * 2))
        assert own_children() == processes
        assert set(os.listdir("/proc/self/fd")) == descriptors

    play(story)


def test_close_gives_back_what_still_runs(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            running = asyncio.create_task(run(children, make("spin", timeout=None)))
            waiting = asyncio.create_task(run(children, make("pid")))
            pid = await ear.hear_pid()
            began = time.monotonic()
            await children.close()
            assert time.monotonic() - began < 5
            assert not is_running(pid)
            assert isinstance(await running, Released)
            assert isinstance(await waiting, Released)
            assert isinstance(await run(children, make("pid")), Released)
            await children.close()

    play(story)


def test_an_idle_child_that_dies_is_replaced(ear: Ear) -> None:
    async def story() -> None:
        before = own_children()
        async with crew() as children:
            pid = await value(children, "pid")
            os.kill(pid, signal.SIGKILL)
            await ear.hear("died while it had nothing to do")
            await until(lambda: own_children() == before)
            assert await value(children, "pid") != pid

    play(story)


def test_signals_are_for_the_parent_to_judge() -> None:
    async def story() -> None:
        async with crew() as children:
            assert await value(children, "signals") == "alive"
            assert await value(children, "terminate") == -signal.SIGTERM

    play(story)


def test_what_a_handler_started_is_killed_with_it(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            await run(children, make("helper", timeout=0.5))
            assert await vanishes(await ear.hear_pid("started"))

    play(story)


def test_a_fork_that_lives_on_does_not_hide_a_crash(ear: Ear) -> None:
    async def story() -> None:
        async with crew() as children:
            outcome = await run(children, make("orphan", timeout=None))
            assert isinstance(outcome, Crashed)
            assert "SIGABRT" in outcome.why
            os.kill(await ear.hear_pid("left behind"), signal.SIGKILL)

    play(story)
    assert len(ear.records) == 1


def test_a_fork_does_not_answer_for_the_child() -> None:
    async def story() -> None:
        async with crew() as children:
            first = await value(children, "fork")
            assert await value(children, "pid") == first

    play(story)


@linux_only
def test_nothing_is_inherited_but_output_and_one_socket(tmp_path: Path) -> None:
    async def story() -> None:
        async with crew() as children:
            with open(tmp_path / "secret", "w") as secret:
                os.set_inheritable(secret.fileno(), True)
                names = await value(children, "descriptors")
        assert names.count("socket") == 1
        assert not any("secret" in name for name in names)

    play(story)


def test_a_handler_finds_itself_at_home(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))

    async def story() -> None:
        async with crew() as children:
            for id in (1, 2):
                around = await value(children, "around", id=id)
                assert str(tmp_path) in around.pop("path")
                assert around == {
                    "current": True,
                    "state": None,
                    "before": None,
                    "argv": [],
                    "stdin": "",
                }

    play(story)


def test_a_transaction_is_refused_with_the_way_out() -> None:
    async def story() -> None:
        async with crew() as children:
            outcome = await run(children, make("transact"))
            assert isinstance(outcome, Retried)
            assert 'needs executor="thread"' in outcome.failure.message

    play(story)


def test_a_loop_outside_the_main_thread_will_do() -> None:
    async def story() -> None:
        async with crew() as children:
            assert isinstance(await run(children, make("abort")), Crashed)
            assert await value(children, "pid") > 0

    failures: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(story())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join(60)
    assert failures == []


@linux_only
@pytest.mark.parametrize("task", ["pid", "spin", "freeze"])
def test_children_die_with_their_parent(task: str, tmp_path: Path) -> None:
    """Idle, busy, and with an interpreter that can notice nothing."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, logging, sys
        sys.path[:0] = {sys.path!r}
        from tests.test_children import crew, make, run
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

        async def main():
            async with crew() as children:
                outcome = await run(children, make({task!r}, timeout=None))
                print("running in", outcome.result, flush=True)
                await asyncio.sleep(3600)

        asyncio.run(main())
        """)
    )
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[-1])
        assert is_running(pid)
        parent.kill()
    assert asyncio.run(vanishes(pid))


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text + "\n")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
