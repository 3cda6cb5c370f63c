"""Which versions a run of the suite really has, asked from inside of it."""

import json
import os
import platform
import re
from importlib.metadata import distributions
from itertools import zip_longest
from typing import Any

import psycopg

EXPECTED = "PGQUEUE_MATRIX_EXPECTED"
"""Names the environment variable that says what a cell is for."""


def expect(*, postgres: int, python: str, packages: dict[str, str]) -> dict[str, str]:
    """The environment of a run that has to have these versions."""
    return {EXPECTED: json.dumps({"PostgreSQL": str(postgres), "Python": python, **packages})}


def expected() -> dict[str, str]:
    """What this run has to have; empty if it is not one of the matrix."""
    return dict(json.loads(os.environ.get(EXPECTED, "{}")))


def versions(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Of the server (its major too), of Python, of libpq, and of each installed package."""
    row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    packages = {plain(each.metadata["Name"]): each.version for each in distributions()}
    server = row[0].split()[0]
    return {
        **packages,
        "PostgreSQL": server.partition(".")[0],
        "server": server,
        "Python": platform.python_version(),
        "libpq": str(psycopg.pq.version()),
    }


def plain(package: str) -> str:
    """The one name of those that mean the same package.

    >>> plain("prometheus_client"), plain("testing.postgresql"), plain("SQLAlchemy")
    ('prometheus-client', 'testing-postgresql', 'sqlalchemy')
    """
    return re.sub(r"[-_.]+", "-", package).lower()


def is_same(found: str, wanted: str) -> bool:
    """Whether they are one version, however many zeros are written.

    >>> is_same("2.0.0", "2.0"), is_same("42.0.0", "42"), is_same("8.1.4", "8.1.4")
    (True, True, True)
    >>> is_same("42.0.8", "42"), is_same("2.10.0", "2.1")
    (False, False)
    """
    pairs = zip_longest(found.split("."), wanted.split("."), fillvalue="0")
    return all(one == other for one, other in pairs)
