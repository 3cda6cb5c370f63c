"""What a check is, and what it finds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from pgqueue.storage.operation import Operation, Row, query
from pgqueue.tasks import Tasks


class Severity(StrEnum):
    """From what is well to what hurts now. ``info``: known, or not to be known; nothing to do."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Circumstances(NamedTuple):
    """What a judge must know that no row says."""

    head: str
    """The revision that this code was written for."""
    indexes: Mapping[str, str]
    """The indexes that the migrations make, and the SQL that makes each."""
    host: str = ""
    is_local: bool = True
    """Whether the connection stays within this machine."""
    is_encrypted: bool = False
    sslmode: str = ""
    is_pooled: bool = False
    tasks: Tasks | None = None
    """The application's, if it was named."""


_NO_FIGURES: Mapping[str, Any] = MappingProxyType({})


class Verdict(NamedTuple):
    """What a judge makes of the rows: one line that says what, and what to do."""

    severity: Severity
    text: str
    fix: str | None = None
    """SQL that ends in a semicolon, or a command of the shell: to paste."""
    subject: str = ""
    """The table, queue, task or whatever else it is about."""
    figures: Mapping[str, Any] = _NO_FIGURES
    """What the text says, for programs."""


class Finding(NamedTuple):
    """A verdict, and the check it is from."""

    check: str
    group: str
    severity: Severity
    subject: str
    text: str
    fix: str | None
    figures: Mapping[str, Any]


Judge = Callable[[Sequence[Row], Circumstances], Iterator[Verdict]]
Question = Callable[[Circumstances], Operation[list[Row]]]


class Check(NamedTuple):
    """One thing to look at."""

    name: str
    group: str
    fine: str
    """What is said when the judge has nothing to say."""
    ask: Question
    judge: Judge
    needs: str | None
    """The role of the server without which rows are missing; others fail by themselves."""
    needs_tasks: bool


def check(
    group: str,
    *,
    fine: str,
    ask: Question | None = None,
    needs: str | None = None,
    needs_tasks: bool = False,
) -> Callable[[Judge], Check]:
    """Make a judge a check of its name. It asks ``check_<name>.sql`` unless *ask* is given."""

    def made(judge: Judge) -> Check:
        name = judge.__name__
        question = ask or (lambda here: query(f"check_{name}"))
        return Check(name, group, fine, question, judge, needs, needs_tasks)

    return made


def ok(text: str, **figures: Any) -> Verdict:
    return Verdict(Severity.OK, text, figures=figures)


def info(text: str, fix: str | None = None, *, subject: str = "", **figures: Any) -> Verdict:
    return Verdict(Severity.INFO, text, fix, subject, figures)


def warning(text: str, fix: str, *, subject: str = "", **figures: Any) -> Verdict:
    return Verdict(Severity.WARNING, text, fix, subject, figures)


def critical(text: str, fix: str, *, subject: str = "", **figures: Any) -> Verdict:
    return Verdict(Severity.CRITICAL, text, fix, subject, figures)


def length(seconds: float) -> str:
    """A length of time at a glance, as ``pgqueue.in_words()`` has it.

    >>> length(45), length(3700), length(200_000)
    ('45 s', '61 min', '2 d')
    """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
