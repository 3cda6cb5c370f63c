"""How the worker command logs: to stderr, as text for people or a JSON object a line."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from pgqueue.cli.output import visible
from pgqueue.context import JobFields

# What every record has; the rest was given as extra, and belongs to the line.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextFormatter(logging.Formatter):
    """``2026-11-24 10:00:00,000 INFO pgqueue.worker: started  job_id=7 task=send``."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        # A message may quote what a job holds: it must not forge a line, or steer a terminal.
        line = visible(super().formatMessage(record))
        extra = " ".join(f"{name}={visible(str(value))}" for name, value in _extra(record).items())
        return f"{line}  {extra}" if extra else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, the extra fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["error"] = record.exc_text
        return json.dumps(fields, default=str)


def configure(style: str, level: str) -> None:
    """Send every log line of this process to stderr, with the fields of the job it belongs to."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    handler.addFilter(JobFields())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _USUAL}
