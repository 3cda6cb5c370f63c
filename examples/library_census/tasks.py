"""The job: count one module."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

from sqlalchemy.orm import Session

from examples.library_census.counting import count
from examples.library_census.models import Count, Module, open_session
from pgqueue import Context, Exponential, Tasks


@asynccontextmanager
async def worker_process() -> AsyncIterator[None]:
    """The life of a worker process: pools and clients would be opened and closed here.

    What was imported by now stays; that the garbage collector need not look at it again makes
    parsing a third faster.
    """
    gc.freeze()
    yield


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
    module = session.get_one(Module, module_id)
    figures = count(Path(module.path))
    session.add(Count(module_id=module.id, **asdict(figures)))
