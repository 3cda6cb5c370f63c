"""Many items as jobs of so many each: the arguments of every chunk, from an iterable read once."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

from pgqueue.errors import InvalidOption
from pgqueue.options import NewJob
from pgqueue.tasks import Task

GIVEN = ("total_chunks", "items", "chunk_index")
"""The arguments that every chunk is given. The first begins the text of its arguments, so that it
can be replaced in there when the end of a lazy iterable is known."""


class Chunks:
    """The jobs of a chunked enqueue, made as they are asked for, once.

    Raises :class:`InvalidOption` and :class:`TypeError` for what can be known to be wrong before
    the first item is read.
    """

    def __init__(
        self,
        task: Task[..., Any],
        items: Iterable[Any],
        chunk_size: int,
        arguments: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        if type(chunk_size) is not int or chunk_size < 1:
            raise InvalidOption("chunk_size", f"must be a whole number from 1, not {chunk_size!r}")
        if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
            raise InvalidOption(
                "items", f"must be an iterable of items, not a {type(items).__name__}"
            )
        for name in GIVEN:
            if name in arguments:
                raise InvalidOption(f"arguments[{name!r}]", "is given by the chunking itself")
        if "key" in options:
            raise InvalidOption("key", "would be the same for every chunk, and make them one job")
        if task.encrypts and not isinstance(items, Sized):
            raise InvalidOption(
                "items",
                f"must have a length: {task.name!r} encrypts, so its chunks cannot be told"
                " their number later; give a list",
            )
        task.signature.bind((), {**dict.fromkeys(GIVEN), **arguments})
        self._task = task
        self._items = items
        self._size = chunk_size
        self._arguments = arguments
        self._job = NewJob(task.name, "{}", *task.defaults[2:]).options(**options)
        self._declared = -(-len(items) // chunk_size) if isinstance(items, Sized) else None
        self._count = 0

    def __iter__(self) -> Iterator[NewJob]:
        items = iter(self._items)
        while chunk := list(islice(items, self._size)):
            arguments = {
                "total_chunks": self._declared,
                "items": chunk,
                "chunk_index": self._count,
                **self._arguments,
            }
            text = self._task.encode(arguments, f"chunk {self._count}")
            self._count += 1
            yield self._job._replace(args=text)

    @property
    def correction(self) -> tuple[str, str] | None:
        """How the arguments of all chunks begin, and how they ought to, now that they were counted;
        None if they are right."""
        if self._count in (0, self._declared):
            return None
        if self._task.encrypts:
            raise InvalidOption("items", f"say they are {self._declared} chunks, and are otherwise")
        return self._start(self._declared), self._start(self._count)

    def _start(self, total: int | None) -> str:
        return self._task.encode({"total_chunks": total}, "args")[:-1]
