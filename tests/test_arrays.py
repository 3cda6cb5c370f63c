"""Array literals are what Postgres reads back as the same values."""

import doctest
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgqueue.storage import arrays
from pgqueue.storage.arrays import numbers, texts

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
quick = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(connection: psycopg.Connection[Any], array: str, kind: str) -> Any:
    row = connection.execute(f"SELECT %s::text::{kind}[]".encode(), [array]).fetchone()
    assert row
    return row[0]


@quick
@given(st.lists(st.none() | WORDS | st.sampled_from(["NULL", "null", "{}", '\\"', "a,b", " "])))
def test_texts_come_back_as_they_were(
    connection: psycopg.Connection[Any], values: list[str | None]
) -> None:
    assert read(connection, texts(values), "text") == values


@quick
@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_numbers_come_back_as_they_were(
    connection: psycopg.Connection[Any], values: list[int | None]
) -> None:
    assert read(connection, numbers(values), "bigint") == values


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(arrays).failed == 0
