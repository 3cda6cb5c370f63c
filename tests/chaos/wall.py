"""A network namespace whose only way out is a line to us, which can lose every packet without
telling anybody: no connection is refused or reset, on neither side."""

import os
import shutil
import subprocess
from typing import Self

_NUMBERS = range(os.getpid() % 200, os.getpid() % 200 + 20)


class Wall:
    """The namespace is there while it is entered; only root can make one."""

    def __init__(self, number: int) -> None:
        self.name = f"pgqueue-{os.getpid()}-{number}"
        self.host = f"10.203.{number}.1"
        """Our end of the line: what listens here is reached from inside."""
        self._inside = f"10.203.{number}.2"
        self._is_up = True
        self._ours, self._theirs = f"pgqa{number}", f"pgqb{number}"

    @classmethod
    def build(cls) -> Self | None:
        """None where no namespace can be made."""
        for number in _NUMBERS if shutil.which("ip") else ():
            wall = cls(number)
            if wall._make():
                return wall
            wall._remove()
        return None

    @property
    def prefix(self) -> list[str]:
        """What a command begins with that is to run inside."""
        return ["ip", "netns", "exec", self.name]

    def rise(self) -> bool:
        """From now on nothing passes; return whether anything did before."""
        was_up = self._is_up
        self._is_up = not _ip("link", "set", self._ours, "down")
        return was_up

    def fall(self) -> None:
        self._is_up = _ip("link", "set", self._ours, "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _make(self) -> bool:
        inside = ("-n", self.name)
        return (
            _ip("netns", "add", self.name)
            and _ip("link", "add", self._ours, "type", "veth", "peer", "name", self._theirs)
            and _ip("link", "set", self._theirs, "netns", self.name)
            and _ip("addr", "add", f"{self.host}/24", "dev", self._ours)
            and _ip("link", "set", self._ours, "up")
            and _ip(*inside, "addr", "add", f"{self._inside}/24", "dev", self._theirs)
            and _ip(*inside, "link", "set", self._theirs, "up")
            and _ip(*inside, "link", "set", "lo", "up")
        )

    def _remove(self) -> None:
        _ip("link", "del", self._ours)
        _ip("netns", "del", self.name)


def _ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0
