"""What keeps the schema in order: tasks, workers, keys, the partitions of history."""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pgqueue.options import NewJob, Seconds, keeps, milliseconds
from pgqueue.storage.enqueueing import timeout_ms
from pgqueue.storage.operation import Operation, query

Targets = Mapping[str, float | None]
"""Task -> the seconds that it is to take."""

_NONE: Targets = MappingProxyType({})


def sync_tasks(declared: Iterable[NewJob], targets: Targets = _NONE) -> Operation[int]:
    """Write down each task's defaults (a job without arguments) and the seconds it is to take by
    its *targets*; return how many tasks there are."""
    rows = yield from query("sync_tasks", **_columns(declared, targets))
    return len(rows)


def sync_changed_tasks(declared: Iterable[NewJob], targets: Targets = _NONE) -> Operation[int]:
    """:func:`sync_tasks` of those that are not written down like that; the others' rows are not
    locked."""
    by_name = {task.task: task for task in declared}
    rows = yield from query("find_changed_tasks", **_columns(by_name.values(), targets))
    if not rows:
        return 0
    return (yield from sync_tasks([by_name[row[0]] for row in rows], targets))


def _columns(declared: Iterable[NewJob], targets: Targets) -> dict[str, list[Any]]:
    tasks = sorted(declared, key=lambda task: task.task)
    kept = [keeps(task) for task in tasks]
    return {
        "names": [task.task for task in tasks],
        "queues": [task.queue for task in tasks],
        "priorities": [task.priority for task in tasks],
        "max_attempts": [task.max_attempts for task in tasks],
        "max_crashes": [task.max_crashes for task in tasks],
        "timeouts_ms": [timeout_ms(task.timeout) for task in tasks],
        "keeps_ms": [_keep_ms(keep.succeeded) for keep in kept],
        "keeps_cancelled_ms": [_keep_ms(keep.cancelled) for keep in kept],
        "keeps_dead_ms": [_keep_ms(keep.dead) for keep in kept],
        "on_dead_tasks": [task.on_dead_task for task in tasks],
        "targets_ms": [_target_ms(targets.get(task.task)) for task in tasks],
    }


def _keep_ms(keep: Seconds | None) -> int | None:
    return None if keep is None else milliseconds(keep, "keep")


def _target_ms(target: float | None) -> int | None:
    return None if target is None else milliseconds(target, "target_runtime")


def record_worker(
    *,
    worker_id: str,
    pid: int,
    host: str,
    version: str,
    queues: Mapping[str, int],
    tasks: Sequence[str],
    listening: bool = True,
) -> Operation[None]:
    """Say that the worker is alive, and whether it hears when a job becomes available."""
    yield from query(
        "record_worker",
        worker_id=worker_id,
        pid=pid,
        host=host,
        version=version,
        queues=json.dumps(dict(queues)),
        tasks=list(tasks),
        listening=listening,
    )


def remove_worker(*, worker_id: str) -> Operation[None]:
    """Say that the worker has stopped."""
    yield from query("remove_worker", worker_id=worker_id)


def prune(*, limit: int) -> Operation[int]:
    """Forget workers long silent, keys whose lifetime is over, what was done outside long ago, dead
    jobs that were not to wait for ever, batches long over, old ticks and rollups, up to *limit* of
    each; return how many."""
    workers = yield from query("prune_workers")
    keys = yield from query("prune_keys", limit=limit)
    effects = yield from query("prune_effects", limit=limit)
    dead = yield from query("discard_dead", limit=limit)
    batches = yield from query("prune_batches", limit=limit)
    ticks = yield from query("prune_ticks", limit=limit)
    rollups = yield from query("prune_rollups", limit=limit)
    pruned = (workers, keys, effects, dead, batches, ticks, rollups)
    return sum(int(rows[0][0]) for rows in pruned)


def make_partitions() -> Operation[int]:
    """Make the partitions that the coming days need; return how many were made."""
    rows = yield from query("make_partitions")
    return int(rows[0][0])


def forget_partitions() -> Operation[int]:
    """Empty and drop the partitions whose day has come; return how many are gone."""
    rows = yield from query("forget_partitions")
    return int(rows[0][0])


def hold_bells(queues: Sequence[str]) -> Operation[bool]:
    """Hold the bells of *queues* for this session; return whether all were got."""
    rows = yield from query("hold_bells", queues=list(queues))
    return bool(rows[0][0])


def release_bells() -> Operation[None]:
    """Let go of this session's bells."""
    yield from query("release_bells")
