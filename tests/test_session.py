"""A connection that comes back: what was given up on it is no error of anybody's."""

import asyncio
import gc

import psycopg
import pytest

from pgqueue.worker.session import Session


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
