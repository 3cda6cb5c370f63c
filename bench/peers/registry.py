"""Who is measured beside pgqueue: what to install, how to see what is left."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    name: str
    adapter: str
    packages: tuple[str, ...] = ()
    """Pinned: adapters are written for these. Empty: pgqueue itself, in our own environment."""
    shows: str = ""
    """The package whose version is its own."""
    runtime: str = "python"
    """python, or node."""
    python: tuple[int, int] = (3, 11)
    left: str = ""
    """SQL: whether a job is not yet over. Empty: its jobs are in Redis."""
    share: float = 1.0
    """Of the jobs that the others are given: a slow one would take minutes."""
    notes: str = ""
    """What a reader should know about its settings or its promises."""


PEERS = (
    Peer(
        name="pgqueue",
        adapter="pgqueue",
        left="EXISTS (SELECT FROM pgqueue.jobs)",
        notes="history kept, an outcome a job; 100 slots",
    ),
    Peer(
        name="graphile-worker",
        adapter="graphile.js",
        runtime="node",
        packages=("graphile-worker@0.18.0",),
        shows="graphile-worker",
        left="EXISTS (SELECT FROM graphile_worker._private_jobs)",
        notes="no history; localQueue 500, batched completion, 100 concurrent jobs",
    ),
    Peer(
        name="pg-boss",
        adapter="pgboss.js",
        runtime="node",
        packages=("pg-boss@12.38.0",),
        shows="pg-boss",
        left="EXISTS (SELECT FROM pgboss.job WHERE state < 'completed')",
        notes="4 x 500 jobs a batch, which succeed or fail as one",
    ),
    Peer(
        name="pgqueuer",
        adapter="pgqueuer",
        packages=("pgqueuer[asyncpg]==1.6.0", "uvloop"),
        shows="pgqueuer",
        left="EXISTS (SELECT FROM pgqueuer)",
        notes="asyncpg, uvloop, batches of 500",
    ),
    Peer(
        name="awa-pg",
        adapter="awa",
        packages=("awa-pg==0.6.9",),
        shows="awa-pg",
        # Its tables are append-only: what was ready, less what was completed in groups or singly.
        left="(SELECT count(*) FROM awa.ready_entries) > (SELECT count(*) FROM awa.done_entries)"
        " + (SELECT coalesce(sum(completed_count), 0) FROM awa.receipt_completion_batches)",
        share=0.5,
        notes="COPY, 1,024 workers a process",
    ),
    Peer(
        name="oban",
        adapter="oban",
        packages=("oban==0.7.0", "psycopg[binary,pool]", "uvloop"),
        shows="oban",
        python=(3, 12),
        left="EXISTS (SELECT FROM oban_jobs WHERE state IN"
        " ('available', 'executing', 'scheduled', 'retryable'))",
        share=0.2,
        notes="limit 2,000",
    ),
    Peer(
        name="procrastinate",
        adapter="procrastinate",
        packages=("procrastinate==3.10.0", "psycopg[binary,pool]", "uvloop"),
        shows="procrastinate",
        left="EXISTS (SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing'))",
        share=0.06,
        notes="concurrency 30",
    ),
    Peer(
        name="bullmq-pg",
        adapter="bullmq",
        packages=("bullmq==3.4.4", "psycopg[binary,pool]"),
        shows="bullmq",
        left="EXISTS (SELECT FROM bullmq.job WHERE state NOT IN ('completed', 'failed'))",
        share=0.06,
        notes="BullMQ for Python on Postgres; 4 workers of 50 a process",
    ),
    Peer(
        name="celery",
        adapter="celery",
        packages=("celery[redis]==5.7.0", "hiredis"),
        shows="celery",
        share=0.1,
        notes="Redis, appendfsync everysec: a second of acknowledged jobs may be lost",
    ),
)
