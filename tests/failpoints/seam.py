"""Where the points are: around everything that psycopg is asked to do, whoever asks.

Each statement, commit, rollback and connect is a step, and has a point before and one after it:
``pump/claim_jobs:before``. So a new statement has its points by itself, and pgqueue has not one
line for them: in a process that was not armed psycopg is what it always is.
"""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, wraps
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.conninfo import conninfo_to_dict

from pgqueue import statements
from tests.failpoints.saboteur import Saboteur

_OTHERS = {"version", "current_schema", "show", "composed", "select", "count"}
"""What SQLAlchemy and psycopg ask when they meet a server, and what the application of a run asks:
not our steps."""
_ROLE = "failpoint_role"


def arm(saboteur: Saboteur) -> None:
    """Have *saboteur* hear of every step that this process takes from now on."""
    saboteur.announce()
    for cursor in (Cursor, AsyncCursor):
        cursor.execute = _around(  # type: ignore[method-assign]
            cursor.execute,
            saboteur,
            lambda self, query, *_, **__: (self.connection, step_of(query)),
        )
    for connection in (Connection, AsyncConnection):
        for verb in ("commit", "rollback"):
            original = getattr(connection, verb)
            step = _around(original, saboteur, lambda self, verb=verb: (self, verb))
            setattr(connection, verb, step)
    AsyncConnection.pipeline = _around_pipeline(  # type: ignore[method-assign,assignment]
        AsyncConnection.pipeline, saboteur
    )
    Connection.connect = _connecting(Connection, saboteur)  # type: ignore[method-assign]
    AsyncConnection.connect = _connecting_async(saboteur)  # type: ignore[method-assign]
    psycopg.connect = Connection.connect


def step_of(query: Any) -> str:
    """What a statement is called: its file, or the function it selects from, or its first word."""
    if isinstance(query, bytes):
        query = query.decode()
    return _named(query) if isinstance(query, str) else "composed"


@cache
def _named(text: str) -> str:
    known = _known().get(text)
    if known is not None:
        return known
    bare = re.sub(r"--[^\n]*", " ", text)
    call = re.match(r"\s*SELECT\s+(?:\w+\.)*(\w+)\s*\(", bare, re.I)
    return (call.group(1) if call else bare.split(None, 1)[0]).lower()


@cache
def _known() -> dict[str, str]:
    return {statements.load(name): name for name in statements.names()}


def _around(original: Any, saboteur: Saboteur, describe: Callable[..., tuple[Any, str]]) -> Any:
    """*original*, sync or async, with a point on both sides."""

    @wraps(original)
    def step(*args: Any, **kwargs: Any) -> Any:
        connection, name = describe(*args, **kwargs)
        if name in _OTHERS:
            return original(*args, **kwargs)
        where = f"{role_of(connection)}/{name}"
        saboteur.passes(f"{where}:before", connection)
        answer = original(*args, **kwargs)
        saboteur.passes(f"{where}:after", connection)
        return answer

    @wraps(original)
    async def step_async(*args: Any, **kwargs: Any) -> Any:
        connection, name = describe(*args, **kwargs)
        if name in _OTHERS:
            return await original(*args, **kwargs)
        where = f"{role_of(connection)}/{name}"
        await saboteur.passes_async(f"{where}:before", connection)
        answer = await original(*args, **kwargs)
        await saboteur.passes_async(f"{where}:after", connection)
        return answer

    return step_async if _is_async(original) else step


def _is_async(function: Any) -> bool:
    return "Async" in function.__qualname__


def _around_pipeline(original: Any, saboteur: Saboteur) -> Any:
    """A pipeline's end is its commit."""

    @asynccontextmanager
    async def pipeline(self: AsyncConnection[Any]) -> AsyncIterator[Any]:
        where = f"{role_of(self)}/commit"
        async with original(self) as running:
            yield running
            await saboteur.passes_async(f"{where}:before", self)
        await saboteur.passes_async(f"{where}:after", self)

    return pipeline


def _connecting(kind: Any, saboteur: Saboteur) -> Any:
    original = kind.connect.__func__

    @classmethod  # type: ignore[misc]
    def connect(cls: Any, conninfo: str = "", **given: Any) -> Any:
        where = f"{_wanted_role(conninfo, given)}/connect"
        saboteur.passes(f"{where}:before", None)
        connection = original(cls, conninfo, **given)
        saboteur.passes(f"{where}:after", connection)
        return connection

    return connect


def _connecting_async(saboteur: Saboteur) -> Any:
    original = AsyncConnection.connect.__func__  # type: ignore[attr-defined]

    @classmethod  # type: ignore[misc]
    async def connect(cls: Any, conninfo: str = "", **given: Any) -> Any:
        where = f"{_wanted_role(conninfo, given)}/connect"
        await saboteur.passes_async(f"{where}:before", None)
        connection = await original(cls, conninfo, **given)
        await saboteur.passes_async(f"{where}:after", connection)
        return connection

    return connect


def role_of(connection: Any) -> str:
    """Whose connection it is, by the name that the server knows it by."""
    role = getattr(connection, _ROLE, None)
    if role is None:
        told = connection.pgconn.parameter_status(b"application_name")
        role = _short((told or b"").decode())
        setattr(connection, _ROLE, role)
    return role


def _wanted_role(conninfo: str, given: dict[str, Any]) -> str:
    name = given.get("application_name") or conninfo_to_dict(conninfo).get("application_name")
    return _short(str(name or ""))


def _short(application_name: str) -> str:
    return application_name.removeprefix("pgqueue:") or "nameless"
