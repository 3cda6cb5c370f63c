"""One worker in this process, from its tasks' path to its exit code."""

import asyncio
import gc
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from pgqueue.worker.exits import EXIT_STUCK
from pgqueue.worker.listener import Ears
from pgqueue.worker.loading import load_tasks
from pgqueue.worker.settings import Settings
from pgqueue.worker.worker import Worker


def run_one(tasks_path: str, dsn: str, settings: Settings, ears: Ears | None = None) -> int:
    """Run one worker in this process until a signal; return the exit code."""
    tasks = load_tasks(tasks_path)
    _rarely_collect()

    async def work() -> int:
        worker = Worker(tasks, dsn, settings, tasks_path=tasks_path, on_stuck=_give_up, ears=ears)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        threads = ThreadPoolExecutor(thread_name_prefix="pgqueue-job-own")
        loop.set_default_executor(threads)
        try:
            return await worker.run()
        finally:
            # asyncio.run() would wait without end for what a handler gave to asyncio.to_thread().
            threads.shutdown(wait=False, cancel_futures=True)
            loop.set_default_executor(ThreadPoolExecutor())

    code = asyncio.run(work())
    logging.shutdown()
    # Threads that outlived the grace would be waited for by an ordinary exit.
    if _threads_left():
        os._exit(code)
    return code


def _rarely_collect() -> None:
    """Look for reference cycles less often. Jobs hardly make any, and each look goes through all
    that the application has imported: a third of the time of a worker whose jobs are short."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _give_up() -> None:
    """Called in the heartbeat's thread: the event loop may be dead, so nothing is asked of it."""
    logging.shutdown()
    os._exit(EXIT_STUCK)


def _threads_left() -> bool:
    return any(
        thread.name.startswith("pgqueue-job") and thread.is_alive()
        for thread in threading.enumerate()
    )
