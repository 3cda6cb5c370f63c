"""Values of trees of plain JSON types: the way back from the encoder."""

from enum import Enum, Flag
from typing import Any

from pgqueue.coding.named_types import NamedTypes
from pgqueue.coding.scalars import READERS
from pgqueue.errors import UndecodablePayload


class Decoder:
    """Makes the values that an encoder wrote. *named*: the Enums and dataclasses it may make."""

    def __init__(self, named: NamedTypes) -> None:
        self._named = named

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
                return self._decode_enum(*_list(stored))
            if tag == "$dataclass":
                return self._decode_dataclass(*_list(stored))
            if tag in READERS:
                return READERS[tag](stored)
        except (UndecodablePayload, RecursionError, MemoryError):
            raise
        except Exception as error:
            # Only its type: the message may hold the value, and an application's may raise.
            raise UndecodablePayload(f"damaged {tag} in stored JSON: {_name(error)}") from error
        raise UndecodablePayload(f"unknown tag {tag[:80]!a} in stored JSON")

    def _decode_enum(self, name: str, member: str | None, *flags: int) -> Enum:
        kind = self._named.types.get(name)
        if kind is None or not issubclass(kind, Enum):
            raise UndecodablePayload(_unknown("Enum", name))
        if member is None and issubclass(kind, Flag):
            (value,) = flags
            return kind(value)
        if member is None or member not in kind.__members__:
            raise UndecodablePayload(f"{name} has no member {member!r:.80}, and one is stored")
        return kind[member]

    def _decode_dataclass(self, name: str, stored: dict[str, Any]) -> Any:
        kind = self._named.types.get(name)
        known = self._named.fields.get(kind) if kind is not None else None
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


def _list(stored: Any) -> list[Any]:
    if not isinstance(stored, list):
        raise TypeError(f"a list expected, found {type(stored).__name__}")
    return stored


def _name(error: Exception) -> str:
    return type(error).__qualname__


def _unknown(what: str, name: object) -> str:
    return f"stored value of the {what} {name!r:.80}, which the task's annotations do not name"
