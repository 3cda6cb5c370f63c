"""The SQL of pgqueue, one statement a file.

``load("claim_jobs")`` is the text of ``claim_jobs.sql`` without its comments, which are for
readers: the server would have to parse them at every call."""

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@cache
def load(name: str) -> str:
    """Return the statement in ``<name>.sql``. Raises :class:`FileNotFoundError` if there is
    none."""
    lines = (_HERE / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--"))


def names() -> list[str]:
    """Return the names of all statements, sorted."""
    return sorted(path.stem for path in _HERE.glob("*.sql"))
