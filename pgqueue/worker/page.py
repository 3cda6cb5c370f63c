"""What one attempt has said of itself, until it is written."""

import math

from pgqueue.job import Job
from pgqueue.notes import MOST_LINES, Checkpoint, Line, Note, Report, Said
from pgqueue.worker.clock import boottime

EVERY = 1.0
"""Seconds between two writes about one job."""


class Page:
    """What one attempt has said: what is not written yet, and what must be known of the rest."""

    __slots__ = (
        "checkpoint",
        "dropped",
        "due_at",
        "job",
        "lines",
        "milestones",
        "number",
        "report",
        "said",
        "written_at",
    )

    def __init__(self, job: Job) -> None:
        self.job = job
        self.report: Report | None = None
        """What is to be written; a milestone is not overtaken by what was said after it."""
        self.checkpoint: Checkpoint | None = None
        self.lines: list[Line] = []
        self.number = 0
        """How many lines were kept, of all."""
        self.dropped = 0
        self.said: Report | None = None
        """All that was reported, written or not."""
        self.milestones: set[float | None] = set()
        """Where it was in a hurry already."""
        self.written_at = -math.inf
        self.due_at = math.inf

    def take(self, note: Note) -> None:
        """Take down *note*, and know when it is to be written."""
        hurry = False
        if isinstance(note, Report):
            said = note if self.said is None else self.said.followed_by(note)
            if said == self.said:
                return
            self.said = said
            if said.is_milestone and said.done not in self.milestones and len(self.milestones) < 2:
                self.milestones.add(said.done)
                self.report, hurry = said, True
            elif self.report is None or not self.report.is_milestone:
                self.report = said
        elif isinstance(note, Checkpoint):
            self.checkpoint = note
        elif self.number == MOST_LINES:
            self.dropped += 1
            return
        else:
            self.number += 1
            self.lines.append(note)
        self.due_at = -math.inf if hurry else min(self.due_at, self.written_at + EVERY)

    def show(self, *, ended: bool) -> Said:
        """Return what is not written yet; once the attempt has *ended*, with a last line."""
        lines = tuple(self.lines)
        if ended and self.dropped:
            last = f"{self.dropped} more lines were logged and not kept"
            lines += (Line("INFO", last, None, boottime()),)
        checkpoint = None if self.checkpoint is None else self.checkpoint.value
        first = self.number - len(self.lines) + 1
        report = self.said if ended and self.report is not None else self.report
        return Said(self.job, report, checkpoint, first, lines)

    def written(self, said: Said) -> bool:
        """The database has *said*; return whether there is nothing new since."""
        if said.report is not None and said.report in (self.report, self.said):
            self.report = None if said.report == self.said else self.said
        if self.checkpoint is not None and self.checkpoint.value is said.checkpoint:
            self.checkpoint = None
        del self.lines[: len(said.lines)]
        self.written_at = boottime()
        unwritten = bool(self.report or self.checkpoint or self.lines)
        self.due_at = self.written_at + EVERY if unwritten else math.inf
        return not unwritten and not self.dropped
