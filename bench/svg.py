"""Bars and curves as SVG text: all that three plots need of a plotting library."""

from collections.abc import Mapping, Sequence
from html import escape

from bench.figure import OURS
from bench.table import number

_WIDTH, _TOP = 720, 44
_COLOURS = ("#1f6feb", "#8b949e", "#bf8700", "#2da44e", "#cf222e", "#8250df", "#0a7d83", "#d4a0c0")

Point = tuple[float, float]


def bars(title: str, groups: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """Horizontal bars: of each group one for each who."""
    left, right, line = 190, 90, 18
    longest = max((value for group in groups.values() for value in group.values()), default=0) or 1
    names = list(dict.fromkeys([OURS, *(who for group in groups.values() for who in group)]))
    parts, y = [], _TOP
    for group, values in groups.items():
        parts.append(_text(10, y + 12, group, bold=True))
        y += 20
        for who, value in values.items():
            width = max(value / longest * (_WIDTH - left - right), 1)
            parts.append(_text(left - 8, y + 12, who, anchor="end"))
            parts.append(_box(left, y, width, line - 4, _COLOURS[names.index(who) % len(_COLOURS)]))
            parts.append(_text(left + width + 6, y + 12, number(value)))
            y += line
        y += 8
    return _document(f"{title} ({unit})", parts, y + 10)


def curves(title: str, series: Mapping[str, Sequence[Point]], x: str, y: str) -> str:
    """Lines through points, both axes from zero, and a legend below."""
    left, right, bottom = 70, _WIDTH - 30, 330
    points = [point for line in series.values() for point in line]
    widest = max((px for px, _ in points), default=0) or 1
    highest = max((py for _, py in points), default=0) or 1

    def place(px: float, py: float) -> Point:
        return left + px / widest * (right - left), bottom - py / highest * (bottom - _TOP)

    parts = [f'<path d="M{left},{_TOP} V{bottom} H{right}" stroke="#57606a" fill="none"/>']
    for share in (0, 0.5, 1):
        across, up = place(widest * share, highest * share)
        parts.append(_text(left - 8, up + 4, number(highest * share), anchor="end"))
        parts.append(_text(across, bottom + 18, number(widest * share), anchor="middle"))
    parts.append(_text((left + right) / 2, bottom + 36, x, anchor="middle"))
    legend = bottom + 50
    for colour, (who, line) in zip(_COLOURS * len(series), series.items(), strict=False):
        path = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_box(left + 16, legend, 12, 12, colour))
        parts.append(_text(left + 34, legend + 11, who))
        legend += 18
    return _document(f"{title} ({y})", parts, legend + 10)


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def _document(title: str, parts: Sequence[str], height: float) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}"'
            ' font-family="sans-serif" font-size="12" fill="#24292f">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="10" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )
