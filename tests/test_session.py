"""A connection of the worker's own: no wait on it is without end."""

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from pgqueue.storage import schema
from pgqueue.storage.operation import Statement
from pgqueue.worker import session as module
from pgqueue.worker.clock import boottime
from pgqueue.worker.session import Interrupted, Session
from tests.proxy import LossyProxy

NOTHING = Statement("SELECT 1", {})


def test_a_server_that_falls_silent_is_given_up_at_the_deadline(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.5)

    async def work() -> None:
        with LossyProxy(dsn) as proxy:
            session = Session(proxy.dsn, "test")
            await session.open()
            home = await session.run(schema.identity())
            proxy.silence = "always"
            with pytest.raises(TimeoutError, match="did not answer within") as given_up:
                async with asyncio.timeout(10):
                    await session.run(schema.identity())
            assert not session.is_open
            proxy.silence = "never"
            await session.recover(given_up.value)
            assert await session.open()
            assert await session.run(schema.identity()) == home
            await session.close()

    asyncio.run(work())


@pytest.mark.parametrize("many", [False, True], ids=["one statement", "an exchange"])
def test_who_is_cancelled_while_a_server_is_silent_does_not_wait_for_it(
    dsn: str, many: bool
) -> None:
    """psycopg asks the server to cancel, and waits ten seconds for what it says."""

    async def give_up() -> float:
        with LossyProxy(dsn) as proxy:
            session = Session(proxy.dsn, "test")
            await session.open()
            proxy.silence = "always"
            work = session.exchange([NOTHING] * 3) if many else session.run(schema.identity())
            running = asyncio.ensure_future(work)
            while session.connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
                await asyncio.sleep(0.01)
            running.cancel()
            began = boottime()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not session.is_open
            return boottime() - began

    assert asyncio.run(give_up()) < 2


def test_what_is_done_meanwhile_is_done_though_the_statements_cannot_be_sent(dsn: str) -> None:
    """An answer that waits to be read must be read, whatever becomes of the next exchange."""

    async def exchange() -> None:
        done = asyncio.Event()
        session = Session(dsn, "test")
        await session.open()
        session.connection.pgconn.finish()
        with pytest.raises(psycopg.OperationalError):
            await session.exchange([NOTHING], lambda: _do(done.set))
        assert done.is_set()

    asyncio.run(exchange())


def test_what_fails_meanwhile_says_nothing_of_the_statements_and_costs_the_connection(
    dsn: str,
) -> None:
    async def exchange() -> None:
        session = Session(dsn, "test")
        await session.open()
        with pytest.raises(Interrupted) as interrupted:
            await session.exchange([NOTHING], lambda: _do(lambda: 1 // 0))
        assert isinstance(interrupted.value.__cause__, ZeroDivisionError)
        assert not session.is_open

    asyncio.run(exchange())


async def _do(what: Callable[[], object]) -> None:
    what()
