"""One job, in full: for people, and as JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from pgqueue.cli.human import ago, duration, exactly, kept, local
from pgqueue.cli.output import (
    Column,
    embedded,
    plain,
    print_fact,
    print_heading,
    print_table,
    visible,
    visible_lines,
)
from pgqueue.job import State
from pgqueue.secrecy.redaction import redact_json, shown
from pgqueue.storage.inspection import (
    AttemptRecord,
    AuditRecord,
    JobDetails,
    LineRecord,
    ProgressRecord,
)

CONCEALED = "only pgqueue_worker and pgqueue_admin may see what jobs hold"

_JSON_FIELDS = ("args", "metadata", "result", "history")
_ATTEMPTS = (
    Column("ATTEMPT", right=True),
    Column("OUTCOME"),
    Column("ENDED"),
    Column("TOOK", right=True),
    Column("ERROR", elastic=True),
)
_LINES = (
    Column("ATTEMPT", right=True),
    Column("WHEN"),
    Column("LEVEL", colour=lambda cell: None if cell in ("INFO", "LEVEL") else "red"),
    Column("LINE", elastic=True),
)
_AUDIT = (
    Column("WHEN"),
    Column("WHO", elastic=True),
    Column("VERB"),
    Column("REASON", elastic=True),
)


def details_of(job: JobDetails) -> dict[str, Any]:
    """The job as JSON has it, with what is stored as JSON in it as such."""
    details: dict[str, Any] = plain(job)
    for name in _JSON_FIELDS:
        details[name] = embedded(details[name])
    for record in details["audit"]:
        record["detail"] = embedded(record["detail"])
    for record in details["lines"]:
        record["fields"] = embedded(record["fields"])
    if details["progress"] is not None:
        for name in ("detail", "checkpoint"):
            details["progress"][name] = embedded(details["progress"][name])
    return details


def print_details(job: JobDetails) -> None:
    """Print the job, what it holds, its attempts, its last traceback, what it logged, and its
    audit."""
    reason = f" ({job.reason})" if job.reason else ""
    print_heading(f"job {job.id}  {visible(job.task)}  {job.state}{reason}", apart=False)
    for name, text in _facts(job):
        print_fact(name, text)
    if job.attempts:
        print_heading("attempts that did not succeed")
        print_table(_ATTEMPTS, [_attempt_row(attempt, job.now) for attempt in job.attempts])
        _print_traceback(job.attempts)
    if job.lines:
        print_heading("what its handler logged")
        print_table(_LINES, [_line_row(line) for line in job.lines])
    if job.audit:
        print_heading("who did what")
        print_table(_AUDIT, [_audit_row(record, job.now) for record in job.audit])


def _facts(job: JobDetails) -> Iterator[tuple[str, str]]:
    """What there is to say, most asked first; what nobody set is left out."""

    def moment(value: datetime) -> str:
        return f"{local(value)} ({ago(value, job.now)})"

    yield "queue", job.queue
    yield "priority", str(job.priority)
    yield "run", _run(job)
    for name, value in (
        ("enqueued", job.created_at),
        ("due", job.run_at if job.run_at != job.created_at else None),
        ("started", job.started_at),
        ("died" if job.state == State.DEAD else "ended", job.finished_at),
        ("lease until", job.lease_until),
        ("cancel asked", job.cancel_requested_at),
        ("expires", job.expires_at),
    ):
        if value is not None:
            yield name, moment(value)
    if job.worker_id is not None:
        place = f"{job.worker_host} pid {job.worker_pid}" if job.worker_host else "gone"
        yield "worker", f"{place} ({job.worker_id})"
    if job.progress is not None:
        yield "progress", _progress(job.progress, job.now)
        if job.progress.checkpoint is not None:
            yield "checkpoint", job.progress.checkpoint
    if job.timeout is not None:
        yield "timeout", exactly(job.timeout)
    keep = kept(job.keep, job.keep_cancelled, job.keep_dead)
    if keep:
        yield "keep", keep
    for name, text in (
        ("batch", None if job.batch_id is None else str(job.batch_id)),
        ("key", job.key),
        ("actor", job.actor),
        ("on dead", job.on_dead_task),
        ("args", CONCEALED if job.is_concealed else job.args and redact_json(job.args)),
        ("metadata", job.metadata and redact_json(job.metadata)),
        ("result", job.result and redact_json(job.result)),
        ("error", ": ".join(part for part in (job.error_type, job.error) if part)),
        ("fingerprint", job.fingerprint),
    ):
        if text:
            yield name, text


def _run(job: JobDetails) -> str:
    if job.state in (State.DEAD, State.DISCARDED):
        text = f"failed {job.failures} of {job.max_attempts} times"
    else:
        text = f"{job.failures + 1} of {job.max_attempts}"
    return f"{text}, {job.crashes} crashes" if job.crashes else text


def _progress(said: ProgressRecord, now: datetime) -> str:
    parts = []
    if said.done is not None:
        parts.append(f"{said.done:,.15g}" + (f" of {said.total:,.15g}" if said.total else ""))
    if said.percent is not None:
        parts.append(f"{said.percent} %")
    if said.detail is not None:
        parts.append(redact_json(said.detail))
    return f"{', '.join(parts) or 'none said'} ({ago(said.updated_at, now)})"


def _attempt_row(attempt: AttemptRecord, now: datetime) -> list[str]:
    took = ""
    if attempt.started_at is not None and attempt.ended_at is not None:
        took = duration((attempt.ended_at - attempt.started_at).total_seconds())
    return [
        str(attempt.attempt),
        attempt.outcome,
        ago(attempt.ended_at, now) if attempt.ended_at else "",
        took,
        ": ".join(part for part in (attempt.error_type, attempt.error) if part),
    ]


def _line_row(line: LineRecord) -> list[str]:
    fields = f"  {redact_json(line.fields)}" if line.fields else ""
    return [str(line.attempt), local(line.at), line.level, shown(line.message) + fields]


def _audit_row(record: AuditRecord, now: datetime) -> list[str]:
    detail = embedded(record.detail)
    edited = isinstance(detail, dict) and detail.get("args_edited")
    verb = f"{record.verb}, other args" if edited else record.verb
    return [ago(record.at, now), record.actor, verb, record.reason or ""]


def _print_traceback(attempts: Sequence[AttemptRecord]) -> None:
    """Print the last one that there is: an attempt that was lost has none."""
    last = next((attempt for attempt in reversed(attempts) if attempt.traceback), None)
    if last is not None:
        print_heading(f"traceback of attempt {last.attempt}")
        for line in visible_lines(last.traceback or ""):
            click.echo(f"  {line}")
