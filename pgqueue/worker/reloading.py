"""Notices changed source files, for ``--reload`` while developing."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

_EVERY = 0.5
_SKIPPED = {"node_modules", "__pycache__", "site-packages"}


async def changes(root: Path | None = None) -> AsyncIterator[Path]:
    """Yield a source file below *root* (the current directory) each time one was changed."""
    before = dict(_times(root or Path.cwd()))
    while True:
        await asyncio.sleep(_EVERY)
        now = dict(_times(root or Path.cwd()))
        changed = [path for path, time in now.items() if before.get(path) != time]
        before = now
        if changed:
            yield changed[0]


def _times(root: Path) -> Iterator[tuple[Path, int]]:
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _SKIPPED]
        for name in files:
            if name.endswith(".py"):
                path = Path(folder, name)
                try:
                    yield path, path.stat().st_mtime_ns
                except OSError:
                    continue  # removed meanwhile
