"""Tasks of an application that is careful, for workers that are real processes."""

import asyncio
import os
from pathlib import Path

import psycopg
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from pgqueue import Context, KeyRing, NewJob, Tasks, enqueue
from pgqueue.tracing import instrument
from tests.worker_tasks import DATABASE, JOURNAL, note

KEYS = "PGQUEUE_KEYS"
SECRETS = "PGQUEUE_TEST_SECRETS"
TRACES = "PGQUEUE_TEST_TRACES"
SHAPES = (
    "postgresql://app:{}@db/shop",
    "password={}",
    '{{"token": "{}"}}',
    "Authorization: Bearer {}",
    "eyJhbGciOiJIUzI1NiJ9.{}.dozjgNryP4J3jVmNHl0w5N",
    "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----",
    "api_key: {}",
    "Cookie={}",
)


def trace() -> None:
    """Tell spans all that they may be told; each process writes its own to a file."""
    spans = (Path(os.environ[JOURNAL]) / f"{os.getpid()}.spans").open("a")
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=spans)))
    instrument(tracer_provider=provider, baggage=True, messages=True)


if TRACES in os.environ:
    trace()


def may(ctx: Context) -> bool:
    return ctx.actor != "eve"


tasks = Tasks(
    authorize=may,
    keys=KeyRing.from_environment() if KEYS in os.environ else None,
)
encrypt = tasks.keys is not None


@tasks.task("in-child", executor="process")
def in_child() -> None:
    note("start")


@tasks.task("bear-in-child", executor="process")
def bear_in_child() -> None:
    with psycopg.connect(os.environ[DATABASE]) as connection:
        enqueue(connection, NewJob("born"))


@tasks.task("leak", encrypt=encrypt, max_attempts=1)
async def leak(ctx: Context, secret: str, how: str) -> str:
    """Say *secret* in every way there is."""
    return _leak(ctx, secret, how)


@tasks.task("leak-in-thread", encrypt=encrypt, max_attempts=1)
def leak_in_thread(ctx: Context, secret: str, how: str) -> str:
    return _leak(ctx, secret, how)


@tasks.task("leak-in-child", encrypt=encrypt, max_attempts=1, executor="process")
def leak_in_child(ctx: Context, secret: str, how: str) -> str:
    return _leak(ctx, secret, how)


@tasks.task("linger", encrypt=encrypt, timeout=60)
async def linger(ctx: Context, secret: str) -> str:
    ctx.checkpoint(secret)
    note("start")
    await asyncio.sleep(0.2)
    return secret


@tasks.task("hang", encrypt=encrypt, max_attempts=1, timeout=0.3)
async def hang(ctx: Context, secret: str) -> None:
    """Take too long, and say why."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise RuntimeError(f"interrupted with {secret}") from None


@tasks.task("die", encrypt=encrypt, max_crashes=1, executor="process")
def die(ctx: Context, secret: str) -> None:
    """Vanish with the secret in hand."""
    ctx.log(f"dying with {secret}")
    os._exit(7)


@tasks.task("shaped", max_attempts=1)
def shaped(ctx: Context, n: int, how: str) -> object:
    """Get a credential from elsewhere, as a job should, and then be careless with it."""
    secret = os.environ[SECRETS].split()[n]
    said = SHAPES[n % len(SHAPES)].format(secret)
    if how == "return":
        # A result is data: what has the shape of a credential is left out, prose is left alone.
        return {"token": secret, "nested": [SHAPES[(0, 3, 4, 5)[n % 4]].format(secret)]}
    if how == "progress":
        ctx.progress({"password": secret, "seen": said})
        ctx.log(f"seen {said}", api_key=secret, said=said)
        ctx.log.warning("again: %s", said)
    raise ValueError(f"refused: {said}")


def _leak(ctx: Context, secret: str, how: str) -> str:
    note("start")
    ctx.progress(1, 2, seen=secret)
    ctx.checkpoint({"seen": secret} if encrypt else None)
    if how == "fail":
        raise ValueError(f"could not log in with {secret}")
    if how == "chain":
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise RuntimeError(f"gave up on {secret}") from error
    if how == "exit":
        raise SystemExit(secret)
    if how == "log":
        ctx.log(f"using {secret}", given=secret)
        raise ValueError("logged")
    return secret
