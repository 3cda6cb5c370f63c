"""Log records cross from process children to their parent, so that there is one log."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from pgqueue.context import JobFields, settle_exception

_PLAIN = (str, int, float, bool, type(None))


class Forwarder(logging.Handler):
    """Hands every record to *send* as plain fields, those of the running job included."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send
        self.addFilter(JobFields())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._send(flatten(record))
        except Exception:  # noqa: BLE001  the contract of logging: what fails goes to stderr
            self.handleError(record)


def flatten(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of *record* as plain values: text is formatted, the rest as JSON has it."""
    settle_exception(record)
    # structlog hands a dict to its formatter, which is the parent's.
    msg = _plain(record.msg) if isinstance(record.msg, dict) else record.getMessage()
    final = {"msg": msg, "args": None}
    if record.exc_text:  # for who takes over what is extra, and not exc_text
        final["exception"] = record.exc_text
    return final | {
        name: _plain(value) for name, value in record.__dict__.items() if name not in final
    }


def emit(fields: Mapping[str, Any]) -> None:
    """Log a child's record here, if this process logs its level."""
    record = logging.makeLogRecord(fields)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def levels() -> dict[str, int]:
    """Return the level of every logger that was given one here."""
    named = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level
    }
    return named | {"root": logging.root.level}


def take_over(handler: logging.Handler, wanted: Mapping[str, int]) -> None:
    """Make *handler* the only one of this process, and the levels those *wanted* by the parent.

    Whatever the application's modules configure when imported, they configured in the parent too.
    """
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
            logger.disabled = False
    logging.root.handlers[:] = [handler]
    for name, level in wanted.items():
        logging.getLogger(name).setLevel(level)


def _plain(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    try:
        return json.loads(json.dumps(value, default=str))
    except Exception:  # noqa: BLE001  a field can hold anything
        return f"<{type(value).__qualname__}>"
