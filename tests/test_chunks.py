"""Chunked enqueue: every item in one chunk, in order, and every chunk knows how many there are."""

import warnings
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgqueue
from pgqueue import Context, InvalidOption, InvalidPayload, LargePayload, Tasks
from pgqueue.storage import batches
from tests.connections import KINDS, Kind

Connection = psycopg.Connection[Any]

tasks = Tasks()


@tasks.task("import-chunk", queue="imports", max_attempts=3)
def import_chunk(
    ctx: Context, items: list[Any], chunk_index: int, total_chunks: int, source: str = "nowhere"
) -> None: ...


@tasks.task("no-chunk")
def no_chunk(items: list[Any]) -> None: ...


def chunks_of(connection: Connection, batch_id: int) -> list[dict[str, Any]]:
    """The arguments of a batch's jobs as a worker decodes them, in order of id."""
    rows = connection.execute(
        "SELECT args::text FROM pgqueue.jobs WHERE batch_id = %s ORDER BY id", [batch_id]
    )
    return [import_chunk.decode(row[0]) for row in rows]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
ITEMS = st.lists(
    st.none() | st.integers() | TEXT | st.dictionaries(TEXT, st.booleans(), max_size=2), max_size=40
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(items=ITEMS, size=st.integers(1, 12), slice_of=st.integers(1, 5), is_lazy=st.booleans())
def test_the_chunks_are_the_items_whatever_their_number_and_size(
    connection: Connection, items: list[Any], size: int, slice_of: int, is_lazy: bool
) -> None:
    given_items = iter(items) if is_lazy else items
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "SLICE", slice_of)
        batch = pgqueue.enqueue_chunked(connection, import_chunk, given_items, size)

    chunks = chunks_of(connection, batch.id)
    total = -(-len(items) // size)
    assert batch.total == len(chunks) == total
    assert [item for chunk in chunks for item in chunk["items"]] == items
    assert [chunk["chunk_index"] for chunk in chunks] == list(range(total))
    assert {chunk["total_chunks"] for chunk in chunks} <= {total}
    assert all(len(chunk["items"]) == size for chunk in chunks[:-1])
    assert pgqueue.batch_status(connection, batch.id).is_complete == (not items)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 1000])
@pytest.mark.parametrize("is_lazy", [False, True], ids=["sized", "lazy"])
def test_acceptance_21_chunks_of_a_hundred(
    connection: Connection, count: int, is_lazy: bool
) -> None:
    items = (n for n in range(count)) if is_lazy else range(count)
    batch = pgqueue.enqueue_chunked(connection, import_chunk, items)

    chunks = chunks_of(connection, batch.id)
    assert [chunk["items"] for chunk in chunks] == [
        list(range(n, min(n + 100, count))) for n in range(0, count, 100)
    ]
    total = {0: 0, 1: 1, 99: 1, 100: 1, 101: 2, 1000: 10}[count]
    assert [(c["chunk_index"], c["total_chunks"]) for c in chunks] == [
        (n, total) for n in range(total)
    ]
    status = pgqueue.batch_status(connection, batch.id)
    assert (status.total, status.is_complete) == (total, count == 0)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_lazy_import_on_every_kind_of_connection(kind: Kind, dsn: str) -> None:
    with kind(dsn) as application, psycopg.connect(dsn, autocommit=True) as outside:
        is_async = application._runner is not None
        function: Any = pgqueue.enqueue_chunked_async if is_async else pgqueue.enqueue_chunked
        batch = application.do(
            function(application.connection, import_chunk, iter(range(7)), 3, name="seven")
        )
        assert chunks_of(outside, batch.id) == []
        application.commit()
        assert [c["total_chunks"] for c in chunks_of(outside, batch.id)] == [3, 3, 3]
        assert batch.name == "seven"


class Miscounted(list[int]):
    """Says that it has more items than it gives, as a table may that others write to."""

    def __len__(self) -> int:
        return 1000


def test_an_iterable_that_miscounts_itself_is_put_right(connection: Connection) -> None:
    batch = pgqueue.enqueue_chunked(connection, import_chunk, Miscounted([1, 2, 3]), 2)
    assert [chunk["total_chunks"] for chunk in chunks_of(connection, batch.id)] == [2, 2]


def test_what_looks_like_the_start_of_the_arguments_stays_as_it_is(connection: Connection) -> None:
    item = '{"total_chunks":null'
    batch = pgqueue.enqueue_chunked(connection, import_chunk, iter([item, {"total_chunks": None}]))
    (chunk,) = chunks_of(connection, batch.id)
    assert chunk["items"] == [item, {"total_chunks": None}]


def test_fixed_arguments_and_options_go_to_every_chunk(connection: Connection) -> None:
    batch = pgqueue.enqueue_chunked(
        connection,
        import_chunk,
        iter(range(4)),
        2,
        arguments={"source": "books.csv"},
        actor="ann",
        priority=7,
        metadata={"a": 1},
    )
    assert [chunk["source"] for chunk in chunks_of(connection, batch.id)] == ["books.csv"] * 2
    rows = connection.execute(
        "SELECT DISTINCT task, queue, priority, max_attempts, actor, metadata::text"
        " FROM pgqueue.jobs WHERE batch_id = %s",
        [batch.id],
    ).fetchall()
    assert rows == [("import-chunk", "imports", 7, 3, "ann", '{"a": 1}')]


@pytest.mark.parametrize("size", [0, -1, 2.0, True, None])
def test_a_chunk_has_at_least_one_item(connection: Connection, size: Any) -> None:
    with pytest.raises(InvalidOption, match="chunk_size: must be a whole number from 1"):
        pgqueue.enqueue_chunked(connection, import_chunk, [1], size)


@pytest.mark.parametrize(
    ("how", "error", "problem"),
    [
        ({"items": "text"}, InvalidOption, "items: must be an iterable of items, not a str"),
        ({"items": 7}, InvalidOption, "items: must be an iterable"),
        ({"task": no_chunk}, TypeError, "no-chunk"),
        ({"arguments": {"sauce": 1}}, TypeError, "sauce"),
        ({"arguments": {"items": 1}}, InvalidOption, r"arguments\['items'\]"),
        ({"key": "k"}, InvalidOption, "key: would be the same for every chunk"),
        ({"priority": -1}, InvalidOption, "priority"),
        ({"colour": "red"}, InvalidOption, "colour: no such option"),
    ],
)
def test_what_is_wrong_is_said_before_an_item_is_read(
    connection: Connection, how: dict[str, Any], error: type[Exception], problem: str
) -> None:
    def unread() -> Iterator[int]:
        raise AssertionError("an item was read")
        yield

    how = {"task": import_chunk, "items": unread(), **how}
    with pytest.raises(error, match=problem):
        pgqueue.enqueue_chunked(connection, **how)


def test_an_item_that_cannot_be_stored_is_named_with_its_chunk(connection: Connection) -> None:
    items = [0] * 7 + [object()]
    with pytest.raises(InvalidPayload, match=r"^chunk 2\.items\[1\]: "):
        pgqueue.enqueue_chunked(connection, import_chunk, items, 3)


def test_a_chunk_that_is_too_large_is_named_and_a_large_one_warned_of(
    connection: Connection,
) -> None:
    items = ["x", "y" * 70_000, "z" * 1_100_000]
    with (
        pytest.warns(LargePayload, match=r"^chunk 1: 7\d{4} bytes"),
        pytest.raises(InvalidPayload, match=r"^chunk 2: 110\d{4} bytes of JSON are more than"),
    ):
        pgqueue.enqueue_chunked(connection, import_chunk, items, 1)


def test_a_hundred_thousand_items_are_read_as_they_are_sent(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read and not sent is never more than a slice."""
    monkeypatch.setattr(batches, "SLICE", 50)
    read = 0
    ahead = []

    def lazy() -> Iterator[int]:
        nonlocal read
        for n in range(100_000):
            if n % 1000 == 0:
                row = connection.execute("SELECT count(*) FROM pgqueue.jobs").fetchone()
                assert row
                ahead.append(read - row[0] * 100)
            read += 1
            yield n

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = pgqueue.enqueue_chunked(connection, import_chunk, lazy())
    assert batch.total == 1000
    assert max(ahead) <= 50 * 100
    assert {chunk["total_chunks"] for chunk in chunks_of(connection, batch.id)} == {1000}
