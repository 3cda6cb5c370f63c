"""Tables that fit the terminal, and JSON that programs can rely on."""

import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from pgqueue.cli.layout import Column as Column
from pgqueue.cli.layout import table
from pgqueue.secrecy.redaction import redact_json, shown


def print_json(value: Any) -> None:
    """Print *value* as one JSON document; named tuples become objects, moments ISO 8601 in UTC.

    What looks like a credential is left out, as everywhere."""
    redacted = json.loads(redact_json(json.dumps(plain(value))))
    click.echo(json.dumps(_shown(redacted), indent=2))


def plain(value: Any) -> Any:
    """Turn *value* into what JSON has."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {key: plain(each) for key, each in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return value


def _shown(value: Any) -> Any:
    """Every text in *value* fit to be shown: an error may tell more than its shape betrays."""
    if isinstance(value, dict):
        return {key: _shown(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    return shown(value) if isinstance(value, str) else value


def embedded(text: str | None) -> Any:
    """Parse JSON that is to stand inside other JSON; what Python cannot hold stays text."""
    if text is None:
        return None
    try:
        return json.loads(text, parse_float=_parse_float)
    except (ValueError, RecursionError):
        return text


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print *rows* under titles; on a terminal no line is wider than it."""
    cells = [[visible(cell) for cell in row] for row in rows]
    titles, *lines = table(columns, cells, terminal_width(), coloured)
    print_heading(titles, apart=False)
    for line in lines:
        click.echo(line)


def print_heading(text: str, *, apart: bool = True) -> None:
    """Print a heading, *apart* from what came before."""
    if apart:
        click.echo()
    click.echo(click.style(text, bold=True) if shows_colours() else text)


def print_fact(name: str, text: str) -> None:
    """Print one line of what is known about something, or more lines where *text* has them."""
    first, *rest = visible_lines(text) or [""]
    click.echo(f"  {name:<13}{first}")
    for line in rest:
        click.echo(f"  {'':<13}{line}")


def tell(text: str) -> None:
    """Say something to the person, beside what is printed for programs."""
    click.echo(text, err=True)


def visible(text: str) -> str:
    """Make control characters visible, and what looks like a credential not: what a job holds must
    not steer the terminal, nor end in its log."""
    text = shown(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def visible_lines(text: str) -> list[str]:
    """The lines of *text*, each visible as it is, tabs widened."""
    return [visible(line.expandtabs(4)) for line in shown(text).splitlines()]


def terminal_width() -> int | None:
    """Columns of the terminal; None where output goes elsewhere, and nothing needs to be cut."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def shows_colours() -> bool:
    """Whether the terminal has colours, and its person wants them."""
    return (
        terminal_width() is not None
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def coloured(text: str, colour: str | None) -> str:
    """*text* in that colour, where colours are shown."""
    return click.style(text, fg=colour) if colour and shows_colours() else text


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode() if character != " " else character


def _parse_float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text
