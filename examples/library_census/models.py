"""The application's tables, in the same database as the queue."""

import os
from functools import cache

from sqlalchemy import Engine, ForeignKey, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Module(Base):
    """A file of the library."""

    __tablename__ = "modules"

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(unique=True)


class Count(Base):
    """What a job counted in a module.

    Nothing here forbids a second row for the same module. That there is none, although jobs are
    retried and workers may be killed, is what a transactional task promises; run.py checks it.
    """

    __tablename__ = "counts"

    id: Mapped[int] = mapped_column(primary_key=True)
    module_id: Mapped[int] = mapped_column(ForeignKey(Module.id))
    lines: Mapped[int]
    functions: Mapped[int]
    classes: Mapped[int]
    imports: Mapped[int]


class Line(Base):
    """A line of text that was imported. Nothing forbids a second row with its number either."""

    __tablename__ = "lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int]
    text: Mapped[str]


def dsn() -> str:
    """Of the database that the worker uses too: PGQUEUE_DSN, or else libpq's own variables."""
    return os.environ.get("PGQUEUE_DSN", "postgresql://")


@cache
def engine() -> Engine:
    url = make_url(dsn())
    return create_engine(url.set(drivername="postgresql+psycopg"))


def open_session() -> Session:
    return Session(engine())
