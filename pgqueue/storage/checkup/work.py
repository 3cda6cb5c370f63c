"""Judges of the jobs and the workers. Names in commands are quoted: anybody who may enqueue chose
them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from shlex import quote

from pgqueue.errors import UndecodablePayload
from pgqueue.storage.checkup.check import (
    Circumstances,
    Verdict,
    check,
    critical,
    info,
    length,
    ok,
    warning,
)
from pgqueue.storage.operation import Row, query

WORK = "work"

SAMPLE = 50_000
"""So many finished jobs are looked at, the newest."""
FEWEST = 20
"""A task with fewer jobs in the sample is not judged."""
WAITING = 1_000
"""So many waiting jobs are read, at most, to see whether their arguments fit."""
SEALED = 10_000
"""So many jobs are looked at for the key they are encrypted under."""


@check(WORK, fine="every lease is renewed, or taken back")
def overdue_leases(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Do lost jobs come back?"""
    count, seconds = rows[0]
    if count:
        many = f"{count}+" if count >= 1000 else str(count)
        yield critical(
            f"{many} jobs lost their worker {length(seconds)} ago, and nobody takes them back",
            "pgqueue worker MODULE:TASKS  # any worker takes lost jobs back",
            jobs=count,
            seconds=seconds,
        )


@check(WORK, fine="none vanished within a day")
def dead_workers(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Who ended without a word?"""
    for host, pid, seconds, holds in rows:
        text = f"worker {pid} on {host} vanished {length(seconds)} ago"
        yield info(
            f"{text}, holding {holds} jobs" if holds else text,
            f"journalctl --grep {pid}  # there: killed, out of memory?",
            subject=f"{host}/{pid}",
            seconds=seconds,
            holds=holds,
        )


@check(WORK, fine="some worker knows every waiting task")
def unserved_tasks(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Tasks that wait and that nobody serves."""
    known = here.tasks.names if here.tasks is not None else None
    for queue, task, waiting, seconds, reason in rows:
        text = f"{task} waits since {length(seconds)} in {queue}, {waiting} times: {reason}"
        fix = f"pgqueue worker MODULE:TASKS -q {quote(queue)}=10  # with the module that has it"
        if known is not None and task not in known:
            text, fix = (
                f"{text}, nor does --app",
                f"pgqueue jobs list --task {quote(task)}  # renamed? Keep the old name as an alias",
            )
        yield warning(text, fix, subject=task, queue=queue, waiting=waiting, seconds=seconds)


@check(WORK, fine="every queue with jobs is known")
def unknown_queues(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Queues that only jobs name."""
    for (queue,) in rows:
        yield warning(
            f"queue {queue} has jobs, and no worker, task or setting names it: a typo?",
            f"pgqueue jobs list -q {quote(queue)}  # right? pgqueue worker MODULE:TASKS -q ...",
            subject=queue,
        )


@check(
    WORK,
    fine="no task takes longer than its target_runtime",
    ask=lambda here: query("check_slow_tasks", limit=SAMPLE, fewest=FEWEST),
)
def slow_tasks(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Tasks that take longer than they are to."""
    for task, jobs, target, p95 in rows:
        yield warning(
            f"p95 of {task} is {p95:.3g} s over {jobs} jobs; its target is {target:g} s",
            "split it (enqueue_chunked), or say what it may take: target_runtime=",
            subject=task,
            jobs=jobs,
            p95=p95,
            target=target,
        )


@check(
    WORK,
    fine="",
    ask=lambda here: query("check_unfit_arguments", limit=WAITING),
    needs_tasks=True,
)
def unfit_arguments(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Waiting jobs whose arguments the application's functions no longer take."""
    assert here.tasks is not None
    unfit: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    tried = 0
    for job_id, name, args in rows:
        if name not in here.tasks.names:
            continue
        tried += 1
        try:
            here.tasks[name].decode(args, job_id=job_id, task=name)
        except UndecodablePayload as error:
            unfit[name] += 1
            first.setdefault(name, (job_id, str(error)))
    for name, count in unfit.most_common():
        job_id, problem = first[name]
        yield critical(
            f"{count} waiting jobs of {name} will die: {problem}",
            f"pgqueue jobs edit {job_id} --args '...'  # or let the function take the old ones too",
            subject=name,
            jobs=count,
            first_id=job_id,
        )
    if not unfit:
        yield ok(f"{tried} waiting jobs of these tasks were tried, and fit", jobs=tried)


@check(
    WORK,
    fine="the ring has every key that jobs are under",
    ask=lambda here: query("check_missing_keys", limit=SEALED),
    needs_tasks=True,
)
def missing_keys(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Keys in use that the application does not have."""
    assert here.tasks is not None
    ring = here.tasks.keys.names if here.tasks.keys is not None else []
    for name, count, job_id in rows:
        if name not in ring:
            yield critical(
                f"key {name} is not in the ring, and {count} of the latest jobs are under it",
                f"export PGQUEUE_KEYS=...,{quote(name)}:...  # then: pgqueue keys rotate",
                subject=name,
                jobs=count,
                last_id=job_id,
            )
