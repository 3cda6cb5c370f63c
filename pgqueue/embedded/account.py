"""The account that PostgreSQL's programs run as, and the way they are started.

PostgreSQL refuses to run as root, and in a container everybody is root. So root hands the programs
to an unprivileged account; everybody else runs them as themselves.
"""

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pgqueue.embedded.errors import EmbeddedPostgresError

# Runs in an interpreter of its own, between fork and exec: the pid stays the program's, and nothing
# happens in the forked copy of a program that may have threads.
_SHIM = """\
import os, sys
owner, uid, gid, program, *arguments = sys.argv[1:]
if owner != "-":  # loaded as long as we may: the interpreter itself may be closed to the account
    import ctypes, signal
    prctl = ctypes.CDLL(None).prctl
if os.getsid(0) != os.getpid():
    os.setsid()  # Ctrl-C in the owner's terminal is for the owner
os.chdir("/")  # the owner's directory may be closed to the account
os.umask(0o077)
if uid != "-":
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
if owner != "-":
    prctl(1, signal.SIGINT)  # PR_SET_PDEATHSIG; only now, a change of account undoes it
    if os.getppid() != int(owner):
        sys.exit("the process that wanted it is gone")
kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_", "LANG"))}
try:
    os.execve(program, [program, *arguments], kept | {"LC_ALL": "C"})
except OSError as error:
    sys.exit(f"{program}: {error.strerror}")
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server. Without *uid* and *gid*: whoever we are."""

    name: str
    uid: int | None = None
    gid: int | None = None

    def command(self, program: Path | str, *arguments: str, tied: bool = False) -> list[str]:
        """The command line that runs *program* as this account, in a session of its own.

        With *tied* (Linux only) the kernel interrupts the program when the thread that starts it
        ends, however it ends: no server outlives an owner that was killed.
        """
        owner = str(os.getpid()) if tied else "-"
        uid, gid = ("-", "-") if self.uid is None else (str(self.uid), str(self.gid))
        return [sys.executable, "-I", "-S", "-c", _SHIM, owner, uid, gid, str(program), *arguments]

    def run(self, program: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a short program to its end and keep what it said."""
        return subprocess.run(
            self.command(program, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def reaches(self, directory: Path) -> bool:
        """Whether the account may pass through *directory*."""
        return self.run("/bin/sh", "-c", 'test -x "$0"', str(directory)).returncode == 0

    def give(self, directory: Path) -> None:
        """Make *directory* the account's own, closed to everybody else."""
        directory.chmod(0o700)
        if self.uid is not None and self.gid is not None:
            os.chown(directory, self.uid, self.gid)


def server_account() -> Account:
    """Ourselves; for root the account ``postgres``, or else ``nobody``."""
    uid = os.geteuid()
    if uid != 0:
        _require_name(uid)
        return Account(name=f"uid {uid}")
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and this machine has neither an account 'postgres' nor "
        "'nobody' to run it as; add one of them, or run as a normal user"
    )


def _require_name(uid: int) -> None:
    """Refuse a uid that nobody has, as in ``docker run --user 12345``: initdb does."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL wants the user that runs it to have a name, and uid {uid} is not in "
            f"/etc/passwd; add it there (pgqueue:x:{uid}:{uid}::/tmp:/bin/sh), or run as root or "
            "as a user that is"
        ) from None
