"""Values as JSON text and back, exactly.

JSON has no dates, decimals or bytes; they become an object with one ``$``-key, the tag. A user's
own dict that looks like a tag is wrapped in ``$dict``. Enums and dataclasses carry a *name* that
is looked up in the codec's own table: nothing in stored data can import a module or call a
function that the application did not name in an annotation.
"""

import base64
import json
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from pgqueue.errors import InvalidPayload, LargePayload, PgqueueError, UndecodablePayload

LIMIT = 1024 * 1024
"""Bytes of UTF-8 that a payload may have."""
WARN_FROM = 64 * 1024
DEPTH = 200
"""How deep values may be nested."""

_PLAIN = frozenset({str, int, bool, type(None)})


class _Refused(Exception):
    """A value cannot be encoded; the path to it is collected on the way out."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem, self.advice = problem, advice
        self.path = ""


class Codec:
    """Turns values into JSON text and back. *types*: the Enums and dataclasses it may meet.

    Tuples become lists. Everything else comes back as it was, or is refused by ``dumps``.
    """

    def __init__(self, types: Iterable[type] = ()) -> None:
        self._types: dict[str, type] = {}
        for cls in types:
            known = self._types.setdefault(cls.__qualname__, cls)
            if known is not cls:
                raise PgqueueError(
                    f"{cls.__qualname__} is a type in {known.__module__} and in {cls.__module__}, "
                    "and stored values know it by this name; rename one"
                )

    def dumps(self, value: Any, *, what: str, limit: int = LIMIT) -> str:
        """Return *value* as JSON text. *what* begins the path in errors, such as ``"args"``.

        Raises :class:`InvalidPayload` for what cannot be stored exactly or is larger than *limit*
        bytes; warns with :class:`LargePayload` from 64 KiB.
        """
        try:
            tree = self._encode(value, 0)
            text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            size = len(text.encode()) if not text.isascii() else len(text)
            if "\\u0000" in text:
                _find_bad_text(tree)
        except _Refused as refused:
            raise InvalidPayload(what + refused.path, refused.problem, refused.advice) from None
        except UnicodeEncodeError:
            path = _path_of(tree)
            problem = "text with a lone surrogate, which UTF-8 cannot hold"
            raise InvalidPayload(what + path, problem, "decode the text properly first") from None
        except ValueError as error:
            raise InvalidPayload(what, str(error), "store it as text") from None
        if size > limit:
            raise InvalidPayload(
                what,
                f"{size} bytes of JSON are more than the {limit} allowed",
                "store the data elsewhere and pass a reference to it",
            )
        if size >= WARN_FROM:
            warnings.warn(
                f"{what}: {size} bytes of JSON make a slow job; pass a reference instead",
                LargePayload,
                stacklevel=3,
            )
        return text

    def loads(self, text: str) -> Any:
        """Return the value that ``dumps`` made *text* of; raise :class:`UndecodablePayload`."""
        try:
            value = json.loads(text)
            return self._decode(value) if '"$' in text else value
        except UndecodablePayload:
            raise
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError, OSError) as error:
            raise UndecodablePayload(f"stored JSON cannot be read: {error}") from error

    def _encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if depth > DEPTH:
            raise _Refused(f"nested deeper than {DEPTH} levels", "flatten it")
        if kind is float:
            if not math.isfinite(value):
                raise _Refused(f"{value} is no JSON number", "use None or text")
            return value
        if kind is dict:
            return self._encode_dict(value, depth)
        if kind is list or kind is tuple:
            encoded = []
            for index, item in enumerate(value):
                try:
                    encoded.append(self._encode(item, depth + 1))
                except _Refused as refused:
                    refused.path = f"[{index}]{refused.path}"
                    raise
            return encoded
        return self._encode_tagged(value, kind, depth)

    def _encode_dict(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        encoded = {}
        for key, item in value.items():
            if type(key) is not str:
                raise _Refused(
                    f"key {key!r:.80} is {type(key).__name__}, and JSON knows only text as keys",
                    "use str(key)",
                )
            if type(item) in _PLAIN:
                encoded[key] = item
                continue
            try:
                encoded[key] = self._encode(item, depth + 1)
            except _Refused as refused:
                refused.path = f".{key}{refused.path}"
                raise
        if len(encoded) == 1 and next(iter(encoded)).startswith("$"):
            return {"$dict": encoded}
        return encoded

    def _encode_tagged(self, value: Any, kind: type, depth: int) -> dict[str, Any]:
        encode = _ENCODE.get(kind)
        if encode is not None:
            tag, stored = encode(value)
            return {tag: stored}
        name = kind.__qualname__
        if isinstance(value, Enum) or is_dataclass(value):
            if self._types.get(name) is not kind:
                raise _Refused(
                    f"{name} is a type that the task's annotations do not name",
                    "annotate the parameter (or the return value) with it",
                )
            if isinstance(value, Enum):
                named = value.name in kind.__members__  # type: ignore[attr-defined]
                return {"$enum": [name, value.name] if named else [name, None, value.value]}
            parts = {
                field.name: getattr(value, field.name) for field in fields(value) if field.init
            }
            plain = self._encode_dict(parts, depth + 1)
            return {"$dataclass": [name, plain.get("$dict", plain)]}
        raise _Refused(
            f"a {kind.__module__}.{name} cannot be stored as JSON",
            "pass a plain value, such as an id",
        )

    def _decode(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, stored),) = value.items()
            if key.startswith("$"):
                return self._decode_tagged(key, stored)
        return {key: self._decode(item) for key, item in value.items()}

    def _decode_tagged(self, tag: str, stored: Any) -> Any:
        if tag == "$dict":
            return {key: self._decode(item) for key, item in stored.items()}
        if tag == "$enum":
            name, member, *rest = stored
            cls: Any = self._type(name)
            return cls[member] if member is not None else cls(rest[0])
        if tag == "$dataclass":
            name, parts = stored
            cls = self._type(name)
            known = {field.name for field in fields(cls) if field.init}
            if parts.keys() != known:
                raise UndecodablePayload(
                    f"stored {name} has {', '.join(sorted(parts)) or 'no fields'}; "
                    f"the class has {', '.join(sorted(known)) or 'none'}"
                )
            return cls(**{key: self._decode(item) for key, item in parts.items()})
        decode = _DECODE.get(tag)
        if decode is None:
            raise UndecodablePayload(f"unknown tag {tag!r:.80} in stored JSON")
        return decode(stored)

    def _type(self, name: str) -> type:
        try:
            return self._types[name]
        except KeyError:
            raise UndecodablePayload(
                f"stored value of type {name!r:.80}, which the task's annotations do not name"
            ) from None


def sanitise(text: str, limit: int) -> str:
    """Return *text* fit for a text column of at most *limit* bytes. Never raises.

    NUL and lone surrogates are replaced, and the middle of a text that is too long is cut out.
    """
    data = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace")
    if len(data) > limit:
        half = max((limit - 16) // 2, 0)
        data = data[:half] + b" ... " + data[len(data) - half :]
    return data.decode("utf-8", "ignore")


def _encode_datetime(value: datetime) -> tuple[str, Any]:
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        return "$datetime", [value.replace(tzinfo=None).isoformat(), zone.key, value.fold]
    if value.fold:
        return "$datetime", [value.isoformat(), None, value.fold]
    return "$datetime", value.isoformat()


def _decode_datetime(stored: Any) -> datetime:
    if isinstance(stored, str):
        return datetime.fromisoformat(stored)
    text, zone, fold = stored
    moment = datetime.fromisoformat(text).replace(fold=fold)
    return moment.replace(tzinfo=ZoneInfo(zone)) if zone else moment


_ENCODE: dict[type, Callable[[Any], tuple[str, Any]]] = {
    datetime: _encode_datetime,
    date: lambda value: ("$date", value.isoformat()),
    time: lambda value: ("$time", value.isoformat()),
    timedelta: lambda value: ("$timedelta", [value.days, value.seconds, value.microseconds]),
    Decimal: lambda value: ("$decimal", str(value)),
    UUID: lambda value: ("$uuid", str(value)),
    bytes: lambda value: ("$bytes", base64.b64encode(value).decode("ascii")),
}

_DECODE: dict[str, Callable[[Any], Any]] = {
    "$datetime": _decode_datetime,
    "$date": date.fromisoformat,
    "$time": time.fromisoformat,
    "$timedelta": lambda stored: timedelta(*stored),
    "$decimal": Decimal,
    "$uuid": UUID,
    "$bytes": base64.b64decode,
}


def _bad_text(text: str) -> bool:
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def _path_of(tree: Any) -> str:
    """Return the path to the first text that cannot be stored, "" if there is none."""
    if isinstance(tree, dict):
        for key, item in tree.items():
            if _bad_text(key):
                return f".{key!a}"
            found = _path_of(item)
            if found or (isinstance(item, str) and _bad_text(item)):
                return f".{key}{found}"
    if isinstance(tree, list):
        for index, item in enumerate(tree):
            found = _path_of(item)
            if found or (isinstance(item, str) and _bad_text(item)):
                return f"[{index}]{found}"
    return ""


def _find_bad_text(tree: Any) -> None:
    """Raise for a NUL in *tree*; the six characters \\u0000 in the user's own text are fine."""
    path = _path_of(tree)
    if path or (isinstance(tree, str) and _bad_text(tree)):
        refused = _Refused("text with a NUL character, which Postgres cannot hold", "strip it")
        refused.path = path
        raise refused
