"""A group of processes (cgroup, version 1 or 2) that may have no more memory than they have: the
kernel kills one of them as soon as it asks for some."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Self

_ROOTS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
ENOUGH = 1 << 20
"""Bytes that the group may have. What its members had before is not counted."""


class Hunger:
    """A group, made while it is entered."""

    def __init__(self, group: Path, root: Path) -> None:
        self._group = group
        self._root = root

    @classmethod
    def make(cls) -> Self | None:
        """A group with next to no memory; None where none can be made: only root may."""
        for root, limit in _ROOTS:
            group = None
            try:
                group = Path(tempfile.mkdtemp(prefix="pgqueue-", dir=root))
                (group / limit).write_text(str(ENOUGH))
                return cls(group, root)
            except OSError:
                if group is not None:
                    group.rmdir()
        return None

    @classmethod
    def is_possible(cls) -> bool:
        group = cls.make()
        if group is None:
            return False
        with group:
            return True

    def take_in(self, pids: Iterable[int]) -> None:
        self._move(self._group, pids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever is left goes back to the others."""
        with contextlib.suppress(OSError):
            self._move(self._root, map(int, (self._group / "cgroup.procs").read_text().split()))
            os.rmdir(self._group)

    def _move(self, group: Path, pids: Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                (group / "cgroup.procs").write_text(str(pid))
