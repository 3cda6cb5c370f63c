"""What options and arguments may look like, and the options that many commands share."""

import json
import os
import pwd
import sys
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pgqueue.cli.human import parse_duration
from pgqueue.cli.output import tell
from pgqueue.coding.codec import Codec
from pgqueue.errors import LargePayload

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # generic only in new versions of click
    ParamType = click.ParamType

JOB_ID = click.IntRange(min=1, max=2**63 - 1)


class Duration(ParamType):
    """A length of time. With *endless* the word ``none`` is one as well, and is given as None."""

    name = "duration"

    def __init__(self, *, endless: bool = False) -> None:
        self._endless = endless

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, timedelta) or (self._endless and value == "none"):
            return value
        try:
            return parse_duration(value)
        except (ValueError, OverflowError) as error:
            self.fail(str(error), param, ctx)


class OrDefault(ParamType):
    """What another type takes, or the word ``default``."""

    DEFAULT = "default"

    def __init__(self, other: ParamType) -> None:
        self._other = other
        self.name = other.name

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if value == self.DEFAULT else self._other.convert(value, param, ctx)


class Moment(ParamType):
    """A date and time with its offset from UTC."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write 2026-12-24T18:00:00+01:00", param, ctx)
        if moment.utcoffset() is None:
            self.fail(f"{value!r} has no time zone; add Z for UTC, or +01:00", param, ctx)
        return moment


class When(ParamType):
    """A moment, or how long ago it was (``2h``), or how far ahead it is (``in 2h``)."""

    name = "when"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime | timedelta:
        if isinstance(value, (datetime, timedelta)):
            return value
        ahead = value.startswith("in ")
        try:
            length = parse_duration(value.removeprefix("in "))
        except (ValueError, OverflowError):
            if not value[:4].isdigit():
                self.fail(
                    f"{value!r} is no time; write 2h, 'in 2h' or 2026-12-24T18:00Z", param, ctx
                )
            return Moment().convert(value, param, ctx)
        return -length if ahead else length


class Rate(ParamType):
    """So many a second: ``10``, ``10/s``, ``90/min``."""

    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        figure, _, unit = value.partition("/")
        try:
            rate = float(figure) / {"": 1, "s": 1, "min": 60, "h": 3600}[unit]
        except (ValueError, KeyError):
            self.fail(f"{value!r} is no rate; write 10/s or 90/min", param, ctx)
        if not 0.001 <= rate <= 1_000_000:
            self.fail("must be between 0.001/s and 1000000/s", param, ctx)
        return rate


class Name(ParamType):
    """Text of limited length."""

    name = "name"

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if not 1 <= len(value) <= self._longest:
            self.fail(f"must have 1 to {self._longest} characters", param, ctx)
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.fail(f"{value!a} is not valid UTF-8", param, ctx)
        return str(value)


class JsonObject(ParamType):
    """A JSON object: as text, ``@FILE``, or ``-`` for standard input. Gives it as compact text.

    Refuses what could not be stored exactly, as enqueueing from Python does
    (:class:`~pgqueue.errors.InvalidPayload`).
    """

    name = "json"

    def __init__(self, what: str) -> None:
        self._what = what

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        text = self._read(value, param, ctx)
        try:
            parsed = json.loads(text)
        except json.JSONDecodeError as error:
            self.fail(_pointed(text, error), param, ctx)
        except (ValueError, RecursionError) as error:
            self.fail(f"not JSON that can be used: {error}", param, ctx)
        if not isinstance(parsed, dict):
            self.fail("must be an object, such as '{\"user_id\": 1}'", param, ctx)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", LargePayload)
            Codec().dumps(parsed, what=self._what)
        for warning in caught:
            tell(f"Warning: {warning.message}")
        # Not what the codec made of it: here tags such as {"$date": ...} are meant as such.
        return json.dumps(parsed, ensure_ascii=False, separators=(",", ":"))

    def _read(self, value: str, param: Any, ctx: Any) -> str:
        if value != "-" and not value.startswith("@"):
            return value
        try:
            data = sys.stdin.buffer.read() if value == "-" else Path(value[1:]).read_bytes()
            return data.decode()
        except (OSError, UnicodeDecodeError) as error:
            self.fail(f"{value[1:] or 'standard input'} cannot be read: {error}", param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

REASON = Name(1000)

reason_option = click.option(
    "--reason", type=REASON, metavar="TEXT", help="Why; kept in the audit."
)


def actor_option(command: F) -> F:
    """Who does it, for the audit."""
    return click.option(
        "--actor",
        type=Name(500),
        default=_os_user,
        help="Who does it, for the audit.  [default: your user name]",
    )(command)


def _os_user() -> str:
    """The user by the kernel's word; the environment can say anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _pointed(text: str, error: json.JSONDecodeError) -> str:
    """Say where JSON breaks off, and show it."""
    line = text.splitlines()[error.lineno - 1] if text else ""
    start = max(0, error.colno - 31)
    shown = line[start : error.colno + 30]
    advice = "" if text.lstrip().startswith('{"') else "; in a shell write it as '{\"name\": 1}'"
    return (
        f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}{advice}\n"
        f"  {shown}\n  {' ' * (error.colno - 1 - start)}^"
    )
