"""What a running job says of itself: values on their way into the database, as outcomes are."""

from typing import NamedTuple

from pgqueue.job import Job

CHECKPOINT_LIMIT = 64 * 1024
"""Bytes of JSON that a checkpoint may have."""
DETAIL_LIMIT = 8 * 1024
"""Bytes of JSON that the details of a progress may have."""
LINE_LIMIT = 8 * 1024
"""Bytes that are kept of a log line, its fields included."""
MOST_LINES = 200
"""So many log lines of an attempt are kept, the first ones."""


class Report(NamedTuple):
    """How far an attempt has come. ``None``: not said, so it stays as it was."""

    done: float | None
    total: float | None
    detail: str | None
    """Anything else, as a JSON object."""

    def followed_by(self, later: "Report") -> "Report":
        """Return the two as one."""
        return Report(
            self.done if later.done is None else later.done,
            self.total if later.total is None else later.total,
            self.detail if later.detail is None else later.detail,
        )

    @property
    def is_milestone(self) -> bool:
        """Whether it is the beginning or the end: 0 % or 100 %."""
        return self.done is not None and (self.done == 0 or self.done == self.total)


class Checkpoint(NamedTuple):
    """What a later attempt is to be given, as JSON text."""

    value: str


class Line(NamedTuple):
    """A line that a handler logged."""

    level: str
    message: str
    fields: str | None
    """What was said beside the message, as a JSON object."""
    at: float | None = None
    """When, by the worker's own monotonic clock; stamped where it is taken down."""


Note = Report | Checkpoint | Line


class Said(NamedTuple):
    """What one attempt has said and the database does not have yet."""

    job: Job
    report: Report | None
    checkpoint: str | None
    first: int
    """The number that the first of the lines has in its attempt, from 1."""
    lines: tuple[Line, ...]

    @property
    def size(self) -> int:
        """About how many characters it has."""
        lines = sum(len(line.message) + len(line.fields or "") for line in self.lines)
        return lines + len(self.checkpoint or "") + len((self.report and self.report.detail) or "")
