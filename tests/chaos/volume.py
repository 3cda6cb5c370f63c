"""A file system of its own, in memory, that can be made so small that it is full."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

SIZE = 8 << 30
"""Bytes that may be written. Only what is written takes memory."""


class Volume:
    """Mounted while it is entered; only root may, and not in every container."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def mount(cls) -> Self | None:
        """None where nothing can be mounted."""
        volume = cls(Path(tempfile.mkdtemp(prefix="pgqueue-volume-")))
        if not volume._mount(f"size={SIZE},mode=755", "tmpfs"):
            volume.path.rmdir()
            return None
        return volume

    def fill(self) -> None:
        """Leave no room for anything."""
        for _ in range(100):  # it cannot be made smaller than what is written meanwhile
            found = os.statvfs(self.path)
            if self._mount(f"remount,size={(found.f_blocks - found.f_bfree) * found.f_frsize}"):
                return
        raise AssertionError(f"{self.path} cannot be filled")

    def free(self) -> None:
        assert self._mount(f"remount,size={SIZE}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _mount(self, options: str, *what: str) -> bool:
        if shutil.which("mount") is None:
            return False
        kind = ("-t", "tmpfs") if what else ()
        words = ["mount", *kind, "-o", options, *what, str(self.path)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
