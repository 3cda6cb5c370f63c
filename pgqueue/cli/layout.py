"""Tables as text: columns that give way until a line fits. Pure; the screen is others' business."""

import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

_NARROWEST = 8
_GAP = "  "

Paint = Callable[[str, str | None], str]
"""Gives a text a colour, or makes it ``bold``; None: as it is."""


class Column(NamedTuple):
    """A column of a table."""

    title: str
    elastic: bool = False
    """Gives way when the terminal is narrow."""
    right: bool = False
    colour: Callable[[str], str | None] = lambda cell: None
    """The colour of a cell with this text."""


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None, paint: Paint
) -> list[str]:
    """Return the titles and a line for each row, none wider than *room* if there is one."""
    texts = [[column.title for column in columns], *rows]
    widths = _fit(columns, [max(map(width, each)) for each in zip(*texts, strict=True)], room)
    titles, *lines = (
        [
            _pad(cut(cell, size), size, column.right)
            for cell, size, column in zip(row, widths, columns, strict=True)
        ]
        for row in texts
    )
    painted = [_GAP.join(titles).rstrip()]
    for line, row in zip(lines, rows, strict=True):
        colours = [column.colour(cell) for column, cell in zip(columns, row, strict=True)]
        painted.append(_GAP.join(map(paint, line, colours)).rstrip())
    return painted


def width(text: str) -> int:
    """How many columns of a terminal *text* takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + _is_wide(c) for c in text)


def cut(text: str, room: int) -> str:
    """*text*, or as much of it as there is room for, and an ellipsis."""
    if width(text) <= room:
        return text
    while width(text) > room - 1:
        text = text[:-1]
    return f"{text}…"


def _fit(columns: Sequence[Column], widths: list[int], room: int | None) -> list[int]:
    """Take from the widest elastic column, again and again, until the line fits."""
    if room is None:
        return widths
    widths, room = list(widths), room - len(_GAP) * (len(columns) - 1)
    while sum(widths) > room:
        widest = max(
            (n for n, column in enumerate(columns) if column.elastic and widths[n] > _NARROWEST),
            key=lambda n: widths[n],
            default=None,
        )
        if widest is None:
            break
        widths[widest] -= 1
    return widths


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _pad(text: str, size: int, right: bool) -> str:
    space = " " * (size - width(text))
    return space + text if right else text + space
