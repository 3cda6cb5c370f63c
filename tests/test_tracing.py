"""Traces: who enqueued is linked to who ran, by the conventions, and no span tells a secret."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from opentelemetry import baggage, context
from opentelemetry.propagate import extract
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.semconv._incubating.attributes import messaging_attributes as conventions
from opentelemetry.semconv.attributes import error_attributes, exception_attributes
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from pgqueue import (
    Cancel,
    Context,
    Fail,
    InvalidOption,
    Job,
    KeyRing,
    NewJob,
    PgqueueError,
    Reason,
    Snooze,
    Tasks,
    enqueue,
    enqueue_batch,
    enqueue_chunked,
    enqueue_many,
    retry,
    tracer,
)
from pgqueue.outcome import (
    Cancelled,
    Committed,
    Crashed,
    Died,
    Failure,
    Lost,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
    Undecided,
)
from pgqueue.testing import drain
from pgqueue.tracing import instrument, uninstrument
from pgqueue.worker import Worker
from tests.connections import KINDS
from tests.crew import make as job_of
from tests.traced import (
    Traced,
    ids_of,
    is_child,
    linked,
    metadatas,
    trace_of,
    traced,
    traceparent_of,
)

pytestmark = pytest.mark.smoke

__all__ = ["traced"]

Connection = psycopg.Connection[Any]
THEIRS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MARK = "hunter2-in-clear"

tasks = Tasks()


@tasks.task("mail", queue="email")
async def mail(to: str = "nobody") -> None:
    pass


@tasks.task("flaky", queue="email", max_attempts=2)
async def flaky(ctx: Context, said: str = "not now") -> None:
    if ctx.run == 1:
        raise ConnectionError(said)


@tasks.task("ends")
async def ends(ctx: Context, how: str) -> None:
    if how == "snooze" and ctx.attempt == 1:
        raise Snooze(3600)
    if how == "cancel":
        raise Cancel("enough")
    if how == "fail":
        raise Fail("never again")


@tasks.task("mother")
async def mother(connections: int = 1) -> None:
    with psycopg.connect(DSN[0]) as connection:
        enqueue(connection, child.job())


@tasks.task("child")
def child() -> None:
    with TRACED[0].tracer.start_as_current_span("in a thread"):
        pass


DSN: list[str] = []
TRACED: list[Traced] = []


@pytest.fixture
def shared(dsn: str, traced: Traced) -> Iterator[str]:
    """A database of the test's own, which handlers can reach, too."""
    DSN[:], TRACED[:] = [dsn], [traced]
    yield dsn
    DSN.clear()
    TRACED.clear()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_enqueues_is_one_span_and_its_job_takes_it_along(
    kind: str, shared_dsn: str, traced: Traced
) -> None:
    with (
        traced.tracer.start_as_current_span("request") as request,
        KINDS[kind](shared_dsn) as application,
    ):
        job = application.enqueue(mail.job(to="ann"), metadata={"shop": 7}, key="k1", actor="ann")
        found = application.execute("SELECT metadata FROM pgqueue.jobs")
        application.rollback()

    call = traced.call
    assert (call.name, call.kind) == ("enqueue email", SpanKind.PRODUCER)
    assert call.status.status_code is StatusCode.UNSET
    assert is_child(call, request)  # type: ignore[arg-type]
    assert attributes(call) == {
        conventions.MESSAGING_SYSTEM: "pgqueue",
        conventions.MESSAGING_OPERATION_NAME: "enqueue",
        conventions.MESSAGING_OPERATION_TYPE: "send",
        conventions.MESSAGING_DESTINATION_NAME: "email",
        conventions.MESSAGING_MESSAGE_ID: str(job.id),
        "pgqueue.task": "mail",
    }
    assert found == [({"shop": 7, "traceparent": traceparent_of(call)},)]


@pytest.mark.parametrize("kind", ["psycopg Connection", "SQLAlchemy AsyncSession"])
def test_a_call_that_enqueues_many_is_one_span(kind: str, dsn: str, traced: Traced) -> None:
    with KINDS[kind](dsn) as application:
        application.enqueue_many([mail.job() for _ in range(3)])
        application.commit()
    with psycopg.connect(dsn) as connection:
        assert metadatas(connection) == [{"traceparent": traceparent_of(traced.call)}] * 3
    call = traced.call
    assert call.name == "enqueue email"
    assert attributes(call) == {
        conventions.MESSAGING_SYSTEM: "pgqueue",
        conventions.MESSAGING_OPERATION_NAME: "enqueue",
        conventions.MESSAGING_OPERATION_TYPE: "send",
        conventions.MESSAGING_DESTINATION_NAME: "email",
        conventions.MESSAGING_BATCH_MESSAGE_COUNT: 3,
        "pgqueue.task": "mail",
    }


def test_what_does_not_hold_for_all_jobs_of_a_call_is_not_said(
    connection: Connection, traced: Traced
) -> None:
    enqueue_many(connection, [mail.job(), ends.job("well")])
    enqueue_many(connection, [])
    assert traced.call.name == "enqueue"
    assert conventions.MESSAGING_DESTINATION_NAME not in attributes(traced.call)
    assert conventions.MESSAGING_MESSAGE_ID not in attributes(traced.call)


def test_an_attempt_is_a_span_of_its_own_trace_linked_to_the_call(
    connection: Connection, traced: Traced
) -> None:
    with traced.tracer.start_as_current_span("request"):
        job = enqueue(connection, mail.job(to="ann"))
    drain(connection, tasks)

    attempt = traced.attempt
    assert (attempt.name, attempt.kind) == ("process email", SpanKind.CONSUMER)
    assert attempt.parent is None
    assert trace_of(attempt) != trace_of(traced.call)
    assert linked(attempt) == [ids_of(traced.call)]
    assert attempt.status.status_code is StatusCode.UNSET
    assert attempt.events == ()
    assert attributes(attempt) == {
        conventions.MESSAGING_SYSTEM: "pgqueue",
        conventions.MESSAGING_OPERATION_NAME: "process",
        conventions.MESSAGING_OPERATION_TYPE: "process",
        conventions.MESSAGING_DESTINATION_NAME: "email",
        conventions.MESSAGING_MESSAGE_ID: str(job.id),
        "pgqueue.task": "mail",
        "pgqueue.attempt": 1,
        "pgqueue.run": 1,
        "pgqueue.max_attempts": 5,
        "pgqueue.outcome": "succeeded",
    }
    assert attempt.instrumentation_scope is not None
    assert attempt.instrumentation_scope.name == "pgqueue"


def test_the_attempt_can_be_a_part_of_the_trace_of_the_call(
    connection: Connection, traced: Traced
) -> None:
    traced.instrument(relation="parent")
    enqueue(connection, mail.job())
    drain(connection, tasks)
    assert is_child(traced.attempt, traced.call)
    assert traced.attempt.links == ()


def test_each_attempt_of_a_retried_and_redriven_job_is_linked_to_the_same_call(
    connection: Connection, traced: Traced
) -> None:
    again = enqueue(connection, flaky.job())
    dead = enqueue(connection, ends.job("fail"))
    drain(connection, tasks, until=timedelta(hours=1), raise_errors=False)
    assert retry(connection, dead.id)
    drain(connection, tasks, raise_errors=False)

    calls = {attributes(call)[conventions.MESSAGING_MESSAGE_ID]: call for call in traced.calls}
    seen: dict[str, list[Any]] = {}
    for attempt in traced.attempts:
        said = attributes(attempt)
        job_id = said[conventions.MESSAGING_MESSAGE_ID]
        assert linked(attempt) == [ids_of(calls[job_id])]
        seen.setdefault(job_id, []).append((said["pgqueue.attempt"], said["pgqueue.outcome"]))
    assert seen == {
        str(again.id): [(1, "retried"), (2, "succeeded")],
        str(dead.id): [(1, "dead"), (2, "dead")],
    }


@pytest.mark.parametrize(
    ("job", "outcome", "kind"),
    [
        (flaky.job(), "retried", "ConnectionError"),
        (ends.job("fail"), "dead", "pgqueue.signals.Fail"),
        (NewJob("mail", '{"too": "many"}'), "dead", "pgqueue.errors.UndecodablePayload"),
        (ends.job("snooze"), "snoozed", None),
        (ends.job("cancel"), "cancelled", None),
        (ends.job("well"), "succeeded", None),
    ],
)
def test_the_status_of_an_attempt_follows_its_outcome(
    connection: Connection, traced: Traced, job: NewJob, outcome: str, kind: str | None
) -> None:
    enqueue(connection, job)
    drain(connection, tasks, raise_errors=False)

    attempt = traced.attempt
    said = attributes(attempt)
    assert said["pgqueue.outcome"] == outcome
    assert said.get(error_attributes.ERROR_TYPE) == kind
    assert attempt.status.status_code is (StatusCode.ERROR if kind else StatusCode.UNSET)
    assert attempt.status.description is None
    events = [(event.name, dict(event.attributes or {})) for event in attempt.events]
    assert events == ([("exception", {exception_attributes.EXCEPTION_TYPE: kind})] if kind else [])
    assert ("pgqueue.reason" in said) == (outcome == "dead")


ERROR = Failure("ValueError", "no", None, "")
TIMES = (1.0, 2.0)


@pytest.mark.parametrize(
    ("make", "word", "kind"),
    [
        (lambda job: Succeeded(job, *TIMES, None), "succeeded", None),
        (lambda job: Committed(job, *TIMES), "succeeded", None),
        (lambda job: Retried(job, *TIMES, ERROR, 1.0), "retried", "ValueError"),
        (lambda job: Died(job, *TIMES, ERROR, Reason.TIMEOUT), "dead", "ValueError"),
        (lambda job: Crashed(job, *TIMES, "signal 9"), "crashed", "Crashed"),
        (lambda job: Lost(job, *TIMES), "lost", "LeaseLost"),
        (lambda job: Cancelled(job, *TIMES, "by ann"), "cancelled", None),
        (lambda job: Snoozed(job, *TIMES, 5.0), "snoozed", None),
        (lambda job: Released(job, *TIMES, "the worker stops"), "released", None),
        (
            lambda job: Undecided(job, *TIMES, Retried(job, *TIMES, ERROR, 1.0)),
            "undecided",
            None,
        ),
    ],
)
def test_every_outcome_has_a_word_and_only_failures_are_errors(
    traced: Traced, make: Callable[[Job], Outcome], word: str, kind: str | None
) -> None:
    outcome = make(job_of("pid"))

    async def running() -> Outcome:
        return outcome

    assert tracer.active is not None
    assert asyncio.run(tracer.active.attempt(outcome.job, running())) is outcome
    said = attributes(traced.attempt)
    assert (said["pgqueue.outcome"], said.get("error.type")) == (word, kind)
    assert traced.attempt.status.is_ok == (kind is None)


def test_what_a_schedule_enqueues_begins_a_trace(connection: Connection, traced: Traced) -> None:
    cron = Tasks()

    @cron.cron(every=60)
    @cron.task("tick")
    async def tick() -> None:
        pass

    drain(connection, cron, until=timedelta(seconds=90))
    assert traced.attempts
    assert not traced.calls
    for attempt in traced.attempts:
        assert (attempt.parent, attempt.links) == (None, ())
        assert attempt.name == "process default"


def test_what_a_handler_enqueues_belongs_to_its_attempt(shared: str, traced: Traced) -> None:
    with psycopg.connect(shared) as connection:
        enqueue(connection, mother.job())

    async def work() -> None:
        async with asyncio.timeout(60), Worker(tasks, shared) as worker:
            while len(traced.attempts) < 2:
                await asyncio.sleep(0.02)
            ids.append(worker.id)

    ids: list[str] = []
    asyncio.run(work())
    first, second = traced.attempts
    outer, inner = traced.calls
    assert linked(first) == [ids_of(outer)]
    assert is_child(inner, first)
    assert linked(second) == [ids_of(inner)]
    assert is_child(traced.named("in a thread"), second)
    assert attributes(first)[conventions.MESSAGING_CLIENT_ID] == ids[0]


def test_a_batch_is_one_call_and_its_callbacks_are_linked_to_it(
    connection: Connection, traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.storage.batches.SLICE", 2)
    jobs = (mail.job() for _ in range(5))
    batch = enqueue_batch(connection, jobs, on_success=ends.job("well"))
    drain(connection, tasks)

    assert traced.call.name == "enqueue email"
    assert attributes(traced.call)[conventions.MESSAGING_BATCH_MESSAGE_COUNT] == 5
    assert attributes(traced.call)["pgqueue.batch.id"] == batch.id
    assert [linked(attempt) for attempt in traced.attempts] == [[ids_of(traced.call)]] * 6
    assert [attempt.name for attempt in traced.attempts][-1] == "process default"
    assert {attributes(attempt).get("pgqueue.batch.id") for attempt in traced.attempts[:5]} == {
        batch.id
    }


def test_chunks_are_one_call(connection: Connection, traced: Traced) -> None:
    chunked = Tasks()

    @chunked.task("load", queue="bulk")
    def load(items: list[int], chunk_index: int, total_chunks: int) -> None:
        pass

    enqueue_chunked(connection, load, iter(range(5)), 2)
    drain(connection, chunked)
    assert traced.call.name == "enqueue bulk"
    assert [linked(attempt) for attempt in traced.attempts] == [[ids_of(traced.call)]] * 3


def test_the_reaction_to_a_death_is_linked_to_the_call_of_the_dead_one(
    connection: Connection, traced: Traced
) -> None:
    mourning = Tasks()

    @mourning.task("dies", on_dead_task="mourns", max_attempts=1)
    async def dies() -> None:
        raise ValueError

    @mourning.task("mourns")
    async def mourns(**_: Any) -> None:
        pass

    enqueue(connection, dies.job(), metadata={"mine": 1})
    drain(connection, mourning, raise_errors=False)
    assert [linked(attempt) for attempt in traced.attempts] == [[ids_of(traced.call)]] * 2
    assert metadatas(connection)[1] == {"traceparent": traceparent_of(traced.call)}


def test_a_trace_that_sql_stored_is_what_the_attempt_is_linked_to(
    connection: Connection, traced: Traced
) -> None:
    connection.execute(
        "SELECT pgqueue.enqueue('mail', '{}',"
        " metadata => json_build_object('traceparent', %s::text))",
        [THEIRS],
    )
    drain(connection, tasks)
    (link,) = traced.attempt.links
    assert get_current_span(extract({"traceparent": THEIRS})).get_span_context() == link.context


def test_a_trace_that_the_caller_names_is_kept_and_the_call_is_linked_to_it(
    connection: Connection, traced: Traced
) -> None:
    enqueue(connection, mail.job(), metadata={"traceparent": THEIRS})
    enqueue(connection, mail.job(), metadata={"traceparent": "of no meaning"})
    first, second = traced.calls
    assert metadatas(connection) == [
        {"traceparent": THEIRS},
        {"traceparent": traceparent_of(second)},
    ]
    (link,) = first.links
    assert get_current_span(extract({"traceparent": THEIRS})).get_span_context() == link.context


@pytest.mark.parametrize(
    "metadata",
    [
        '{"traceparent": "00-zz-zz-01"}',
        '{"traceparent": 7, "tracestate": ["a=b"]}',
        '{"traceparent": {"$encrypted": 1}}',
        '{"traceparent": "00-00000000000000000000000000000000-0000000000000000-00"}',
    ],
)
def test_a_trace_that_makes_no_sense_costs_no_job(
    connection: Connection, traced: Traced, metadata: str
) -> None:
    connection.execute("SELECT pgqueue.enqueue('mail', '{}', metadata => %s::json)", [metadata])
    assert [each.outcome for each in drain(connection, tasks).attempts] == ["succeeded"]
    assert (traced.attempt.parent, traced.attempt.links) == (None, ())


def test_a_foreign_tracestate_is_kept_unless_it_looks_like_a_credential(
    connection: Connection, traced: Traced
) -> None:
    for state in ("vendor=t61rcWkgMzE", "vendor=ghp_0123456789abcdefghijklmnop"):
        token = context.attach(extract({"traceparent": THEIRS, "tracestate": state}))
        enqueue(connection, mail.job())
        context.detach(token)
    first, second = metadatas(connection)
    assert first is not None
    assert first["tracestate"] == "vendor=t61rcWkgMzE"
    assert second == {"traceparent": traceparent_of(traced.calls[1])}


def test_baggage_goes_along_only_if_it_is_asked_for(connection: Connection, traced: Traced) -> None:
    seen: list[object] = []
    bearers = Tasks()

    @bearers.task("carries")
    async def carries() -> None:
        seen.append(baggage.get_baggage("tenant"))

    for wanted in (False, True):
        traced.instrument(baggage=wanted)
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        enqueue(connection, carries.job())
        context.detach(token)
        drain(connection, bearers)
    assert seen == [None, "acme"]
    assert ["baggage" in (said or {}) for said in metadatas(connection)] == [False, True]
    assert linked(traced.attempts[1]) == [ids_of(traced.calls[1])]


@pytest.mark.parametrize("messages", [False, True])
def test_no_span_tells_an_argument_a_key_an_actor_or_a_secret(
    connection: Connection, traced: Traced, messages: bool
) -> None:
    traced.instrument(messages=messages)
    secretive = Tasks(keys=KeyRing({"k": b"0" * 32}))

    @secretive.task("says", max_attempts=1)
    async def says(word: str) -> None:
        raise ValueError(f"cannot do; password={MARK}")

    @secretive.task("hides", max_attempts=1, encrypt=True)
    async def hides(word: str) -> None:
        raise ValueError(f"cannot do {word}")

    for task in (says, hides):
        job = enqueue(connection, task.job(MARK), key=f"{MARK}-{task.name}", actor=MARK)
        assert not job.duplicate
    drain(connection, secretive, raise_errors=False)

    assert len(traced.attempts) == 2
    assert MARK not in traced.told()
    said = [dict(attempt.events[0].attributes or {}) for attempt in traced.attempts]
    assert [each.get("exception.message") for each in said] == (
        ["cannot do; password=[redacted]", "[encrypted]"] if messages else [None, None]
    )


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (NewJob("mail", '{"broken'), "psycopg.errors.InvalidTextRepresentation"),
        (NewJob("mail", "[]"), "pgqueue.errors.InvalidOption"),
        (NewJob("mail", metadata=MARK), "pgqueue.errors.InvalidOption"),  # type: ignore[arg-type]
        (NewJob("mail", f'{{"password": "{MARK}"}}'), "pgqueue.errors.CredentialInPayload"),
    ],
)
def test_a_call_that_fails_ends_its_span_there_and_says_no_more_than_the_type(
    connection: Connection, traced: Traced, job: NewJob, kind: str
) -> None:
    with pytest.raises((psycopg.Error, PgqueueError)):
        enqueue(connection, job)
    call = traced.call
    assert attributes(call)[error_attributes.ERROR_TYPE] == kind
    assert call.status.status_code is StatusCode.ERROR
    assert call.events == ()
    assert MARK not in traced.told()


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_database_ends_the_span_while_the_error_is_still_in_hand(
    kind: str, shared_dsn: str, traced: Traced
) -> None:
    with KINDS[kind](shared_dsn) as application:
        with pytest.raises(Exception, match="invalid input syntax"):
            application.enqueue(NewJob("mail", '{"broken'))
        assert traced.call.status.status_code is StatusCode.ERROR
        application.rollback()


def test_a_duplicate_from_another_trace_is_no_conflict(
    connection: Connection, traced: Traced
) -> None:
    first = enqueue(connection, mail.job(), key="same")
    second = enqueue(connection, mail.job(), key="same", on_conflict="raise")
    assert (second.id, second.duplicate, second.conflict) == (first.id, True, False)
    assert attributes(traced.calls[1])["pgqueue.duplicate"] is True
    assert metadatas(connection) == [{"traceparent": traceparent_of(traced.calls[0])}]


def test_a_span_processor_that_fails_costs_no_job(
    connection: Connection, traced: Traced, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(connection, mail.job())

    class Broken(SpanProcessor):
        def on_start(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no")

    traced.provider.add_span_processor(Broken())
    assert [each.outcome for each in drain(connection, tasks).attempts] == ["succeeded"]
    assert "no span for mail[" in caplog.text


def test_without_instrument_nothing_is_stored_and_nothing_is_traced(
    connection: Connection, traced: Traced
) -> None:
    uninstrument()
    with traced.tracer.start_as_current_span("request"):
        enqueue(connection, mail.job())
        enqueue_many(connection, [mail.job(), mail.job()])
        enqueue_batch(connection, [mail.job()])
    drain(connection, tasks)
    assert metadatas(connection) == [None] * 4
    assert [span.name for span in traced.spans] == ["request"]


def test_a_relation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidOption, match="'link' or 'parent'"):
        instrument(relation="child")  # type: ignore[arg-type]


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_whoever_traces_nothing_does_not_even_import_opentelemetry() -> None:
    code = "import sys, pgqueue, pgqueue.worker; sys.exit('opentelemetry' in sys.modules)"
    assert run_python(code).returncode == 0


def test_without_opentelemetry_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import pgqueue.tracing"
    assert "pip install 'pgqueue[otel]'" in run_python(code).stderr
