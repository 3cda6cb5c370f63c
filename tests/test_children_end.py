"""How process children end: with what they started, with their parent, and without a trace."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pgqueue.outcome import Crashed, Released
from tests.crew import hire, is_running, make, own_children, played, vanishes

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@played
async def test_cancelling_the_wait_kills_the_job() -> None:
    async with hire() as crew:
        running = asyncio.create_task(crew.run(make("spin", timeout=None)))
        pid = await crew.hear_pid()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await vanishes(pid)
        assert await crew.value("pid") != pid


@linux_only
@played
async def test_close_leaves_no_process_no_zombie_and_no_descriptor() -> None:
    processes, descriptors = own_children(), set(os.listdir("/proc/self/fd"))
    async with hire(size=3, max_jobs=2, grace=0.1) as crew:
        jobs = [make("pid"), make("abort"), make("spin", timeout=0.1), make("pid")]
        await asyncio.gather(*(crew.run(job) for job in jobs * 2))
    assert own_children() == processes
    assert set(os.listdir("/proc/self/fd")) == descriptors


@played
async def test_close_gives_back_what_still_runs() -> None:
    async with hire() as crew:
        running = asyncio.create_task(crew.run(make("spin", timeout=None)))
        waiting = asyncio.create_task(crew.run(make("pid")))
        pid = await crew.hear_pid()
        began = time.monotonic()
        await crew.children.close()
        assert time.monotonic() - began < 5
        assert not is_running(pid)
        assert isinstance(await running, Released)
        assert isinstance(await waiting, Released)
        assert isinstance(await crew.run(make("pid")), Released)
        await crew.children.close()


@played
async def test_signals_are_for_the_parent_to_judge() -> None:
    async with hire() as crew:
        assert await crew.value("signals") == "alive"
        assert await crew.value("terminate") == -signal.SIGTERM


@played
async def test_what_a_handler_started_is_killed_with_it() -> None:
    async with hire() as crew:
        await crew.run(make("helper", timeout=0.5))
        assert await vanishes(await crew.hear_pid("started"))


@played
async def test_a_fork_that_lives_on_does_not_hide_a_crash() -> None:
    async with hire() as crew:
        outcome = await crew.run(make("orphan", timeout=None))
        assert isinstance(outcome, Crashed)
        assert "SIGABRT" in outcome.why
        os.kill(await crew.hear_pid("left behind"), signal.SIGKILL)

    assert len(crew.records) == 1


@played
async def test_a_fork_does_not_answer_for_the_child() -> None:
    async with hire() as crew:
        first = await crew.value("fork")
        assert await crew.value("pid") == first


@linux_only
@played
async def test_nothing_is_inherited_but_output_and_one_socket(tmp_path: Path) -> None:
    async with hire() as crew:
        secret = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
        os.set_inheritable(secret, True)
        names = await crew.value("descriptors")
        os.close(secret)
    assert names.count("socket") == 1
    assert not any("secret" in name for name in names)


def test_a_loop_outside_the_main_thread_will_do() -> None:
    async def story() -> int:
        async with hire() as crew:
            assert isinstance(await crew.run(make("abort")), Crashed)
            pid: int = await crew.value("pid")
            return pid

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, story()).result(60) > 0


@linux_only
@pytest.mark.parametrize("task", ["pid", "spin", "freeze"])
def test_children_die_with_their_parent(task: str, tmp_path: Path) -> None:
    """Idle, busy, and with an interpreter that can notice nothing."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, logging, sys
        sys.path[:0] = {sys.path!r}
        from tests.crew import hire, make
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")

        async def main():
            async with hire() as crew:
                outcome = await crew.run(make({task!r}, timeout=None))
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
