"""Tasks of an application that is careful, for workers that are real processes."""

import asyncio
import os

from pgqueue import Context, KeyRing, Tasks
from tests.worker_tasks import note

KEYS = "PGQUEUE_KEYS"


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
