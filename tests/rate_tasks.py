"""Tasks whose attempts end in every way there is, for workers whose counts are compared."""

import asyncio

from pgqueue import Cancel, Context, Fixed, Snooze, Tasks

tasks = Tasks()


@tasks.task("succeed")
async def succeed(seconds: float = 0.0) -> None:
    await asyncio.sleep(seconds)


@tasks.task("fail-twice", max_attempts=5, backoff=Fixed(0.01))
async def fail_twice(ctx: Context) -> None:
    if ctx.attempt <= 2:
        raise ValueError("not yet")


@tasks.task("die", max_attempts=2, backoff=Fixed(0.01), queue="other")
async def die() -> None:
    raise RuntimeError("never")


@tasks.task("time-out", max_attempts=1, timeout=0.2)
async def time_out() -> None:
    await asyncio.sleep(60)


@tasks.task("snooze")
async def snooze(ctx: Context) -> None:
    if ctx.attempt == 1:
        raise Snooze(0.05)


@tasks.task("give-up")
async def give_up() -> None:
    raise Cancel("no need")


@tasks.task("succeed-in-thread", queue="other")
def succeed_in_thread() -> None:
    pass
