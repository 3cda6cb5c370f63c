"""Which jobs a verb is for: what a person says of many jobs at once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from pgqueue.errors import InvalidOption
from pgqueue.job import LIVE_STATES, Reason
from pgqueue.options import LONGEST, check_text

When = datetime | timedelta
"""A moment, with its offset from UTC; or a length of time, for the moment so long before the verb
begins, by the database's clock (less than nothing: after)."""

_LONGEST_NAMES = {
    "queue": 100,
    "task": 200,
    "actor": 500,
    "error_type": 500,
    "fingerprint": 500,
}
_MOMENTS = (
    "created_after",
    "created_before",
    "run_after",
    "run_before",
    "died_after",
    "died_before",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Jobs that are not over yet, or dead, and of which all that is said here is true.

    Something must be said: *everything* stands for all of them. The moments are from the one on
    (``after``), and up to but without the other (``before``); *created* is when a job was enqueued,
    *run* when it may start. *reason*, *error_type*, *fingerprint* and *died* are of the dead,
    and a fingerprint is given whole or by its code (``pgqueue dead groups``). *metadata*: what is
    among the job's own; a role that may not read it may not ask for it.

    Raises :class:`InvalidOption`.
    """

    ids: Sequence[int] | None = None
    queue: str | None = None
    task: str | None = None
    state: str | None = None
    actor: str | None = None
    priority: int | None = None
    batch_id: int | None = None
    metadata: Mapping[str, Any] | None = None
    reason: str | None = None
    error_type: str | None = None
    fingerprint: str | None = None
    created_after: When | None = None
    created_before: When | None = None
    run_after: When | None = None
    run_before: When | None = None
    died_after: When | None = None
    died_before: When | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        for name, longest in _LONGEST_NAMES.items():
            check_text(name, getattr(self, name), longest)
        for name, known in (("state", LIVE_STATES), ("reason", tuple(Reason))):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InvalidOption(name, f"must be one of {', '.join(known)}, not {value!r:.80}")
        for name in _MOMENTS:
            _check_when(name, getattr(self, name))
        for name in ("priority", "batch_id"):
            _check_ids(name, [getattr(self, name) or 0])
        _check_ids("ids", self.ids or ())
        if not self.everything and not self._said():
            raise InvalidOption(
                "JobFilter", "must say which jobs; all of them: JobFilter(everything=True)"
            )

    def stored(self, now: datetime) -> str:
        """The filter as SQL takes it, with lengths of time counted back from *now*."""
        said = self._said() or {"everything": True}
        return json.dumps({name: _plain(value, now) for name, value in said.items()})

    def _said(self) -> dict[str, Any]:
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in named.items()
            if value is not None and name != "everything"
        }


def _plain(value: Any, now: datetime) -> Any:
    if isinstance(value, timedelta):
        value = now - value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(value)
    return value


def _check_when(name: str, value: Any) -> None:
    if isinstance(value, timedelta):
        if abs(value.total_seconds()) > LONGEST:
            raise InvalidOption(name, f"must be within 100 years, not {value!r}")
    elif isinstance(value, datetime):
        if value.utcoffset() is None:
            raise InvalidOption(name, f"{value!r} has no time zone; add one, such as UTC")
    elif value is not None:
        raise InvalidOption(name, f"must be a datetime or a timedelta, not {value!r:.80}")


def _check_ids(name: str, values: Any) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InvalidOption(name, f"must be a list of whole numbers, not {values!r:.80}")
    for value in values:
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise InvalidOption(name, f"must be whole, of 64 bits, not {value!r:.80}")
