"""``python -m bench.views``: how long each view takes beside a big queue and a long history.

A million jobs wait, ten million are finished (fewer with ``--scale``); each view is read whole, as
anybody would, in a session with the server's own settings.
"""

import statistics
import sys
import time
from pathlib import Path

import click
import psycopg

from bench.conditions import SETTINGS, conditions
from pgqueue import migrate
from pgqueue.embedded import EmbeddedPostgres

JOBS = """
INSERT INTO pgqueue.jobs (
    run_at, created_at, lease_until, claimed_at, died_at, attempt, failures, max_attempts,
    max_crashes, priority, state, queue, task, worker_id, keep, args, reason, error_type, error,
    fingerprint
)
SELECT
    now() + n * interval '1 ms' * CASE state WHEN 'scheduled' THEN 1 ELSE -1 END, now(),
    CASE state WHEN 'running' THEN now() + interval '30 s' END,
    CASE state WHEN 'running' THEN now() END,
    CASE state WHEN 'dead' THEN now() - n * interval '1 ms' END,
    1, CASE WHEN state <> 'available' THEN n % 2 ELSE 0 END, 5, 3, n % 4 * 50, state,
    'queue ' || n % 5, 'task ' || n % 7,
    CASE state WHEN 'running' THEN md5((n % 64)::text)::uuid END, '7 days',
    '{"user_id": 4711, "template": "welcome"}',
    CASE state WHEN 'dead' THEN 'attempts_exhausted' END,
    CASE state WHEN 'dead' THEN 'ValueError' END, CASE state WHEN 'dead' THEN repeat('x', 400) END,
    CASE state WHEN 'dead' THEN md5((n % 40)::text) END
FROM (
    SELECT n, CASE WHEN n <= %(waiting)s THEN 'available' WHEN n % 100 < 60 THEN 'scheduled'
        WHEN n % 100 < 61 THEN 'running' ELSE 'dead' END AS state
    FROM generate_series(1, %(jobs)s) AS n
) AS numbered
"""
HISTORY = """
INSERT INTO pgqueue.finished_jobs (
    id, attempt, created_at, run_at, started_at, finished_at, expires_on, failures, crashes,
    max_attempts, priority, state, queue, task, args
)
SELECT 1000000000 + n, 1, now(), now(), now(), now(), current_date + 1 + (n %% 8)::integer, 0, 0, 5,
    100, 'succeeded', 'queue ' || n %% 5, 'task ' || n %% 7, '{"user_id": 4711}'
FROM generate_series(1, %s) AS n
"""
REST = """
INSERT INTO pgqueue.attempts (
    job_id, attempt, started_at, ended_at, expires_on, outcome, queue, task, error_type, error
)
SELECT n, 1, now(), now(), current_date + 1 + (n % 31)::integer, 'failed', 'queue ' || n % 5,
    'task ' || n % 7, 'ValueError', 'no'
FROM generate_series(1, 500000) AS n;
INSERT INTO pgqueue.rollups (
    span, at, queue, task, started, succeeded, failed, wait, run, longest_wait, longest_run, waits,
    runs
)
SELECT span, moment, 'queue ' || pair % 5, 'task ' || pair % 7, 100, 95, 5, 10, 20, 1, 2,
    '{0,0,10,20,30,20,10,5,3,2}', '{0,0,0,10,20,30,20,10,5,3,2}'
FROM (
    SELECT 'minute' AS span, date_trunc('minute', now()) - n * interval '1 minute' AS moment
    FROM generate_series(0, 2880) AS n
    UNION ALL
    SELECT 'hour', date_trunc('hour', now()) - n * interval '1 hour'
    FROM generate_series(0, 720) AS n
    UNION ALL
    SELECT 'day', date_trunc('day', now()) - n * interval '1 day' FROM generate_series(0, 730) AS n
) AS moments, generate_series(0, 34) AS pair;
INSERT INTO pgqueue.tallies (at, queue, task, started, succeeded, waits, runs)
SELECT date_trunc('minute', now()), 'queue ' || n % 5, 'task ' || n % 7, 10, 10, '{0,0,10}',
    '{0,0,0,10}'
FROM generate_series(1, 64 * 7) AS n;
INSERT INTO pgqueue.workers (id, started_at, seen_at, pid, host, version, queues, tasks)
SELECT md5(n::text)::uuid, now(), now() + interval '1 hour', n, 'host', '1',
    '{"queue 0": 10, "queue 1": 10, "queue 2": 10, "queue 3": 10}',
    ARRAY(SELECT 'task ' || t FROM generate_series(0, 5) AS t)
FROM generate_series(0, 63) AS n;
INSERT INTO pgqueue.batches (created_at, completed_at, total, succeeded)
SELECT now(), CASE WHEN n % 20 > 0 THEN now() END, 10, 10 FROM generate_series(1, 5000) AS n;
INSERT INTO pgqueue.audit (actor, verb, job_id)
SELECT 'ann', 'retry', n FROM generate_series(1, 20000) AS n
"""
ASKED = {
    "why_not_running(id)": "pgqueue.why_not_running((SELECT max(id) FROM pgqueue.jobs"
    " WHERE state = 'available' AND queue = 'queue 4'))",
    "job_story(id)": "pgqueue.job_story(1000000017)",
    "job_progress of one": "(SELECT * FROM pgqueue.job_progress WHERE job_id = 17) AS j",
    "batch_stats, newest 50": "(SELECT * FROM pgqueue.batch_stats ORDER BY id DESC LIMIT 50) AS b",
}
NOT_TIMED = ("all_jobs", "job_progress", "expired_partitions", "batch_stats")


@click.command()
@click.option("--scale", default=1.0, show_default=True, help="Of a million and ten million.")
@click.option("--rounds", default=20, show_default=True, help="How often each is read.")
@click.option("--dsn", envvar="PGQUEUE_BENCH_DSN", help="Measure on this server instead.")
def main(scale: float, rounds: int, dsn: str | None) -> None:
    """Print the milliseconds that each view takes."""
    if dsn is not None:
        measure(dsn, scale, rounds)
        return
    with EmbeddedPostgres(settings=SETTINGS) as server:
        measure(server.dsn, scale, rounds)


def measure(dsn: str, scale: float, rounds: int) -> None:
    migrate.upgrade(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        fill(connection, scale)
        print(f"{'ms':34}{'median':>10}{'slowest':>10}{'on CPU':>10}{'rows':>8}")
        for name, source in {**views(connection), **ASKED}.items():
            taken = []
            before = cpu(connection)
            for _ in range(rounds):
                begun = time.perf_counter()
                rows = len(connection.execute(f"SELECT * FROM {source}").fetchall())  # noqa: S608
                taken.append(1000 * (time.perf_counter() - begun))
            busy = (cpu(connection) - before) / rounds
            middle = statistics.median(taken)
            print(f"{name:34}{middle:>10.1f}{max(taken):>10.1f}{busy:>10.1f}{rows:>8}")
    print("; ".join(f"{name}: {value}" for name, value in conditions(dsn).items()))


def fill(connection: psycopg.Connection, scale: float) -> None:
    waiting = round(1_000_000 * scale)
    say(f"enqueueing {waiting:,} jobs")
    query = JOBS.replace("% ", "%% ")
    connection.execute(query, {"waiting": waiting, "jobs": waiting + 60_000})
    say(f"finishing {10 * waiting:,} jobs")
    for _ in range(10):
        connection.execute(HISTORY, [waiting])
    connection.execute(REST)
    for table in ("jobs", "finished_jobs", "attempts", "rollups", "batches", "audit"):
        say(f"analysing {table}")
        connection.execute(f"VACUUM ANALYZE pgqueue.{table}")


def cpu(connection: psycopg.Connection) -> float:
    """Milliseconds that the server process of *connection* was on a processor, where Linux tells:
    on a busy machine the clock counts the others' work too."""
    try:
        schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text()
    except OSError:
        return float("nan")
    return int(schedule.split()[0]) / 1e6


def views(connection: psycopg.Connection) -> dict[str, str]:
    names = connection.execute(
        "SELECT viewname FROM pg_catalog.pg_views WHERE schemaname = 'pgqueue' ORDER BY viewname"
    ).fetchall()
    return {name: f"pgqueue.{name}" for (name,) in names if name not in NOT_TIMED}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
