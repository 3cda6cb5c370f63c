"""Values as trees of plain JSON types, and back.

What JSON cannot say becomes an object with one ``$``-key, the tag. A user's own dict that looks like
a tag is wrapped in ``$dict``. Enums and dataclasses carry a *name* that is looked up in a table of
the types the application named: nothing in stored data can import a module or call anything else.
"""

import inspect
import math
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import Enum, Flag
from typing import Any

from pgqueue.errors import PgqueueError, UndecodablePayload
from pgqueue.scalars import READERS, TAGS, Refused

DEPTH = 200
"""How deep values may be nested."""

_TRUSTED: frozenset[type] = frozenset({str, int, bool, type(None)})
_CERTAIN: frozenset[type] = frozenset({bool, type(None)})
_LONGEST_INT = 2000
"""Bits. Python refuses to print or read more digits than an option says, which is 640 or more."""


class Tagging:
    """Knows how each value is written as plain JSON types. *types*: the Enums and dataclasses."""

    def __init__(self, types: Iterable[type]) -> None:
        self._types: dict[str, type] = {}
        self._fields: dict[type, dict[str, bool]] = {}
        for cls in types:
            known = self._types.setdefault(cls.__qualname__, cls)
            if known is not cls:
                raise PgqueueError(
                    f"{known.__module__}.{cls.__qualname__} and {cls.__module__}.{cls.__qualname__} "
                    "have the same name, and stored values know them by it; rename one"
                )
            if not issubclass(cls, Enum) and is_dataclass(cls):
                self._fields[cls] = {field.name: field.init for field in fields(cls)}
        self._unmakeable = {cls for cls in self._fields if not self._is_made_of_its_fields(cls)}

    def _is_made_of_its_fields(self, cls: type) -> bool:
        """False with a required InitVar or an ``__init__`` of its own that wants something else."""
        given = {name: None for name, init in self._fields[cls].items() if init}
        try:
            inspect.signature(cls).bind(**given)
        except (TypeError, ValueError):
            return False
        return True

    def encode(self, value: Any, *, careful: bool = False) -> Any:
        """Return *value* as a tree of plain JSON types; raise :class:`Refused` if that is impossible.

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
        if kind in self._unmakeable:
            raise Refused(
                f"{kind.__qualname__}(...) wants more than its fields, or other things",
                "give it the __init__ of a dataclass without InitVar, or pass its parts",
            )
        items = {}
        for name in self._fields[kind]:
            if not hasattr(value, name):
                raise Refused(f"a {kind.__qualname__} whose field {name} is not set", "set it")
            items[name] = getattr(value, name)
        return {"$dataclass": [kind.__qualname__, self._encode_items(items, depth, plain)]}

    def _check_known(self, kind: type) -> None:
        if self._types.get(kind.__qualname__) is not kind:
            raise Refused(
                f"{kind.__qualname__} is a type that the task's annotations do not name",
                "annotate the parameter (or the return value) with it",
            )

    def decode(self, tree: Any) -> Any:
        """Return the value that ``encode`` made *tree* of; raise :class:`UndecodablePayload`."""
        if isinstance(tree, list):
            return [self.decode(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        if len(tree) == 1:
            ((tag, stored),) = tree.items()
            if tag.startswith("$"):
                return self._decode_tag(tag, stored)
        return {key: self.decode(item) for key, item in tree.items()}

    def _decode_tag(self, tag: str, stored: Any) -> Any:
        try:
            if tag == "$dict":
                return {key: self.decode(item) for key, item in stored.items()}
            if tag == "$enum":
                return self._decode_enum(*stored)
            if tag == "$dataclass":
                return self._decode_dataclass(*stored)
            if tag in READERS:
                return READERS[tag](stored)
        except (UndecodablePayload, RecursionError, MemoryError):
            raise
        except Exception as error:
            # Only its type: the message may hold the value, and an application's may raise.
            raise UndecodablePayload(f"damaged {tag} in stored JSON: {_name(error)}") from error
        raise UndecodablePayload(f"unknown tag {tag[:80]!a} in stored JSON")

    def _decode_enum(self, name: str, member: str | None, *flags: int) -> Enum:
        kind = self._types.get(name)
        if kind is None or not issubclass(kind, Enum):
            raise UndecodablePayload(_unknown("Enum", name))
        if member is None and issubclass(kind, Flag):
            (value,) = flags
            return kind(value)
        if member not in kind.__members__:
            raise UndecodablePayload(f"{name} has no member {member!r:.80}, and one is stored")
        return kind[member]

    def _decode_dataclass(self, name: str, stored: dict[str, Any]) -> Any:
        kind = self._types.get(name)
        known = self._fields.get(kind) if kind is not None else None
        if kind is None or known is None:
            raise UndecodablePayload(_unknown("dataclass", name))
        if stored.keys() != known.keys():
            missing = ", ".join(sorted(known.keys() - stored.keys())) or "none"
            unknown = ", ".join(sorted(stored.keys() - known.keys())) or "none"
            raise UndecodablePayload(
                f"the stored {name} does not fit the class: "
                f"missing fields: {missing}; unknown fields: {unknown}"
            )
        items = {key: self.decode(item) for key, item in stored.items()}
        try:
            made = kind(**{key: item for key, item in items.items() if known[key]})
        except Exception as error:
            raise UndecodablePayload(f"{name} refuses its stored fields: {_name(error)}") from error
        # The value was complete when it was stored: what __post_init__ does to a field was done.
        for key, item in items.items():
            object.__setattr__(made, key, item)
        return made


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


def _name(error: Exception) -> str:
    return type(error).__qualname__


def _unknown(what: str, name: object) -> str:
    return f"stored value of the {what} {name!r:.80}, which the task's annotations do not name"
