"""Long jobs for workers that are real processes: imports that resume, leases that are extended."""

import os
import time

import psycopg

from pgqueue import Context, LeaseLost, Tasks
from tests.worker_tasks import DATABASE, note

tasks = Tasks()

BATCH = 100


def _import(ctx: Context, total: int, pause: float) -> None:
    """Write *total* rows in batches, each committed; begin where an earlier attempt left off."""
    done = ctx.last_checkpoint or 0
    note("start")
    note(f"from-{done}")
    ctx.progress(done, total)
    with psycopg.connect(os.environ[DATABASE], autocommit=True) as connection:
        while done < total:
            connection.execute(
                "INSERT INTO imported SELECT n, 1 FROM generate_series(%s::int, %s::int) AS n "
                "ON CONFLICT (n) DO UPDATE SET times = imported.times + 1",
                (done, done + BATCH - 1),
            )
            done += BATCH
            ctx.checkpoint(done)
            ctx.progress(done, total)
            ctx.log("imported", rows=done)
            time.sleep(pause)
    note("end")


@tasks.task("import", timeout=None)
def import_rows(ctx: Context, total: int, pause: float) -> None:
    _import(ctx, total, pause)


@tasks.task("import-in-child", timeout=None, executor="process")
def import_in_child(ctx: Context, total: int, pause: float) -> None:
    _import(ctx, total, pause)


def _extend(ctx: Context, items: int, seconds: float) -> None:
    """The shape of the convention: every 100 items another so many seconds."""
    note("start")
    try:
        for item in range(items):
            time.sleep(0.002)
            if item % 100 == 0:
                ctx.extend(seconds)
    except LeaseLost:
        note("lost")
        raise
    note("end")


@tasks.task("extend", timeout=None, heartbeat="manual", lease=1)
def extend(ctx: Context, items: int, seconds: float) -> None:
    _extend(ctx, items, seconds)


@tasks.task("extend-in-child", timeout=None, heartbeat="manual", lease=1, executor="process")
def extend_in_child(ctx: Context, items: int, seconds: float) -> None:
    _extend(ctx, items, seconds)


@tasks.task("extend-on-the-loop", timeout=None, heartbeat="manual", lease=1)
async def extend_on_the_loop(ctx: Context, items: int, seconds: float) -> None:
    """Blocks the event loop all the while: nothing here waits for anything."""
    _extend(ctx, items, seconds)


def _fall_silent(ctx: Context) -> None:
    """Extend the lease once, then not until it is lost; the second attempt only starts."""
    note("start")
    if ctx.attempt > 1:
        return
    ctx.extend(1)
    while not ctx.cancelled:
        time.sleep(0.01)
    try:
        ctx.extend(1)
    except LeaseLost:
        note("lost")
        raise
    note("end")


@tasks.task("fall-silent", timeout=None, heartbeat="manual", lease=1)
def fall_silent(ctx: Context) -> None:
    _fall_silent(ctx)


@tasks.task("fall-silent-in-child", timeout=None, heartbeat="manual", lease=1, executor="process")
def fall_silent_in_child(ctx: Context) -> None:
    _fall_silent(ctx)


@tasks.task("keep-extending", timeout=None)
def keep_extending(ctx: Context, gate: str) -> None:
    """Extend a lease that is renewed anyway, until the gate opens or the lease is lost."""
    note("start")
    while True:
        try:
            ctx.extend(2)
        except LeaseLost:
            note("lost")
            raise
        if os.path.exists(os.path.join(os.environ["PGQUEUE_TEST_JOURNAL"], f"gate.{gate}")):
            break
        time.sleep(0.01)
    note("end")


def _count(ctx: Context, items: int, pause: float) -> None:
    for item in range(items + 1):
        ctx.progress(item, items)
        ctx.log("item", number=item)
        time.sleep(pause)


@tasks.task("count-in-child", executor="process")
def count_in_child(ctx: Context, items: int, pause: float) -> None:
    _count(ctx, items, pause)


@tasks.task("heed-in-child", timeout=None, executor="process")
def heed_in_child(ctx: Context) -> None:
    """Work until the next word about it tells that it is to end."""
    note("start")
    number = 0
    while True:
        number += 1
        ctx.checkpoint(number)
        time.sleep(0.01)
