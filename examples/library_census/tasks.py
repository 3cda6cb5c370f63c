"""The job: count one module."""

from dataclasses import asdict
from pathlib import Path

from sqlalchemy.orm import Session

from examples.library_census.counting import count
from examples.library_census.models import Count, Module, open_session
from pgqueue import Context, Exponential, Tasks

tasks = Tasks(transaction=open_session)


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
