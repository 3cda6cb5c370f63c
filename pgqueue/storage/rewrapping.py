"""Change keys: what waits, runs or is dead gets its data keys wrapped by the current key, while
workers run. Nothing is decrypted but data keys."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NamedTuple

from pgqueue.errors import UndecodablePayload
from pgqueue.secrecy.sealing import Sealer, kid_of
from pgqueue.storage.operation import Operation, query

SLICE = 500
_CALLBACKS = ("on_success", "on_complete", "on_failure")


class Slice(NamedTuple):
    """What became of the next rows."""

    looked_at: int
    last: int | None
    """Go on after this id."""
    rewrapped: int
    busy: int
    """Rows that were being written just now: to be done next time."""
    unknown: tuple[str, ...]
    """What is wrong with those whose key the ring does not have."""


def rewrap_jobs(sealer: Sealer, *, after: int, limit: int = SLICE) -> Operation[Slice]:
    """Look at the next *limit* jobs after this one, and rewrap what is not under the current
    key."""
    rows = yield from query("find_sealed_jobs", after=after, limit=limit)
    size, last = rows[0][:2]
    jobs, said, unknown = [], [], []
    for job_id, task, args, error, detail, checkpoint in (row[2:] for row in rows):
        if job_id is None:
            continue

        def changed(place: str, text: str | None, id: int = job_id, task: str = task) -> Any:
            return text and (sealer.rewrap(text, task, id, place) or text)

        try:
            new = changed("args", args), changed("error", error)
            new_said = changed("progress", detail), changed("checkpoint", checkpoint)
        except UndecodablePayload as problem:
            unknown.append(f"job {job_id}: {problem}")
            continue
        if new != (args, error):
            jobs.append((job_id, args, new[0], error, new[1]))
        if new_said != (detail, checkpoint):
            said.append((job_id, detail, new_said[0], checkpoint, new_said[1]))
    written = 0
    if jobs:
        names = ("ids", "old_args", "args", "old_errors", "errors")
        written += len((yield from query("rewrap_jobs", **_columns(names, jobs))))
    if said:
        names = ("ids", "old_details", "details", "old_checkpoints", "checkpoints")
        written += len((yield from query("rewrap_progress", **_columns(names, said))))
    return Slice(size, last, written, len(jobs) + len(said) - written, tuple(unknown))


def rewrap_batches(sealer: Sealer, *, after: int, limit: int = SLICE) -> Operation[Slice]:
    """The same for the callbacks of batches, which are jobs to be."""
    rows = yield from query("find_sealed_batches", after=after, limit=limit)
    size, last = rows[0][:2]
    written = busy = 0
    unknown = []
    for batch_id, *callbacks in (row[2:] for row in rows):
        if batch_id is None:
            continue
        try:
            new = [_callback(sealer, text) for text in callbacks]
        except UndecodablePayload as problem:
            unknown.append(f"batch {batch_id}: {problem}")
            continue
        if new != callbacks:
            done = yield from query(
                "rewrap_batch", id=batch_id, **dict(zip(_CALLBACKS, new, strict=True))
            )
            written += len(done)
            busy += 1 - len(done)
    return Slice(size, last, written, busy, tuple(unknown))


class Usage(NamedTuple):
    """What is encrypted under one key."""

    kid: str
    live: int
    """Texts of jobs that wait, run or are dead, and of callbacks to come."""
    history: int
    """Texts of finished jobs."""
    until: date | None
    """The day from which the last of these is forgotten."""


def usage() -> Operation[list[Usage]]:
    """Return what is encrypted under which key, by the keys' names. Reads everything, in slices."""
    live: Counter[str] = Counter()
    for statement in ("find_sealed_jobs", "find_sealed_batches"):
        after: int | None = 0
        while after is not None:
            rows = yield from query(statement, after=after, limit=SLICE)
            live.update(kid for row in rows for kid in map(kid_of, row[3:]) if kid)
            after = rows[0][1] if rows[0][0] == SLICE else None
    history: Counter[str] = Counter()
    until: dict[str, date] = {}
    after = 0
    while after is not None:
        rows = yield from query("count_sealed_history", after=after, limit=10 * SLICE)
        for kid, texts, expires_on in (row[2:] for row in rows):
            if kid is not None:
                history[kid] += texts
                until[kid] = max(until.get(kid, expires_on), expires_on)
        after = rows[0][1] if rows[0][0] == 10 * SLICE else None
    return [
        Usage(kid, live[kid], history[kid], until.get(kid)) for kid in sorted({*live, *history})
    ]


def rewrap_all(sealer: Sealer, run: Callable[[Operation[Slice]], Slice]) -> Slice:
    """Go once through everything, a slice a transaction: *run* runs one operation."""
    total = Slice(0, None, 0, 0, ())
    for operation in (rewrap_jobs, rewrap_batches):
        after: int | None = 0
        while after is not None:
            done = run(operation(sealer, after=after))
            total = Slice(
                total.looked_at + done.looked_at,
                None,
                total.rewrapped + done.rewrapped,
                total.busy + done.busy,
                total.unknown + done.unknown,
            )
            after = done.last if done.looked_at == SLICE else None
    return total


def _callback(sealer: Sealer, text: str | None) -> str | None:
    if text is None:
        return None
    job = json.loads(text)
    args = sealer.rewrap(job["args"], job["task"], 0, "args")
    return text if args is None else json.dumps({**job, "args": args}, ensure_ascii=False)


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
