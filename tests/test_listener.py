"""The listener: what is heard of rings, and again after a connection was lost."""

import asyncio
import time
from collections.abc import Callable

import psycopg

from pgqueue.worker.listener import Listener

CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'pgqueue:listener' AND datname = current_database()
"""


async def until(condition: Callable[[], object], *, within: float = 15.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within} s"
        await asyncio.sleep(0.01)


def test_a_listener_whose_connection_was_cut_hears_again(dsn: str) -> None:
    rung: list[str] = []
    cancelled: list[int] = []

    async def listen(connection: psycopg.Connection) -> None:
        listener = Listener(dsn)
        listener.on_ring, listener.on_cancel = rung.append, cancelled.append
        listening = asyncio.create_task(listener.run())
        try:
            await until(lambda: listener.is_up)
            connection.execute(CUT)
            await until(lambda: not listener.is_up)
            await until(lambda: listener.is_up)
            assert rung == ["", ""], "each time it may have missed some"
            connection.execute("SELECT pg_notify('pgqueue', 'mail')")
            connection.execute("SELECT pg_notify('pgqueue_cancel', '7')")
            await until(lambda: cancelled)
        finally:
            listening.cancel()
            await asyncio.wait({listening})

    with psycopg.connect(dsn, autocommit=True) as connection:
        asyncio.run(listen(connection))
    assert rung == ["", "", "mail"]
    assert cancelled == [7]
