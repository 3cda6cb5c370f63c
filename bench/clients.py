"""Client processes that do something at once: each prepares, all begin together.

Processes, because threads of one Python would wait for each other and not for Postgres. What they
do is a generator: what comes before its first ``yield`` is preparation, what comes after is timed.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from bench.failure import Void

Work = Callable[..., Iterator[None]]


class Clients:
    """So many processes, waiting to be told what to do."""

    def __init__(self, pipes: list[Connection], pids: list[int]) -> None:
        self._pipes = pipes
        self.pids = pids

    def together(self, work: Work, *args: Any, clients: int | None = None) -> float:
        """Let *clients* of them (all, if not said) do *work*; return the seconds from the first's
        beginning to the last's end."""
        self.begin(work, *args, clients=clients)
        return self.end(clients)

    def begin(self, work: Work, *args: Any, clients: int | None = None) -> None:
        """Let them begin, and return at once."""
        pipes = self._pipes[:clients]
        for pipe in pipes:
            pipe.send((work, args))
        for pipe in pipes:
            _answer(pipe)
        for pipe in pipes:
            pipe.send(None)

    def end(self, clients: int | None = None) -> float:
        """Wait until those that began are done; return the seconds."""
        spans: list[tuple[float, float]] = [_answer(pipe) for pipe in self._pipes[:clients]]
        return max(end for _, end in spans) - min(begin for begin, _ in spans)


@contextmanager
def client_processes(count: int) -> Iterator[Clients]:
    """Start *count* processes, and end them afterwards."""
    context = get_context("spawn")
    pairs = [context.Pipe() for _ in range(count)]
    running = [context.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    for process in running:
        process.start()
    try:
        pids = [process.pid for process in running if process.pid]
        yield Clients([ours for ours, _ in pairs], pids)
    finally:
        for ours, _ in pairs:
            ours.close()
        for process in running:
            process.join(5)
            process.kill()


def _serve(pipe: Connection) -> None:
    while True:
        try:
            work, args = pipe.recv()
        except EOFError:  # the bench is done with us
            return
        try:
            doing = work(*args)
            next(doing)
            pipe.send(None)
            pipe.recv()
            begin = time.monotonic()
            for _ in doing:
                pass
            pipe.send((begin, time.monotonic()))
        except Exception as error:  # noqa: BLE001  told to the bench, which gives up
            pipe.send(Void(f"a client failed: {error!r}"))


def _answer(pipe: Connection) -> Any:
    answer = pipe.recv()
    if isinstance(answer, Void):
        raise answer
    return answer
