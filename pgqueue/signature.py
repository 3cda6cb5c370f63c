"""How a task's function wants to be called: binding, checking, and the types it names."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from pgqueue.context import Context
from pgqueue.errors import PgqueueError, UndecodablePayload

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """The parameters of a task's function, without an injected first ``ctx: Context``."""

    def __init__(self, function: Callable[..., Any], task: str) -> None:
        self._function = function
        self._task = task
        parameters = list(inspect.signature(function).parameters.values())
        self.takes_context = bool(parameters) and _is_context(parameters[0])
        if self.takes_context:
            parameters = parameters[1:]
        self.takes_any = False
        for parameter in parameters:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                self.takes_any = True
            elif parameter.kind not in _BY_NAME:
                raise PgqueueError(
                    f"task {task!r}: parameter {parameter} cannot be passed by name, and arguments "
                    "are stored by name; give it a name of its own"
                )
        named = [p for p in parameters if p.kind in _BY_NAME]
        self.names = tuple(p.name for p in named)
        self._known = frozenset(self.names)
        self._required = frozenset(p.name for p in named if p.default is inspect.Parameter.empty)
        self._inspected = inspect.Signature(parameters)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name. Raises :class:`TypeError` as the call itself would."""
        if not args and self._required <= kwargs.keys() <= self._known:
            return dict(kwargs)
        try:
            bound = self._inspected.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._task}{self._inspected}: {error}") from None
        arguments = dict(bound.arguments)
        if self.takes_any:
            rest = next(
                p.name for p in self._inspected.parameters.values() if p.kind not in _BY_NAME
            )
            arguments.update(arguments.pop(rest, {}))
        return arguments

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise :class:`UndecodablePayload`, with both sides, if stored *arguments* no longer
        fit."""
        if arguments.keys() == self._known:
            return
        missing = self._required - arguments.keys()
        surplus = frozenset() if self.takes_any else arguments.keys() - self._known
        if missing or surplus:
            raise UndecodablePayload(
                f"the stored arguments ({', '.join(sorted(arguments)) or 'none'}) do not fit "
                f"{self._task}{self._inspected}"
            )

    def named_types(self) -> set[type]:
        """Every Enum and dataclass that the annotations name, however deep: what JSON may hold.

        A subclass of one of them is not found by it: it must be named as well, ``Shape | Circle``.
        """
        walked: set[Any] = set()
        try:
            hints = typing.get_type_hints(self._function)
            return {found for hint in hints.values() for found in _types_in(hint, walked)}
        except NameError as error:
            raise PgqueueError(
                f"task {self._task!r}: an annotation names something unknown: {error}; "
                "import it where the task is defined"
            ) from error


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return annotation.rsplit(".", 1)[-1] == "Context"
    return annotation is Context


def _types_in(hint: Any, walked: set[Any]) -> Iterator[type]:
    """Walk a type expression, ``list[Item] | None``, aliases, the fields of classes and so on, for
    Enums and dataclasses."""
    for argument in typing.get_args(hint):
        yield from _types_in(argument, walked)
    hint = typing.get_origin(hint) or hint
    if isinstance(hint, list):  # of Callable[[Item], None]
        for argument in hint:
            yield from _types_in(argument, walked)
        return
    if isinstance(hint, Enum):  # of Literal[Colour.RED]
        hint = type(hint)
    named = isinstance(hint, (type, typing.NewType, typing.TypeVar)) or hasattr(hint, "__value__")
    if not named or hint in walked:
        return
    walked.add(hint)
    if isinstance(hint, type) and (issubclass(hint, Enum) or dataclasses.is_dataclass(hint)):
        yield hint
    for part in _parts_of(hint):
        yield from _types_in(part, walked)


def _parts_of(hint: Any) -> Iterable[Any]:
    """The types that a named type is made of."""
    if isinstance(hint, typing.NewType):
        return [hint.__supertype__]
    if isinstance(hint, typing.TypeVar):
        return [hint.__bound__, *hint.__constraints__]
    if not isinstance(hint, type):
        return [hint.__value__]  # of ``type Colours = list[Colour]``
    is_typed_dict = issubclass(hint, dict) and hasattr(hint, "__total__")
    is_named_tuple = issubclass(hint, tuple) and hasattr(hint, "_fields")
    if is_typed_dict or is_named_tuple or dataclasses.is_dataclass(hint):
        return typing.get_type_hints(hint).values()
    return []
