"""Logging of a worker process: lines for people, or one JSON object a line for machines."""

import logging
import re

from pgqueue.context import JobFields
from pgqueue.secrecy.redaction import redact
from pgqueue.worker.jsonlines import JsonFormatter

__all__ = ["JsonFormatter", "TextFormatter", "configure", "configured"]

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")

_format = "text"


class TextFormatter(logging.Formatter):
    """``12:00:01 INFO pgqueue.worker message [send-welcome 17.1 email]``, and no credentials."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:
        # An error's text is anybody's: it must not look like a line of its own.
        line = _CONTROL.sub(lambda found: repr(found[0])[1:-1], super().formatMessage(record))
        fields = record.__dict__
        if fields.get("task") and "job_id" in fields:
            line += f" [{fields['task']} {fields['job_id']}.{fields['attempt']} {fields['queue']}]"
        return line


def configure(format: str = "text", level: int = logging.INFO) -> None:
    """Log to stderr. *format*: ``text`` or ``json``, which takes in Python's warnings, too. Every
    line inside a handler names its job."""
    global _format
    _format = format
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.addFilter(JobFields())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(format == "json")


def configured() -> tuple[str, int]:
    """Return the format and level that ``configure`` was given, for processes of ours."""
    return _format, logging.getLogger().level
