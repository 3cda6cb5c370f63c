"""The indexes that the migrations make, read from the migrations themselves."""

import re
from collections.abc import Iterator, Mapping
from functools import cache

from pgqueue.migrate.revisions import location

_INDEX = re.compile(r"^(CREATE (?:UNIQUE )?INDEX) (\w+) (ON pgqueue\.(\w+)[^;]*;)", re.MULTILINE)
_TABLE = re.compile(r"^CREATE TABLE pgqueue\.(\w+) \(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_PARTITIONED = re.compile(r"^CREATE TABLE pgqueue\.(\w+) \([^;]*?^\) PARTITION BY", re.MULTILINE)
_KEY = re.compile(r"^    (?:PRIMARY KEY (\([^)]*\))|(\w+) [^\n]*PRIMARY KEY)", re.MULTILINE)


@cache
def declared() -> Mapping[str, str]:
    """Return the name of each index that the schema is to have, primary keys included, and the SQL
    that makes it anew while the queue is at work."""
    files = sorted((location() / "versions").rglob("*.sql"))
    return dict(_declared_in("".join(path.read_text(encoding="utf-8") for path in files)))


def _declared_in(sql: str) -> Iterator[tuple[str, str]]:
    partitioned = _PARTITIONED.findall(sql)
    for create, name, rest, table in _INDEX.findall(sql):
        how = create if table in partitioned else f"{create} CONCURRENTLY"
        yield name, f"{how} {name}\n    {rest}"
    for table, columns in _TABLE.findall(sql):
        for several, one in _KEY.findall(columns):
            key = several or f"({one})"
            yield f"{table}_pkey", f"ALTER TABLE pgqueue.{table} ADD PRIMARY KEY {key};"
