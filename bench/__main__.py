"""``python -m bench``: pgqueue and bare SQL, alternating on one server; medians and ratios.

Absolute figures drift with the machine. A ratio of two things measured in turn, in one run, is what
can be compared.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import click
import psycopg

from bench import ours, raw
from pgqueue import migrate
from pgqueue.embedded import EmbeddedPostgres

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "100",
}


@dataclass(frozen=True)
class Line:
    """One measure: ours and bare SQL's rates of every round, in jobs a second."""

    measure: str
    ours: list[float]
    raw: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.raw)


@click.command()
@click.option("--jobs", default=50_000, show_default=True, help="Jobs in a drain.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each measure.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--dsn", envvar="PGQUEUE_BENCH_DSN", help="Measure on this server instead.")
def main(jobs: int, rounds: int, as_json: bool, dsn: str | None) -> None:
    """Measure pgqueue against bare SQL."""
    if dsn is not None:
        measure(dsn, jobs, rounds, as_json)
        return
    with EmbeddedPostgres(settings=SETTINGS) as server:
        measure(server.dsn, jobs, rounds, as_json)


def measure(dsn: str, jobs: int, rounds: int, as_json: bool) -> None:
    migrate.upgrade(dsn)
    lines = [
        rates(
            "bulk enqueue, ids returned",
            rounds,
            jobs,
            ours=lambda: fill(dsn, jobs),
            raw=lambda: raw.fill(dsn, jobs),
        ),
        *(drains(dsn, jobs, rounds, processes) for processes in (1, 2)),
        *(singles(dsn, rounds, connections) for connections in (1, 8)),
    ]
    say("latency, idle worker")
    found = sorted(ours.latencies(dsn, count=200, pause=0.02))
    latency = {
        f"p{p}": round(found[min(len(found) * p // 100, len(found) - 1)], 2) for p in (50, 95, 99)
    }
    conditions = describe(dsn)
    if as_json:
        rows = [{**asdict(line), "ratio": round(line.ratio, 3)} for line in lines]
        print(json.dumps({"conditions": conditions, "rates": rows, "latency_ms": latency}))
        return
    print(f"\n{'jobs/s, median (min-max)':34}{'pgqueue':>26}{'bare SQL':>26}{'ratio':>8}")
    for line in lines:
        print(f"{line.measure:34}{spread(line.ours):>26}{spread(line.raw):>26}{line.ratio:>8.2f}")
    print(
        "\nenqueue to start, idle worker: " + ", ".join(f"{k} {v} ms" for k, v in latency.items())
    )
    print(conditions)


def drains(dsn: str, jobs: int, rounds: int, processes: int) -> Line:
    def drain_ours() -> float:
        fill(dsn, jobs)
        return ours.drain(dsn, jobs, processes)

    def drain_raw() -> float:
        raw.fill(dsn, jobs)
        settle(dsn, "raw.jobs")
        return side_by_side(raw.drain, dsn, 500, processes)

    plural = "es" if processes > 1 else ""
    return rates(f"drain, {processes} worker process{plural}", rounds, jobs, drain_ours, drain_raw)


def singles(dsn: str, rounds: int, connections: int) -> Line:
    each = 1500 // connections

    def ours_singly() -> float:
        return side_by_side(ours.enqueue_singly, dsn, each, connections)

    def raw_singly() -> float:
        return side_by_side(raw.insert_singly, dsn, each, connections)

    raw.fill(dsn, 1)
    plural = "s" if connections > 1 else ""
    with ours.workers(dsn, 1):
        name = f"single enqueue, {connections} connection{plural}"
        return rates(name, rounds, each * connections, ours_singly, raw_singly)


def rates(
    name: str, rounds: int, jobs: int, ours: Callable[[], float], raw: Callable[[], float]
) -> Line:
    """Measure the two in turn; return jobs a second of every round."""
    line = Line(name, [], [])
    for number in range(rounds):
        say(f"{name}, round {number + 1} of {rounds}")
        line.raw.append(round(jobs / raw()))
        line.ours.append(round(jobs / ours()))
    return line


def fill(dsn: str, jobs: int) -> float:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE pgqueue.jobs, pgqueue.finished_jobs")
    seconds = ours.fill(dsn, jobs)
    settle(dsn, "pgqueue.jobs")
    return seconds


def settle(dsn: str, table: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"ANALYZE {table}")
        connection.execute("CHECKPOINT")


def side_by_side(work: Callable[..., object], dsn: str, argument: int, processes: int) -> float:
    """Run *work* in so many processes at once; return the seconds until all are done."""
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.2] * processes))  # every process has started
        begun = time.perf_counter()
        for future in [pool.submit(work, dsn, argument) for _ in range(processes)]:
            future.result()
        return time.perf_counter() - begun


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def describe(dsn: str) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT version(), current_setting('fsync'), current_setting('synchronous_commit'),"
            " current_setting('shared_buffers')"
        ).fetchone()
    assert row is not None
    server = " ".join(row[0].split()[:2])
    return (
        f"{server}, fsync {row[1]}, synchronous_commit {row[2]}, shared_buffers {row[3]}; "
        f"Python {sys.version.split()[0]}, psycopg {psycopg.__version__}"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
