"""A connection of the worker's own: no wait on it is without end."""

import asyncio
import gc

import psycopg
import pytest

from pgqueue.storage import schema
from pgqueue.worker import session as module
from pgqueue.worker.session import Session
from tests.proxy import LossyProxy


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


def test_a_statement_that_is_given_up_leaves_no_error_that_nobody_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its answer arrives as its connection is closed: on Python 3.11 ``wait_for`` then swallows the
    cancellation, and psycopg goes on with a connection that is gone."""

    async def go_on() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise psycopg.OperationalError("connection pointer is NULL") from None

    async def give_up() -> None:
        running = asyncio.ensure_future(Session("", "test")._bounded(go_on()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.sleep(0)

    asyncio.run(give_up())
    gc.collect()
    assert "never retrieved" not in caplog.text
