"""The revisions that this code carries, and Alembic, which runs them.

Alembic and SQLAlchemy are imported when they are needed: a worker that only asks which revision it
stands on shall not wait for them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pgqueue.migrate.errors import MigrationError

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

# Alembic's env.py finds its context in a global variable: one thread at a time.
_alembic = threading.Lock()


def location() -> Path:
    """The directory of the migrations: inside the installed package, or in the checkout.

    An application with an Alembic of its own may list the ``versions`` in it as one of its
    ``version_locations``.
    """
    package = Path(__file__).parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def head() -> str:
    """The revision that this code was written for."""
    newest = _script().get_current_head()
    if newest is None:
        raise MigrationError(f"{location()} holds no revisions; install pgqueue again")
    return newest


def known() -> Collection[str]:
    """Every revision that this code knows."""
    return {script.revision for script in _script().walk_revisions()}


def upgrade(connection: Connection, to: str) -> None:
    """Run the revisions up to *to* in the caller's transaction."""
    from alembic import command

    with _running(to):
        command.upgrade(_config(connection=connection), to)


def downgrade(connection: Connection, to: str) -> None:
    """Run the revisions down to *to* in the caller's transaction."""
    from alembic import command

    with _running(to):
        command.downgrade(_config(connection=connection), to)


def below(current: str, to: str) -> str | None:
    """The revision that a downgrade from *current* to *to* ends at; None: nothing is left."""
    with _running(to):
        undone = list(_script().iterate_revisions(current, to, select_for_downgrade=True))
    if not undone:
        return current
    parent = undone[-1].down_revision
    return None if parent is None else str(parent)


def offline_upgrade(to: str, before: list[str]) -> str:
    """The SQL of an upgrade, with the statements *before* at the head of its transaction."""
    from alembic import command

    text = io.StringIO()
    with _running(to):
        command.upgrade(_config(text, before=before), to, sql=True)
    return text.getvalue()


@contextmanager
def _running(to: str) -> Iterator[None]:
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    with _alembic:
        try:
            yield
        except (CommandError, RevisionError, AssertionError) as error:
            # Alembic asserts where it cannot make sense of a revision such as "" or "@".
            raise MigrationError(
                f"{str(error) or f'{to!r} is no revision'} "
                f"(known revisions: {', '.join(sorted(known()))})"
            ) from None


def _config(output: io.StringIO | None = None, **attributes: object) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(location()).replace("%", "%%"))
    config.attributes.update(attributes)
    return config


def _script() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())
