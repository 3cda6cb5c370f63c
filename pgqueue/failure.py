"""Turn an exception into the :class:`~pgqueue.outcome.Failure` that is kept of it."""

import hashlib
import os
import re
import sys
import traceback
from types import TracebackType

from pgqueue.coding.codec import sanitise
from pgqueue.outcome import Failure
from pgqueue.secrecy.redaction import redact, redact_shapes

MESSAGE_LIMIT = 8 * 1024
TRACEBACK_LIMIT = 16 * 1024

_VARIABLE_PARTS = re.compile(
    r"'[^']*'|\"[^\"]*\"|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|0x[0-9a-fA-F]+|\d+"
)
_OURS = os.path.dirname(__file__) + os.sep
_LIBRARY_PATHS = ("site-packages", "dist-packages", sys.base_prefix + "/lib", "<frozen")


def describe(error: BaseException) -> Failure:
    """Describe *error*: bounded, storable, without locals, without what looks like a credential.
    Never raises, whatever the error does."""
    name = type_of(error)
    message = text_of(error)
    return Failure(
        type=sanitise(name, 200),
        message=message,
        traceback=sanitise(_traceback(error), TRACEBACK_LIMIT),
        fingerprint=fingerprint(name, message, _place(error)),
    )


def type_of(error: BaseException) -> str:
    """Return the name of the type of *error*, with its module unless everybody knows it."""
    kind = type(error).__qualname__
    module = type(error).__module__
    return kind if module in ("builtins", "__main__") else f"{module}.{kind}"


def text_of(error: BaseException) -> str:
    """Return what *error* says: bounded, storable, redacted. Never raises.

    Of what Postgres says only the first sentence: DETAIL and CONTEXT show the values of rows, and
    SQLAlchemy adds those of parameters.
    """
    try:
        return sanitise(redact(_bounded(_sentence(error))), MESSAGE_LIMIT)
    except BaseException as broken:  # noqa: BLE001  a broken __str__ must not lose the outcome
        return f"<its message could not be read: {type(broken).__name__}>"


def plain(kind: str, message: str) -> Failure:
    """Describe a failure that no exception stands for, such as a timeout."""
    return Failure(kind, sanitise(message, MESSAGE_LIMIT), None, fingerprint(kind, message, ""))


def fingerprint(kind: str, message: str, place: str) -> str:
    """Return what groups equal errors: type, place, and the message without quotes and numbers."""
    return sanitise(f"{kind} at {place}: {_VARIABLE_PARTS.sub('?', message)}", 300)


def code_of(fingerprint: str) -> str:
    """Return a short name for a fingerprint, which a person can type; ``find_matching()`` in SQL
    makes the same.

    >>> code_of("KeyError at mail.py:send: ?")
    '5dc181c0'
    """
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:8]


def without_message(failed: Failure) -> str:
    """Return the fingerprint of an error that is to be told by its type and place alone."""
    return failed.fingerprint.partition(": ")[0]


def is_conflict(error: BaseException | None) -> bool:
    """Whether *error*, or what caused it, is a serialization failure or a deadlock: simply try
    again."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if getattr(error, "sqlstate", None) in ("40001", "40P01"):
            return True
        origin = getattr(error, "orig", None)
        error = origin if isinstance(origin, BaseException) else error.__cause__
    return False


def _sentence(error: BaseException) -> str:
    origin = getattr(error, "orig", error)
    said = getattr(getattr(origin, "diag", None), "message_primary", None)
    if not isinstance(said, str):
        return str(error)
    return said if origin is error else f"({type(origin).__qualname__}) {said}"


def _traceback(error: BaseException) -> str:
    try:
        below = _below_ours(error.__traceback__)
        parts = traceback.format_exception(type(error), error, below, limit=-50)
        text = "".join(
            # A frame is a line of source: names in it say nothing about values.
            redact_shapes(part) if part.startswith("  File ") else redact(_bounded(part))
            for part in parts
        )
        return _with_sentences(text, error)
    except BaseException as broken:  # noqa: BLE001  as above
        return f"<its traceback could not be read: {type(broken).__name__}>"


def _with_sentences(text: str, error: BaseException | None) -> str:
    """Leave out what Postgres said beside its sentences, whatever it looks like."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen and len(seen) < 50:
        seen.add(id(error))
        sentence = _sentence(error)
        if (whole := str(error)) != sentence:
            text = text.replace(redact(_bounded(whole)), sentence).replace(whole, sentence)
        error = error.__cause__ or error.__context__
    return text


def _bounded(text: str) -> str:
    """Cut what is absurdly long, far from what is kept of it: the looks below take time."""
    return sanitise(text, 8 * MESSAGE_LIMIT)


def _below_ours(trace: TracebackType | None) -> TracebackType | None:
    """Skip the frames that lead from the worker to the handler: they are the same for every job."""
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return first or trace


def _place(error: BaseException) -> str:
    """The innermost frame that is the application's own, else the innermost one."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(part in f.filename for part in _LIBRARY_PATHS)]
    own = [f for f in own if not f.filename.startswith(_OURS)] or own
    innermost = (own or list(frames))[-1:]
    return "".join(f"{f.filename.rsplit('/', 1)[-1]}:{f.name}" for f in innermost)
