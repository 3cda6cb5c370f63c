"""Tasks that log from wherever a handler's code may run."""

import asyncio
import logging
import threading

from pgqueue import Context, Tasks

tasks = Tasks()
log = logging.getLogger("shop")


@tasks.task("on-loop")
async def on_loop(ctx: Context) -> None:
    log.info("in the handler")
    ctx.log.info("with the context's log")
    async with asyncio.TaskGroup() as group:
        group.create_task(below())
    await asyncio.to_thread(log.info, "in a thread of the handler's")


async def below() -> None:
    log.info("in a task of the handler's")


@tasks.task("in-thread")
def in_thread(ctx: Context) -> None:
    log.info("in the handler")
    ctx.log.info("with the context's log")


@tasks.task("in-child", executor="process")
def in_child(ctx: Context) -> None:
    log.info("in the handler")
    ctx.log.info("with the context's log")
    log.info("two\nlines", extra={"order": 17})


@tasks.task("outside")
async def outside() -> None:
    """Log from a thread that belongs to no job."""
    thread = threading.Thread(target=log.info, args=("of no job",))
    thread.start()
    await asyncio.to_thread(thread.join)
