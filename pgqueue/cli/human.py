"""Times, durations and numbers as people say and write them."""

import re
from datetime import datetime, timedelta

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_SECONDS = {
    "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)


def duration(seconds: float) -> str:
    """One figure and its unit, for reading at a glance: ``12 s``, ``3 min``, ``5 h``, ``40 d``.

    >>> duration(0.0451), duration(90), duration(7199), duration(200_000)
    ('45 ms', '90 s', '119 min', '2 d')
    """
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    # From two of a unit on: "1 h" could be nearly two.
    unit, size = next((u, size) for u, size in _UNITS if seconds >= 2 * size or u == "s")
    return f"{int(seconds // size)} {unit}"


def brief(seconds: float | None) -> str:
    """:func:`duration` where room is dear; of nothing, nothing.

    >>> brief(0.0451), brief(90), brief(-3.2), brief(7300), brief(None)
    ('45ms', '90s', '-3s', '2h', '')
    """
    if seconds is None:
        return ""
    text = duration(abs(seconds)).replace(" ", "").replace("min", "m")
    return f"-{text}" if seconds < 0 else text


def compact(value: float, *, at_least: bool = False) -> str:
    """A count in five characters at most, and ``+`` when counting stopped there.

    >>> compact(0), compact(999), compact(1234), compact(56_789), compact(10_000, at_least=True)
    ('0', '999', '1.2k', '57k', '10k+')
    >>> compact(1_234_567), compact(0.4), compact(99_950)
    ('1.2M', '0.4', '100k')
    """
    for unit, size in (("M", 999_500), ("k", 999.5)):
        if value >= size:
            scaled = value / (1000 if unit == "k" else 1_000_000)
            return f"{scaled:.{1 if scaled < 9.95 else 0}f}{unit}{'+' if at_least else ''}"
    shown = f"{value:.1f}" if 0 < value < 9.95 and value != int(value) else f"{value:.0f}"
    return f"{shown}{'+' if at_least else ''}"


def exactly(seconds: float) -> str:
    """A setting, to the millisecond: ``1 min 30 s``.

    >>> exactly(90), exactly(604800), exactly(0.25), exactly(0)
    ('1 min 30 s', '7 d', '250 ms', '0 s')
    """
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    parts = []
    for unit, size in _UNITS:
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {unit}")
    if milliseconds:
        parts.append(f"{milliseconds} ms")
    return " ".join(parts) or "0 s"


def kept(keep: float | None, cancelled: float | None, dead: float | None) -> str:
    """How long history is kept, by outcome; what is not set is left out.

    >>> kept(604800, None, None), kept(0, 86400, None), kept(None, None, 7200)
    ('7 d', '0 s, cancelled 1 d', 'dead 2 h')
    """
    named = (("", keep), ("cancelled ", cancelled), ("dead ", dead))
    return ", ".join(f"{name}{exactly(time)}" for name, time in named if time is not None)


def ago(moment: datetime, now: datetime) -> str:
    """How far *moment* is from *now*: ``3 min ago``, ``in 5 min``, ``now``."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    return f"{duration(seconds)} ago" if seconds > 0 else f"in {duration(-seconds)}"


def local(moment: datetime) -> str:
    """A moment by the clock on this machine's wall, with its offset from UTC."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def number(value: int, *, at_least: bool = False) -> str:
    """A count: ``10,000``; ``10,000+`` when counting stopped there."""
    return f"{value:,}{'+' if at_least else ''}"


def parse_duration(text: str) -> timedelta:
    """Read ``90``, ``1.5``, ``30s``, ``5 min``, ``1h30m``, ``7d``. Raises :class:`ValueError`.

    >>> parse_duration("1h30m"), parse_duration("250ms")
    (datetime.timedelta(seconds=5400), datetime.timedelta(microseconds=250000))
    """
    seconds, end = 0.0, 0
    while match := _PART.match(text, end):
        figure, unit = match.groups()
        # Only a lone figure may leave out its unit.
        unit = unit or ("s" if match.span() == (0, len(text)) else "?")
        if unit not in _SECONDS:
            break
        seconds, end = seconds + float(figure) * _SECONDS[unit], match.end()
    if not text or end != len(text):
        raise ValueError(f"{text!r} is no length of time; write 30s, 5min, 1h30m or 7d")
    return timedelta(seconds=seconds)
