"""Log records as JSON, one object a line, whatever is in them."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from pgqueue.failure import text_of, type_of
from pgqueue.secrecy.redaction import redact_json, shown

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {
    "asctime",
    "exc_type",
    "message",
    "taskName",
}
_IDS = {"trace_id": re.compile("[0-9a-f]{32}"), "span_id": re.compile("[0-9a-f]{16}")}
# What JSON may hold as it is, and a terminal or a reader of lines would take for its own.
_UNSAFE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, without credentials: ``at``, ``level``, ``logger``, ``message``, and
    whatever was given as ``extra`` under its own name (with ``_`` behind it, if that is taken).

    ``exception`` is an object with ``type``, ``message`` and ``traceback``, ``stack`` what
    ``stack_info=True`` asked for. With the filter :class:`pgqueue.JobFields` on its handler, a line
    from inside a job names the job.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        if exception := self._exception(record):
            fields["exception"] = exception
        if record.stack_info:
            fields["stack"] = record.stack_info
        for name, value in record.__dict__.items():
            told_already = name == "exception" and record.exc_text is not None
            if name not in _OWN and value is not None and not told_already:
                fields[f"{name}_" if name in fields else name] = value
        # Sixteen digits of a span can look like the number of a card, and are none.
        ids = {
            name: fields.pop(name)
            for name, shape in _IDS.items()
            if isinstance(fields.get(name), str) and shape.fullmatch(fields[name])
        }
        told = {name: _plain(value) for name, value in fields.items()}
        line = redact_json(json.dumps(told, ensure_ascii=False))
        if ids:
            line = f"{line[:-1]}, {json.dumps(ids)[1:]}"
        return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)

    def _exception(self, record: logging.LogRecord) -> dict[str, str] | None:
        if record.exc_info and record.exc_info[1] is not None:
            return {
                "type": type_of(record.exc_info[1]),
                "message": text_of(record.exc_info[1]),
                "traceback": shown(self.formatException(record.exc_info)),
            }
        if record.exc_text:  # formatted where it was raised: in a process child, say
            kind = getattr(record, "exc_type", None)
            said = {"type": kind} if isinstance(kind, str) else {}
            return {**said, "traceback": shown(record.exc_text)}
        return None


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  such as arguments that do not fit
        return f"{_text(record.msg)} (its arguments do not fit it)"


def _plain(value: Any) -> Any:
    """Return *value* as JSON can tell it; what it cannot, as text."""
    if isinstance(value, str):
        return shown(value)
    try:
        return json.loads(json.dumps(value, default=_text, allow_nan=False))
    except Exception:  # noqa: BLE001  a field can hold anything
        return _text(value)


def _text(value: Any) -> str:
    try:
        return shown(str(value))
    except Exception:  # noqa: BLE001  and its str() can do anything
        return f"<{type(value).__qualname__}>"
