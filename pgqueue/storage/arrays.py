"""Array literals, for parameters of many elements.

psycopg's own dumper visits each element in Python and quotes it with a regular expression: for
the arguments of a thousand jobs that took longer than inserting them. As text with a cast, an array
costs a join.
"""

from collections.abc import Iterable


def numbers(values: Iterable[int | None]) -> str:
    """Return whole numbers as the text of an array; ``None`` is NULL.

    >>> numbers([1, None, -3])
    '{1,NULL,-3}'
    """
    return _literal(["NULL" if value is None else str(value) for value in values])


def texts(values: Iterable[str | None]) -> str:
    r"""Return texts as the text of an array; ``None`` is NULL.

    >>> print(texts(['a "b"', None, "", "\\"]))
    {"a \"b\"",NULL,"","\\"}
    """
    return _literal(["NULL" if value is None else _quoted(value) for value in values])


def _literal(elements: list[str]) -> str:
    return "{" + ",".join(elements) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
