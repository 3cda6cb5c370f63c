"""A small file system of its own, in memory, that can be filled to the last byte."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

SIZE = 1 << 30


class Volume:
    """Mounted while it is entered; only root may, and not in every container."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    @classmethod
    def mount(cls, size: int = SIZE) -> Self | None:
        """One of *size* bytes; None where nothing can be mounted."""
        path = Path(tempfile.mkdtemp(prefix="pgqueue-volume-"))
        answer = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(path)],
            capture_output=True, check=False,
        ) if shutil.which("mount") else None  # fmt: skip
        if answer is None or answer.returncode != 0:
            path.rmdir()
            return None
        return cls(path)

    def fill(self) -> None:
        """Leave no room for anything."""
        with self._ballast.open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:  # what was freed meanwhile is taken as well
                ballast.write(bytes(1 << 20))
        with self._ballast.open("ab", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(os.sysconf("SC_PAGE_SIZE")))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            self.path.rmdir()
