"""Process children that start, and those that cannot."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pgqueue.context import Stop, Why
from pgqueue.outcome import Released, Succeeded
from tests.crew import hire, make, own_children, played, until

Plant = Callable[[str, str], None]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Write a module that children can import."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text + "\n")

    return write


@played
async def test_the_start_of_a_child_is_not_charged_to_the_timeout(plant: Plant) -> None:
    plant("slow_tasks", "import time; time.sleep(0.5); from tests.child_tasks import *")
    async with hire(path="slow_tasks:tasks") as crew:
        assert isinstance(await crew.run(make("pid", timeout=0.3)), Succeeded)


@played
async def test_a_job_stopped_while_its_child_starts_leaves_nothing_behind(plant: Plant) -> None:
    plant("endless_tasks", "import time; time.sleep(600)")
    before = own_children()
    async with hire(path="endless_tasks:tasks") as crew:
        stop = Stop()
        running = asyncio.create_task(crew.run(make("pid"), stop))
        await until(lambda: own_children() != before)
        stop.request(Why.SHUTDOWN)
        assert isinstance(await running, Released)
        await until(lambda: own_children() == before)


@played
async def test_an_import_that_fails_is_one_clear_error_and_loses_no_job(plant: Plant) -> None:
    plant("broken_tasks", "import no_such_library")
    async with hire(path="broken_tasks:tasks", size=2) as crew:
        both = [crew.run(make("pid")), crew.run(make("pid"))]
        for outcome in await asyncio.gather(*both):
            assert isinstance(outcome, Released)
            assert "broken_tasks failed: No module named 'no_such_library'" in outcome.why
        # The next try waits, so that a worker does not spin; it can be told to stop.
        stop = Stop()
        waiting = asyncio.create_task(crew.run(make("pid"), stop))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done
        stop.request(Why.SHUTDOWN)
        assert isinstance(await waiting, Released)

    (error,) = crew.errors()
    assert error.startswith("no process child can run broken_tasks:tasks: ")
    assert "next try in 1 s" in error
    assert "line 1, in <module>\n    import no_such_library" in error


@played
async def test_a_crew_recovers_once_its_tasks_can_be_imported(plant: Plant) -> None:
    plant("mended_tasks", "raise SystemExit(4)")
    async with hire(path="mended_tasks:tasks") as crew:
        assert isinstance(await crew.run(make("pid")), Released)
        plant("mended_tasks", "from tests.child_tasks import tasks  # mended")
        assert isinstance(await crew.run(make("pid")), Succeeded)

    assert "SystemExit: 4" in crew.errors()[0]


@played
async def test_a_child_that_dies_while_starting_is_reported(plant: Plant) -> None:
    plant("deadly_tasks", "import os; os._exit(9)")
    async with hire(path="deadly_tasks:tasks") as crew:
        outcome = await crew.run(make("pid"))
        assert isinstance(outcome, Released)
        assert outcome.why.endswith("it died while starting: exit status 9")


@played
async def test_an_import_that_does_not_end_is_given_up(plant: Plant) -> None:
    plant("endless_tasks", "import time; time.sleep(600)")
    before = own_children()
    async with hire(path="endless_tasks:tasks", start_timeout=0.5) as crew:
        outcome = await crew.run(make("pid"))
        assert isinstance(outcome, Released)
        assert outcome.why.endswith("importing it took longer than 0.5 s")
        await until(lambda: own_children() == before)


@played
async def test_a_task_that_the_child_lacks_asks_for_a_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGQUEUE_TEST_MISSING", "pid")

    async with hire() as crew:
        outcome = await crew.run(make("pid"))
        assert isinstance(outcome, Released)
        assert "no task named 'pid'" in outcome.why
        assert outcome.why.endswith("restart the worker")


@played
async def test_an_idle_child_that_dies_is_replaced() -> None:
    before = own_children()
    async with hire() as crew:
        pid = await crew.value("pid")
        os.kill(pid, signal.SIGKILL)
        await crew.hear("died while it had nothing to do")
        await until(lambda: own_children() == before)
        assert await crew.value("pid") != pid
