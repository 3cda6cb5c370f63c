"""Looking at jobs and queues is right, and cheap however many jobs there are."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgqueue import statements
from pgqueue.errors import InvalidOption
from pgqueue.storage import inspection, listing
from pgqueue.storage.connect import SESSION, connect
from pgqueue.storage.drivers import run
from pgqueue.storage.inspection import queue_status
from pgqueue.storage.listing import Page, Position, list_jobs

FILL = """
SELECT pgqueue.enqueue_many(array_agg('send'::text), array_agg('{}'::text), queues => array_agg(
    CASE WHEN n = 1 THEN 'rare' ELSE 'bulk' END))
FROM generate_series(1, %s) AS n
"""
DIE = """
UPDATE pgqueue.jobs
SET state = 'dead', reason = 'timeout', died_at = now() - id %% 7 * interval '1 s'
"""
FINISH = """
WITH gone AS (DELETE FROM pgqueue.jobs WHERE id %% 2 = 0 RETURNING *)
INSERT INTO pgqueue.finished_jobs (id, attempt, created_at, run_at, finished_at, expires_on,
    failures, crashes, max_attempts, priority, state, queue, task, args)
SELECT id, 1, created_at, run_at, now(), pgqueue.expiry(keep), 0, 0, 5, 100,
    CASE WHEN id %% 4 = 0 THEN 'succeeded' ELSE 'cancelled' END, queue, task, args FROM gone
"""
Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(connection: Connection) -> Connection:
    """With the settings of our own connections."""
    connection.execute(SESSION, {"local": True})
    return connection


@pytest.fixture
def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks of 4 and 8 rows, and at most 40 in all, so that few jobs are many."""
    monkeypatch.setattr(listing, "FIRST_LOOK", 4)
    monkeypatch.setattr(listing, "LONGEST_LOOK", 8)
    monkeypatch.setattr(listing, "LOOKED_AT_MOST", 40)


def pages(connection: Connection, **options: Any) -> Iterator[Page]:
    page = run(connection, list_jobs(**options))
    yield page
    while page.next is not None:
        page = run(connection, list_jobs(**{**options, "before": page.next}))
        yield page


@pytest.mark.usefixtures("small_looks")
def test_a_rare_job_is_found_behind_many_others(connection: Connection) -> None:
    connection.execute(FILL, [30])
    page = run(connection, list_jobs(queue="rare"))
    assert [job.queue for job in page.jobs] == ["rare"]
    assert page.next is None


@pytest.mark.usefixtures("small_looks")
def test_a_list_that_finds_nothing_gives_up_and_says_where_to_go_on(
    connection: Connection,
) -> None:
    connection.execute(FILL, [100])
    first, *rest = pages(connection, queue="rare")
    assert (first.jobs, first.looked_at >= 40, first.next is not None) == ([], True, True)
    assert [job.queue for page in rest for job in page.jobs] == ["rare"]


@pytest.mark.usefixtures("small_looks")
@pytest.mark.parametrize("state", ["dead", "succeeded", "cancelled", "available", None])
@pytest.mark.parametrize("limit", [1, 7, 50])
def test_pages_hold_every_job_once(connection: Connection, state: str | None, limit: int) -> None:
    connection.execute(FILL, [60])
    connection.execute(DIE if state == "dead" else FINISH, [])
    found = [job for page in pages(connection, state=state, limit=limit) for job in page.jobs]
    expected = connection.execute(
        "SELECT count(*) FROM pgqueue.all_jobs WHERE state = coalesce(%s, state)", [state]
    ).fetchone()
    assert expected == (len(found),)
    assert len({job.id for job in found}) == len(found)
    if state == "dead":
        deaths = [(job.finished_at, job.id) for job in found]
        assert deaths == sorted(deaths, reverse=True)
    else:
        assert [job.id for job in found] == sorted((job.id for job in found), reverse=True)


def test_a_position_reads_as_it_was_written(connection: Connection) -> None:
    connection.execute(FILL, [2])
    connection.execute(DIE, [])
    page = run(connection, list_jobs(state="dead", limit=1))
    assert str(Position.parse(str(page.next))) == page.next
    assert str(Position.parse("17")) == "17"


@pytest.mark.parametrize("before", ["", "x", "-1", "1-2-3", "9" * 19, "٣"])
def test_a_position_that_is_none_is_refused(connection: Connection, before: str) -> None:
    with pytest.raises(InvalidOption, match="before"):
        run(connection, list_jobs(before=before))


def test_a_position_is_good_for_its_own_list_only(connection: Connection) -> None:
    for state, before in (("dead", "17"), ("available", "17-17")):
        with pytest.raises(InvalidOption, match="not from a page of this list"):
            run(connection, list_jobs(state=state, before=before))


def test_counts_stop_and_say_so(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.execute(FILL, [30])
    monkeypatch.setattr(inspection, "COUNTED_UP_TO", 10)
    bulk, rare = run(connection, queue_status())
    assert (bulk.name, bulk.available) == ("bulk", (10, True))
    assert (rare.name, rare.available) == ("rare", (1, False))
    connection.execute(DIE, [])
    dead = [queue.dead for queue in run(connection, queue_status())]
    assert sum(count.size for count in dead) == 10
    assert all(count.at_least for count in dead)


def test_each_queue_has_its_share_of_the_count(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(FILL, [30])
    monkeypatch.setattr(inspection, "COUNTED_IN_ALL", 20)
    assert run(connection, queue_status())[0].available == (10, True)


def test_the_oldest_waiting_job_counts_whatever_its_priority(connection: Connection) -> None:
    connection.execute(
        "SELECT pgqueue.enqueue('send', priority => n, run_at => now() - (n %% 7) * interval '1 h')"
        " FROM generate_series(1, 20) AS n",
        [],
    )
    connection.execute("SELECT pgqueue.enqueue('send', run_at => now() + interval '1 h')")
    [status] = run(connection, queue_status())
    assert status.oldest_at is not None
    assert round((status.now - status.oldest_at).total_seconds() / 3600) == 6


def test_a_job_that_crashed_its_worker_is_waiting_too(connection: Connection) -> None:
    connection.execute(FILL, [2])
    connection.execute("UPDATE pgqueue.jobs SET crashes = 1")
    assert [status.available.size for status in run(connection, queue_status())] == [1, 1]


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("queue_status", {"cap": 10_000, "budget": 200_000, "most": 1000}),
        *(
            (name, dict.fromkeys(("state", "queue", "task"), "x"))
            for name in ("list_jobs", "list_dead", "list_running")
        ),
        ("show_job", {}),
        ("show_payload", {}),
        ("list_attempts", {}),
        ("list_tracebacks", {}),
        ("list_audit", {}),
        ("show_progress", {}),
        ("list_lines", {}),
        ("check_slow_tasks", {"fewest": 20}),
        ("list_jobs", {"batch_id": 17, "state": None, "queue": None, "task": None}),
        ("summarise_jobs", {"ids": [1, 2]}),
        ("list_verbs", {}),
        ("list_verbs", {"by": "x"}),
        ("list_trail_of_job", {}),
    ],
)
def test_no_look_reads_a_big_table_whole(dsn: str, name: str, params: dict[str, Any]) -> None:
    """Neither before the first ANALYZE nor after it."""
    usual = {"live": True, "finished": True, "before": 2**63 - 1, "before_at": None}
    usual |= {"window": 1000, "limit": 50, "id": 17, "batch_id": None, "job_id": 17}
    usual |= dict.fromkeys(("by", "actor", "since", "since_ago_ms", "until", "until_ago_ms"))
    with connect(dsn, "test") as connection:
        for prepare in ("SELECT", "ANALYZE pgqueue.jobs"):
            connection.execute(FILL, [5_000])
            connection.execute(prepare)
            plan = connection.execute(
                "EXPLAIN (VERBOSE, COSTS off) " + statements.load(name), usual | params
            ).fetchall()
            scans = [line for (line,) in plan if "Seq Scan on pgqueue." in line]
            big = ("jobs", "finished_jobs", "attempts", "audit", "job_logs", "progress")
            assert not [line for line in scans if any(f"pgqueue.{table}" in line for table in big)]
            assert not [line for (line,) in plan if "Bitmap" in line]
