"""The Enums and dataclasses that stored values may be made of, by name."""

import inspect
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import Enum

from pgqueue.errors import PgqueueError


class NamedTypes:
    """A table of types. Stored data holds names, and nothing that is not in here is ever called."""

    def __init__(self, types: Iterable[type]) -> None:
        self.types: dict[str, type] = {}
        self.fields: dict[type, dict[str, bool]] = {}
        """Dataclass -> the names of its fields -> whether its ``__init__`` takes them."""
        for cls in types:
            name = cls.__qualname__
            known = self.types.setdefault(name, cls)
            if known is not cls:
                raise PgqueueError(
                    f"{known.__module__}.{name} and {cls.__module__}.{name} have the same name, "
                    "and stored values know them by it; rename one"
                )
            if not issubclass(cls, Enum) and is_dataclass(cls):
                self.fields[cls] = {field.name: field.init for field in fields(cls)}
        self.unmakeable = {cls for cls in self.fields if not self._is_made_of_its_fields(cls)}

    def _is_made_of_its_fields(self, cls: type) -> bool:
        """False with a required InitVar or an ``__init__`` of its own that wants something else."""
        given = {name: None for name, init in self.fields[cls].items() if init}
        try:
            inspect.signature(cls).bind(**given)
        except (TypeError, ValueError):
            return False
        return True
