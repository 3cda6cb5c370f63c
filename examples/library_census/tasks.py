"""The jobs: count one module, report every day, import a hundred lines."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from examples.library_census import report
from examples.library_census.counting import count
from examples.library_census.models import Count, Line, Module, open_session
from pgqueue import Context, Exponential, Tasks


@asynccontextmanager
async def worker_process() -> AsyncIterator[None]:
    """The life of a worker process: pools and clients would be opened and closed here.

    What was imported by now stays; that the garbage collector need not look at it again makes
    parsing a third faster.
    """
    gc.freeze()
    yield


LINES = 100
"""So many lines are imported by a job."""

tasks = Tasks(transaction=open_session, lifespan=worker_process)


# A file that does not parse may be half-written just now, so it is looked at three times.
@tasks.task(
    "count-module",
    queue="census",
    max_attempts=3,
    backoff=Exponential(base=0.25),
    transactional=True,
)
def count_module(ctx: Context, module_id: int) -> None:
    """Count a module. Its figures and the end of this job are committed together, or neither."""
    session: Session = ctx.session
    module = session.scalars(select(Module).where(Module.id == module_id)).one()
    figures = count(Path(module.path))
    session.add(Count(module_id=module.id, **asdict(figures)))


@tasks.cron("0 18 * * *", tz="Europe/Berlin")
@tasks.task("daily-report", queue="census", transactional=True)
def daily_report(ctx: Context) -> dict[str, str | int]:
    """Sum up the counts, for the day of the tick however late it runs."""
    figures, modules, _ = report.counted(ctx.session)
    assert ctx.scheduled_for is not None
    day = ctx.scheduled_for.date().isoformat()
    return {"day": day, "modules": modules, "lines": figures.lines}


# Lines of published source: what looks like a credential or an address in them is none.
@tasks.task("import-lines", queue="census", transactional=True, allow=["args.items"])
def import_lines(ctx: Context, items: list[str], chunk_index: int, total_chunks: int) -> None:
    """Import a chunk of a text: its rows and the end of this job are committed together."""
    first = chunk_index * LINES
    rows = [{"number": first + n, "text": text} for n, text in enumerate(items)]
    ctx.session.execute(insert(Line), rows)
