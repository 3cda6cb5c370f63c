"""Import the text of the largest files, a hundred lines a job, and follow the batch."""

import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from examples.library_census.following import LOOK_EVERY, STALLED_AFTER, Failed
from examples.library_census.models import open_session
from examples.library_census.screen import Progress, say
from examples.library_census.tasks import LINES, import_lines
from pgqueue import BatchStatus, batch_status, enqueue_chunked

ENOUGH = 20_000
"""So many lines are imported, or all there are."""


def lines_of(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the first lines of the largest of *paths*, the same ones each time."""
    left = ENOUGH
    for path in sorted(paths, key=lambda path: (-path.stat().st_size, path)):
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.replace("\0", "\N{SYMBOL FOR NULL}").splitlines()[:left]:
            yield line
            left -= 1
        if not left:
            return


def import_text(worker: subprocess.Popen[bytes], lines: Iterable[str]) -> BatchStatus:
    """Enqueue the import of *lines* as one batch, show its progress; return how it ended."""
    with open_session() as session, session.begin():
        batch = enqueue_chunked(session, import_lines, lines, chunk_size=LINES, name="text")
    say(f"\nImporting the text of the largest files, {LINES} lines a job: batch {batch.id}")
    progress = Progress(batch.total, "chunks")
    stalled_at = time.monotonic() + STALLED_AFTER
    while True:
        with open_session() as session:
            status = batch_status(session, batch.id)
        progress.show(status.done, f"{status.failed} failed" if status.failed else "")
        if status.is_complete:
            return status
        if worker.poll() is not None:
            raise Failed(f"the worker ended with exit code {worker.returncode}")
        if time.monotonic() > stalled_at:
            raise Failed(f"the import was not over within {STALLED_AFTER:.0f} s: {status}")
        time.sleep(LOOK_EVERY)
