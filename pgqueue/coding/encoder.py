"""Values as trees of plain JSON types.

What JSON cannot say becomes an object with one ``$``-key, the tag. A user's own dict that looks
like a tag is wrapped in ``$dict``. Enums and dataclasses carry the name of their type.
"""

import math
from collections.abc import Iterable
from dataclasses import is_dataclass
from enum import Enum, Flag
from typing import Any

from pgqueue.coding.named_types import NamedTypes
from pgqueue.coding.scalars import TAGS, Refused

DEPTH = 200
"""How deep values may be nested."""

_TRUSTED: frozenset[type] = frozenset({str, int, bool, type(None)})
_CERTAIN: frozenset[type] = frozenset({bool, type(None)})
_LONGEST_INT = 2000
"""Bits. Python refuses to print or read more digits than an option says, which is 640 or more."""


class Encoder:
    """Writes each value as plain JSON types. *named*: the Enums and dataclasses it may meet."""

    def __init__(self, named: NamedTypes) -> None:
        self._named = named

    def encode(self, value: Any, *, careful: bool = False) -> Any:
        """Return *value* as a tree of plain JSON types; raise :class:`Refused` if there is none.

        Not *careful* lets any text and any int pass: what is wrong with them shows for nothing when
        the tree is dumped, and is so rare that then this may be called again to find the culprit.
        """
        return self._encode(value, 0, _CERTAIN if careful else _TRUSTED)

    def _encode(self, value: Any, depth: int, plain: frozenset[type]) -> Any:
        kind = type(value)
        if kind in plain:
            return value
        if kind is dict:
            return self._encode_dict(value, depth, plain)
        if kind is list or kind is tuple:
            return self._encode_list(value, depth, plain)
        if kind is float:
            if not math.isfinite(value):
                raise Refused(f"{value} is no JSON number", "use None or text")
            return value
        if kind is str:
            _check_text(value)
            return value
        if kind is int:
            return value if value.bit_length() <= _LONGEST_INT else {"$int": hex(value)}
        tag = TAGS.get(kind)
        if tag is not None:
            return {tag[0]: tag[1](value)}
        if isinstance(value, Enum):
            return self._encode_enum(value, kind)
        if is_dataclass(value):
            return self._encode_dataclass(value, kind, depth, plain)
        raise Refused(f"a {kind.__module__}.{kind.__qualname__} is not JSON", _advice(kind))

    def _encode_dict(
        self, value: dict[Any, Any], depth: int, plain: frozenset[type]
    ) -> dict[str, Any]:
        encoded = self._encode_items(value, depth, plain)
        if len(encoded) == 1 and next(iter(encoded)).startswith("$"):
            return {"$dict": encoded}
        return encoded

    def _encode_items(
        self, items: dict[Any, Any], depth: int, plain: frozenset[type]
    ) -> dict[str, Any]:
        _check_depth(depth)
        encoded = {}
        for key, item in items.items():
            if type(key) is not str:
                raise Refused(
                    f"the key {_show(key)} is no text, and JSON wants text", "use str(key)"
                )
            try:
                if plain is _CERTAIN:
                    _check_text(key)
                encoded[key] = item if type(item) in plain else self._encode(item, depth + 1, plain)
            except Refused as refused:
                refused.steps.append(f".{key}" if key.isidentifier() else f"[{key[:80]!a}]")
                raise
        return encoded

    def _encode_list(self, value: Iterable[Any], depth: int, plain: frozenset[type]) -> list[Any]:
        _check_depth(depth)
        encoded = []
        for index, item in enumerate(value):
            try:
                encoded.append(self._encode(item, depth + 1, plain))
            except Refused as refused:
                refused.steps.append(f"[{index}]")
                raise
        return encoded

    def _encode_enum(self, value: Enum, kind: type[Enum]) -> dict[str, Any]:
        self._check_known(kind)
        if value.name in kind.__members__:
            return {"$enum": [kind.__qualname__, value.name]}
        if isinstance(value, Flag):
            return {"$enum": [kind.__qualname__, None, value.value]}
        raise Refused(f"what is no member of {kind.__qualname__}", "use one of its members")

    def _encode_dataclass(
        self, value: Any, kind: type, depth: int, plain: frozenset[type]
    ) -> dict[str, Any]:
        self._check_known(kind)
        if kind in self._named.unmakeable:
            raise Refused(
                f"{kind.__qualname__}(...) wants more than its fields, or other things",
                "give it the __init__ of a dataclass without InitVar, or pass its parts",
            )
        items = {}
        for name in self._named.fields[kind]:
            if not hasattr(value, name):
                raise Refused(f"a {kind.__qualname__} whose field {name} is not set", "set it")
            items[name] = getattr(value, name)
        return {"$dataclass": [kind.__qualname__, self._encode_items(items, depth, plain)]}

    def _check_known(self, kind: type) -> None:
        if self._named.types.get(kind.__qualname__) is not kind:
            raise Refused(
                f"{kind.__qualname__} is a type that the task's annotations do not name",
                "annotate the parameter (or the return value) with it",
            )


def _check_depth(depth: int) -> None:
    if depth >= DEPTH:
        raise Refused(f"nested deeper than {DEPTH} levels", "flatten it")


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Refused("text with a NUL character, which Postgres cannot hold", "strip it")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused(
            "text with a lone surrogate, which UTF-8 cannot hold", "decode the text properly first"
        )


def _show(key: object) -> str:
    """Numbers as they are, other keys by their type: a repr may be long, secret or broken."""
    if type(key) in (bool, float) or (type(key) is int and abs(key) < 10**20):
        return f"{key} ({type(key).__name__})"
    return f"of type {type(key).__name__}"


def _advice(kind: type) -> str:
    if issubclass(kind, (set, frozenset)):
        return "use sorted(...), a list"
    for plain in (bool, int, float, str, dict, list, tuple, bytes):
        if issubclass(kind, plain):
            return f"use {plain.__name__}(...)"
    if issubclass(kind, (bytearray, memoryview)):
        return "use bytes(...)"
    return "pass a plain value, such as an id"
