"""Take the modules of the library in, and enqueue a job for each.

By itself, on the database in PGQUEUE_DSN: python -m examples.library_census.enqueue
"""

import sysconfig
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from examples.library_census.models import Base, Module, engine, open_session
from examples.library_census.tasks import count_module
from pgqueue import enqueue_many

ENOUGH = 1_200
"""With fewer modules (Debian keeps the library's own tests apart) a census is hardly worth it."""


def library() -> list[Path]:
    """Every module of the standard library; if those are not enough, some installed ones too."""
    modules = _modules(Path(sysconfig.get_path("stdlib")))
    if len(modules) < ENOUGH:
        modules += _modules(Path(sysconfig.get_path("purelib")))[: ENOUGH - len(modules)]
    return modules


def register(session: Session, paths: Iterable[Path]) -> int:
    """Write a row and enqueue a job for each path that is new; return how many.

    All in the session's transaction: if it is rolled back there are neither rows nor jobs, and no
    worker sees a job before its row is committed.
    """
    known = set(session.scalars(select(Module.path)))
    modules = [Module(path=path) for path in map(str, paths) if path not in known]
    session.add_all(modules)
    session.flush()  # gives each its id
    enqueue_many(session, [count_module.job(module_id=module.id) for module in modules])
    return len(modules)


def _modules(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*.py")
        if not {"site-packages", "dist-packages"} & set(path.relative_to(directory).parts)
        and path.is_file()
    )


def main() -> None:
    Base.metadata.create_all(engine())
    with open_session() as session, session.begin():
        registered = register(session, library())
    print(f"{registered:,} modules registered, and a job enqueued for each")


if __name__ == "__main__":
    main()
