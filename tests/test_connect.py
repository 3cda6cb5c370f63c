"""The worker's own connections: what they promise, whatever the server's defaults are."""

import asyncio

import pytest

from pgqueue.storage.connect import connect, connect_async
from tests.postgres import dsn_with


@pytest.mark.parametrize(
    ("default", "held_to"),
    [("off", "on"), ("on", "on"), ("local", "local"), ("remote_apply", "remote_apply")],
)
def test_what_a_worker_was_told_is_committed_survives_a_crash_of_the_server(
    dsn: str, default: str, held_to: str
) -> None:
    """For whoever has turned that off for the rest of the application."""
    dsn = dsn_with(dsn, options=f"-c synchronous_commit={default}")

    async def asked() -> object:
        async with await connect_async(dsn, "test") as connection:
            return await (await connection.execute("SHOW synchronous_commit")).fetchone()

    with connect(dsn, "test") as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (held_to,)
    assert asyncio.run(asked()) == (held_to,)
