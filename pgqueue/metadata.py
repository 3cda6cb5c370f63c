"""What is remembered beside a job's arguments: plain JSON, stored as it stands."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pgqueue.coding.codec import LIMIT
from pgqueue.coding.encoder import DEPTH
from pgqueue.errors import InvalidOption

TRACEPARENT = "traceparent"
"""Where the W3C trace context of whoever enqueued the job stands in its metadata, with
``tracestate`` and ``baggage`` beside it."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def dump_metadata(metadata: Any) -> str:
    """Return *metadata*, a mapping of plain JSON values, as JSON text.

    Raises :class:`InvalidOption` for anything else, and for more than arguments may have: 200
    levels, 1 MiB.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidOption("metadata", f"must be a dict, not a {type(metadata).__qualname__}")
    try:
        _check_keys(metadata, DEPTH)
        text = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except (TypeError, ValueError) as error:
        raise InvalidOption("metadata", f"must be plain JSON values: {error}") from None
    except RecursionError:
        problem = "nested deeper than the caller's own stack leaves room for"
        raise InvalidOption("metadata", problem) from None
    if size > LIMIT:
        raise InvalidOption("metadata", f"{size} bytes of JSON are more than the {LIMIT} allowed")
    if _NUL.search(text):
        raise InvalidOption("metadata", "must not contain NUL: no query could look into it")
    return text


def trace_id_of(metadata: str | None) -> str | None:
    """Return the id of the trace that a job's metadata, as JSON text, belongs to: what it says as
    ``trace_id``, or else as ``traceparent``."""
    if metadata is None or '"trace' not in metadata:
        return None
    said = json.loads(metadata)
    if not isinstance(said, dict):
        return None
    given, parent = said.get("trace_id"), said.get(TRACEPARENT)
    if given is None and isinstance(parent, str) and (found := _TRACEPARENT.fullmatch(parent)):
        return found[1]
    return given if isinstance(given, str) else None


def _check_keys(value: Any, levels: int) -> None:
    """Raise unless every key is text: json.dumps would make text of some, and not say so."""
    if not levels:
        raise ValueError(f"nested deeper than {DEPTH} levels")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r:.80} is no text")
            _check_keys(item, levels - 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item, levels - 1)
