"""``ctx.log``: a logger whose lines carry the job's fields, and are kept with the attempt."""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from pgqueue.coding.codec import sanitise
from pgqueue.notes import LINE_LIMIT, Line

_TAKEN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
"""Names that a log record has itself: logging refuses fields of these names."""


class JobLog(logging.LoggerAdapter[logging.Logger]):
    """Logs as any logger does, or called: ``ctx.log("sent", to=3)``, ``ctx.log.warning("slow")``.

    Each line of INFO or above is also handed to *keep*, whatever the level of the logger.
    """

    def __init__(
        self, logger: logging.Logger, fields: Mapping[str, Any], keep: Callable[[Line], None]
    ) -> None:
        super().__init__(logger, fields)
        self._keep = keep

    def __call__(self, message: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
        """Log *message* with *fields*; in the worker's own log a field whose name is taken gets
        an underscore."""
        if level >= logging.INFO:
            self._keep(_line(level, str(message), fields))
        taken = _TAKEN | (self.extra or {}).keys()
        extra = {f"{name}_" if name in taken else name: fields[name] for name in fields}
        super().log(level, message, extra=extra, stacklevel=2)

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log a line. What ``extra`` says is kept as its fields, an error as its last line."""
        if level >= logging.INFO:
            fields = dict(kwargs.get("extra") or {})
            if error := _error(kwargs.get("exc_info")):
                fields["error"] = error
            self._keep(_line(level, _text(msg, args), fields))
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, msg, *args, **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _line(level: int, message: str, fields: Mapping[str, Any]) -> Line:
    """Return the line as it is kept: fit to be stored, and no longer than a line may be."""
    said = _json(fields) if fields else None
    if said is not None and len(said) > LINE_LIMIT // 2:
        said = json.dumps({"cut": sanitise(said, LINE_LIMIT // 4)})
    room = LINE_LIMIT - len(said or "")
    return Line(logging.getLevelName(level), sanitise(message, room), said)


def _json(fields: Mapping[str, Any]) -> str:
    try:
        return json.dumps(fields, default=str, allow_nan=False)
    except Exception:  # noqa: BLE001  a field can hold anything, and its str() can do anything
        return json.dumps({name: sanitise(_repr(value), 1000) for name, value in fields.items()})


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  see above
        return f"<{type(value).__qualname__}>"


def _text(msg: object, args: tuple[Any, ...]) -> str:
    try:
        return logging.LogRecord("", 0, "", 0, msg, args, None).getMessage()
    except Exception:  # noqa: BLE001  logging itself says what is wrong with the arguments
        return _repr(msg)


def _error(exc_info: Any) -> str | None:
    """The error that a line tells of, without its traceback."""
    if isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = exc_info if isinstance(exc_info, BaseException) else None
        if exc_info and error is None:
            error = sys.exc_info()[1]
    return None if error is None else traceback.format_exception_only(error)[-1].strip()
