"""The directory a server lives in: held by one process, swept up if that process was killed."""

import fcntl
import os
import shutil
import socket
import tempfile
from pathlib import Path

from pgqueue.embedded.account import Account
from pgqueue.embedded.errors import EmbeddedPostgresError

PREFIX = "pgqueue-pg-"
OWNER = "owner"
# The kernel takes 104 bytes on macOS, 108 on Linux, for a whole path such as DIR/s/.s.PGSQL.5432.
LONGEST_SOCKET_DIRECTORY = 80


class Home:
    """A directory locked by this process: its server's data, log and socket are inside.

    The lock is the kernel's, so it is gone with its process, however that ends.
    """

    def __init__(self, path: Path, lock: int, *, temporary: bool) -> None:
        self.path = path
        self.temporary = temporary
        self._lock = lock

    @classmethod
    def throw_away(cls, account: Account, root: Path | None = None) -> "Home":
        """A new directory, private to us, gone when closed; those of killed owners are swept up.

        It is made in *root*, or else where temporary files go and *account*, the server's, can
        follow: root's own TMPDIR may be closed to everybody else.
        """
        roots = [root] if root else [Path(tempfile.gettempdir()), Path("/tmp")]
        for root in roots:
            _sweep(root)
        fitting = [root for root in roots if _fits(root / f"{PREFIX}12345678")]
        root = next((root for root in fitting if account.reaches(root)), fitting[-1])
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        # Locked before it gets the name that a sweep looks for.
        unnamed = path / f"{OWNER}.new"
        lock = os.open(unnamed, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(path / OWNER)
        path.chmod(0o711)  # the server's account passes through to what is its own inside
        return cls(path, lock, temporary=True)

    @classmethod
    def kept(cls, path: Path, account: Account) -> "Home":
        """The directory *path*, made if missing, and kept when closed."""
        path = path.expanduser().absolute()
        try:
            _make_reachable(path)
            lock = os.open(path / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"{path} cannot hold a server ({error.strerror}); choose another directory"
            ) from error
        if not account.reaches(path):
            os.close(lock)
            raise EmbeddedPostgresError(
                f"{path} is closed to the account {account.name!r} that PostgreSQL runs as; "
                f"choose a directory outside of closed homes, such as {default_directory()}"
            )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 20).decode(errors="replace") or "unknown"
            os.close(lock)
            raise EmbeddedPostgresError(
                f"the server in {path} is in use by process {owner}; stop that one first, or "
                "choose another directory"
            ) from None
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        return cls(path, lock, temporary=False)

    def fits_socket(self) -> bool:
        """Whether the path is short enough for a socket inside."""
        return _fits(self.path)

    def close(self) -> None:
        """Let go; a throw-away directory is removed."""
        if self.temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def default_directory() -> Path:
    """Where a server that shall be kept is kept, unless the user says otherwise.

    For root a place that the server's account can reach: root's home is closed to it.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/pgqueue/dev")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "pgqueue" / "dev"


def live_socket(data: Path) -> bool:
    """Whether a server is running on the data directory *data* (asked at its own socket)."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        port, directory = lines[3], lines[4]
    except (OSError, IndexError):
        return False
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(f"{directory}/.s.PGSQL.{port}")
        except OSError:
            return False
    return True


def _make_reachable(path: Path) -> None:
    """Make *path* and what is missing above it: others may pass, whatever the umask, not look."""
    for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
        missing.mkdir()
        missing.chmod(0o711)


def _fits(home: Path) -> bool:
    return len(os.fsencode(home / "socket")) <= LONGEST_SOCKET_DIRECTORY


def _sweep(root: Path) -> None:
    """Remove the throw-away directories under *root* whose owners were killed."""
    for path in root.glob(f"{PREFIX}*"):
        try:
            if path.stat().st_uid != os.geteuid():
                continue
            lock = os.open(path / OWNER, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            if not live_socket(path / "data"):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)
