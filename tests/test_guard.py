"""No credentials in what a job is given; none in what is kept or shown of what it said."""

import asyncio
import json
import time
import warnings
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue import (
    Context,
    CredentialInPayload,
    CredentialWarning,
    InvalidOption,
    NewJob,
    PersonalData,
    Tasks,
    enqueue,
    enqueue_batch,
    enqueue_chunked,
    enqueue_many,
    failure,
)
from pgqueue.secrecy import guard
from pgqueue.secrecy.credentials import may_hold, named, shaped
from pgqueue.secrecy.guard import Guard
from pgqueue.secrecy.redaction import redact, redact_json, shown
from pgqueue.timetable.schedule import NewSchedule
from pgqueue.worker import Worker

Connection = psycopg.Connection[Any]

pytestmark = pytest.mark.filterwarnings("ignore::pgqueue.PersonalData")

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
NAMES = {
    "password",
    "passwd",
    "db_passwd",
    "userPassword",
    "dbpassword",
    "DB_PASSWORD",
    "pwd",
    "secret",
    "clientSecret",
    "token",
    "accesstoken",
    "OAuthToken",
    "refresh-token",
    "apiKey",
    "api_key",
    "api-key",
    "X-Api-Key",
    "APIKEY",
    "Authorization",
    "cookie",
    "Set-Cookie",
    "session",
    "session_id",
    "privateKey",
    "private_key",
    "credential",
    "credentials",
    "card",
    "card_number",
    "creditcard",
    "cvv",
    "CVC2",
}
INNOCENT_NAMES = {
    "user_id",
    "discard",
    "cards_left",
    "postcard",
    "secretary",
    "tokenizer",
    "secret_name",
    "token_id",
    "cookie_name",
    "obsession",
    "key",
    "keyboard",
    "pass",
    "passenger",
}
SHAPES = {
    "jwt": JWT,
    "pem": PEM,
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "github": "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "bearer": "Bearer abc.def-123456",
    "url": "postgresql://app:hunter2@db.example/shop",
    "redis": "redis://:hunter2@cache:6379/0",
    "visa": "4111111111111111",
    "visa with spaces": "4111 1111 1111 1111",
    "amex": "3782-822463-10005",
}
INNOCENT_VALUES = {
    "a bearer of news": "the bearer authentication scheme",
    "a zone": "Asia/Tokyo",
    "a certificate": "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
    "a URL with a port": "http://host:8080/path?mail=ada@example.org",
    "a URL with a user": "ssh://git@host/repository",
    "microseconds": "1764000000000000",
    "a number that fails the check": "4111111111111112",
    "a part of a longer number": "94111111111111111",
    "a UUID of digits": "41111111-1111-4111-8111-111111111111",
    "a fraction": "0.4111111111111111",
}


@pytest.fixture
def no_hints_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_seen", {})


@pytest.mark.parametrize("name", sorted(NAMES))
def test_acceptance_22_a_credential_is_refused_by_its_name(
    connection: Connection, name: str
) -> None:
    job = NewJob("t", json.dumps({"a": [{"deep": {name: "x"}}]}))
    with pytest.raises(CredentialInPayload) as raised:
        enqueue(connection, job)
    assert raised.value.path.startswith("args.a[0].deep")
    assert name in raised.value.path
    assert "'x'" not in str(raised.value)


@pytest.mark.parametrize("name", sorted(INNOCENT_NAMES))
def test_a_name_that_only_sounds_like_one_is_let_pass(connection: Connection, name: str) -> None:
    assert enqueue(connection, NewJob("t", json.dumps({name: "x"}))).inserted


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_acceptance_22_a_credential_is_refused_by_its_shape(
    connection: Connection, shape: str
) -> None:
    value = SHAPES[shape]
    with pytest.raises(CredentialInPayload) as raised:
        enqueue(connection, NewJob("t", json.dumps({"a": ["b", f"so: {value}"]})))
    assert raised.value.path == "args.a[1]"
    assert value not in str(raised.value)


@pytest.mark.parametrize("shape", sorted(INNOCENT_VALUES))
def test_a_value_that_only_resembles_one_is_let_pass(connection: Connection, shape: str) -> None:
    assert enqueue(connection, NewJob("t", json.dumps({"a": INNOCENT_VALUES[shape]}))).inserted


def test_a_number_is_a_credential_only_where_it_can_be_one(connection: Connection) -> None:
    tasks = Tasks()

    @tasks.task("t")
    def task(**anything: Any) -> None: ...

    enqueue(connection, task.job(max_tokens=4096, session=7, password=None, has_password=True))
    for refused in ({"cvv": 123}, {"card": 4}, {"n": 4111111111111111}):
        with pytest.raises(CredentialInPayload):
            enqueue(connection, task.job(**refused))


def test_a_credential_hides_neither_in_an_escape_nor_in_a_tag(connection: Connection) -> None:
    for args in (
        '{"\\u0070assword": "x"}',
        '{"a": {"$dict": {"password": "x"}}}',
        '{"a": {"$dataclass": ["Login", {"password": "x"}]}}',
        '{"token": {"$bytes": "YWJj"}}',
    ):
        with pytest.raises(CredentialInPayload):
            enqueue(connection, NewJob("t", args))
    enqueue(connection, NewJob("t", '{"card": {"$enum": ["Card", "VISA"]}}'))


def test_one_bad_job_among_a_thousand_is_found_and_none_is_inserted(
    connection: Connection,
) -> None:
    jobs = [NewJob("t", '{"n": 1}') for _ in range(1000)]
    jobs[700] = NewJob("t", '{"password": "x"}')
    before = connection.execute("SELECT count(*) FROM pgqueue.jobs").fetchone()
    with pytest.raises(CredentialInPayload):
        enqueue_many(connection, jobs)
    assert connection.execute("SELECT count(*) FROM pgqueue.jobs").fetchone() == before


def test_every_way_to_enqueue_is_guarded(connection: Connection) -> None:
    tasks = Tasks()

    @tasks.task("chunk")
    def chunk(items: list[Any], chunk_index: int, total_chunks: int) -> None: ...

    @tasks.task("t")
    def task(**anything: Any) -> None: ...

    bad = task.job(password="x")
    for attempt in (
        lambda: enqueue(connection, bad),
        lambda: enqueue(connection, task.job(), metadata={"auth": {"token": "x"}}),
        lambda: enqueue_many(connection, [task.job(), bad]),
        lambda: enqueue_many(connection, [task.job(), task.job().options(metadata={"pwd": "x"})]),
        lambda: enqueue_batch(connection, [task.job()], on_success=bad),
        lambda: enqueue_chunked(connection, chunk, [{"password": "x"}], chunk_size=1),
        lambda: NewSchedule(name="nightly", job=bad, cron="@daily"),
    ):
        with pytest.raises(CredentialInPayload):
            attempt()


def test_a_task_may_allow_what_only_looks_like_one(connection: Connection) -> None:
    tasks = Tasks(allow=["metadata.session"])

    @tasks.task("t", allow=["args.items[*].token", "args.card"])
    def task(**anything: Any) -> None: ...

    allowed = {"items": [{"token": "x"}, {"token": "y"}], "card": {"title": "a board's"}}
    enqueue(connection, task.job(**allowed).options(metadata={"session": "morning"}))
    for refused in ({"items": [{"tokens": "x"}]}, {"card_number": "1"}, {"token": "x"}):
        with pytest.raises(CredentialInPayload) as raised:
            enqueue(connection, task.job(**refused))
        # What the error says can be pasted.
        assert f"allow=[{raised.value.path!r}]" in str(raised.value)


def test_a_guard_warns_or_is_off_if_told_so(connection: Connection) -> None:
    tasks = Tasks(credentials="warn")

    @tasks.task("warned")
    def warned(**anything: Any) -> None: ...

    @tasks.task("unseen", credentials="off")
    def unseen(**anything: Any) -> None: ...

    with pytest.warns(CredentialWarning, match=r"args\.password looks like a password"):
        enqueue(connection, warned.job(password="x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enqueue(connection, unseen.job(password="x"))


@pytest.mark.parametrize(
    "options",
    [
        {"credentials": "lax"},
        {"allow": "args.token"},
        {"allow": ["token"]},
        {"allow": [3]},
    ],
)
def test_a_guard_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        Tasks(**options)
    with pytest.raises(InvalidOption):
        Tasks().task("t", **options)


@pytest.mark.usefixtures("no_hints_yet")
def test_personal_data_is_hinted_at_once_for_each_task(connection: Connection) -> None:
    @Tasks().task("mail", allow=["args.to"])
    def mail(to: str, copy: str = "") -> None: ...

    for args in ('{"to": "ada@example.org"}', '{"call": "+44 20 7946 0958"}'):
        task = f"hinted {args}"
        with pytest.warns(PersonalData, match="pass an id"):
            enqueue(connection, NewJob(task, args))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            enqueue(connection, NewJob(task, args))
            enqueue(connection, mail.job(to="ada@example.org"))
            enqueue(connection, NewJob("dates", '{"on": "2026-11-24", "at": "+09:00", "n": "@"}'))
    with pytest.warns(PersonalData):
        enqueue(connection, mail.job(to="ada@example.org", copy="bob@example.org"))


def _values() -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(10**12, 10**17)
        | st.text(max_size=20)
        | st.sampled_from(sorted(SHAPES.values())),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(sorted(NAMES)) | st.text(max_size=8), inner, max_size=3
            )
        ),
        max_leaves=8,
    )


@given(_values(), st.booleans())
def test_the_quick_look_never_misses_what_the_careful_walk_finds(value: Any, ascii: bool) -> None:
    text = json.dumps({"a": value}, ensure_ascii=ascii)
    if any(Guard().findings(text, "args")):
        assert may_hold(text)


@given(_values())
def test_what_is_redacted_holds_nothing_any_more(value: Any) -> None:
    redacted = json.loads(Guard().redact(json.dumps({"a": value}), "result"))
    left = [leaf.value for leaf in guard.leaves([redacted], "result") if leaf.kind is not None]
    assert set(left) <= {guard.REDACTED}


def test_looking_costs_little_whatever_the_text() -> None:
    """Each of these once took hours, or would with a careless pattern."""
    for text in (
        "password" + "x" * 60_000,
        "-".join(["token"] * 10_000),
        "eyJ" * 20_000,
        "eyJ-" * 15_000,
        "://" * 20_000 + "password",
        "://a:" * 10_000,
        "Bearer " * 10_000,
        "-----BEGIN " * 6_000 + "password",
        "[parameters: " * 5_000 + "password",
        "4111 " * 12_000,
        "a@" * 30_000 + "password",
        '"password": ' * 5_000,
        "card=" * 12_000,
        '{"$encrypted":' * 4_000,
    ):
        began = time.process_time()
        redact(text)
        shown(text)
        shaped(text)
        Guard().redact(json.dumps({"a": text}), "result")
        guard.hint(f"slow {text[:20]}", text.replace("a@", "aa"))
        assert time.process_time() - began < 3, text[:30]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2 host=db", "password=[redacted] host=db"),
        (
            "cannot reach postgresql://app:pa/ss@db/x",
            "cannot reach postgresql://app:[redacted]@db/x",
        ),
        ("Authorization: Basic dXNlcjpw end", "Authorization: [redacted] end"),
        ('{"token": "abc123"}', '{"token": [redacted]}'),
        ("cvv=123, token=abc9", "cvv=[redacted], token=[redacted]"),
        (f"got {JWT}.", "got [redacted]."),
        (f"key:\n{PEM}\nend", "key:\n[redacted]\nend"),
        ("card 4111 1111 1111 1111 expired", "card [redacted] expired"),
        ("x\nDETAIL:  Key (email)=(a@b.org) exists.\ny", "x\nDETAIL:  [redacted]\ny"),
        ("e\n[parameters: {'a': ['x]']}]\n(link)", "e\n[parameters: [redacted]]\n(link)"),
        ("unexpected token: '}'", "unexpected token: '}'"),
        ("with Session(engine) as session:", "with Session(engine) as session:"),
        ("discarded 4 cards: all", "discarded 4 cards: all"),
    ],
)
def test_free_text_loses_its_credentials_and_nothing_else(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected


def test_an_error_is_kept_without_what_postgres_says_of_rows(connection: Connection) -> None:
    connection.execute("CREATE TEMP TABLE people (email text PRIMARY KEY)")
    address = "@".join(["ada", "example.org"])  # not a line of source, which tracebacks show
    connection.execute("INSERT INTO people VALUES (%s)", [address])

    def add() -> None:
        try:
            connection.execute("INSERT INTO people VALUES (%s)", [address])
        except psycopg.Error as error:
            raise RuntimeError("could not add") from error

    with pytest.raises(RuntimeError) as raised:
        add()
    cause = raised.value.__cause__
    assert cause is not None
    outer, inner = failure.describe(raised.value), failure.describe(cause)
    assert "people_pkey" in inner.message
    assert address in str(cause), "or there was nothing to leave out"
    for kept in (*inner, *outer):
        assert address not in str(kept)


def test_an_error_keeps_the_lines_of_its_source() -> None:
    def login(token: str) -> None:
        raise ValueError(f"refused: token={token}")

    try:
        login(token="abc12345")
    except ValueError as error:
        described = failure.describe(error)
    assert described.message == "refused: token=[redacted]"
    assert "abc12345" not in str(described.traceback).replace('login(token="abc12345")', "")
    assert "raise ValueError(f" in str(described.traceback)


def test_what_a_worker_keeps_of_a_job_has_no_credentials(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("returns")
    async def returns() -> Any:
        return {"token": "abc12345", "rows": 3, "seen": [f"got {JWT}"]}

    @tasks.task("warned", credentials="warn")
    async def warned() -> Any:
        return {"token": "abc12345"}

    @tasks.task("allowed", allow=["result.token"])
    async def allowed() -> Any:
        return {"token": "abc12345", "password": "abc12345"}

    secret = "abc12345"

    @tasks.task("says", max_attempts=1)
    def says(ctx: Context) -> None:
        ctx.log("with token=abc12345", password="abc12345")
        ctx.progress(detail={"token": "abc12345", "line": "password: abc12345"})
        raise ValueError(f"password={secret}")

    with psycopg.connect(dsn) as connection:
        enqueue_many(connection, [task.job() for task in tasks])

    async def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection, warnings.catch_warnings():
            warnings.simplefilter("ignore", CredentialWarning)
            async with asyncio.timeout(60), Worker(tasks, dsn):
                while connection.execute("SELECT FROM pgqueue.jobs WHERE state <> 'dead'").rowcount:
                    await asyncio.sleep(0.02)

    asyncio.run(work())
    with psycopg.connect(dsn) as connection:
        results = dict(
            connection.execute("SELECT task, result FROM pgqueue.finished_jobs").fetchall()
        )
        said = connection.execute(
            "SELECT message, fields FROM pgqueue.job_logs UNION ALL"
            " SELECT error, history FROM pgqueue.jobs UNION ALL"
            " SELECT traceback, NULL FROM pgqueue.attempts UNION ALL"
            " SELECT NULL, detail FROM pgqueue.progress"
        ).fetchall()
    assert results["returns"] == {
        "token": "[redacted]",
        "rows": 3,
        "seen": ["[redacted]"],
    }
    assert results["warned"] == {"token": "abc12345"}
    assert results["allowed"] == {"token": "abc12345", "password": "[redacted]"}
    assert len(said) == 4
    assert "abc12345" not in str(said)


def test_the_repr_of_a_job_shows_no_arguments() -> None:
    job = NewJob("t", '{"name": "Ada"}', queue="email", metadata={"a": "Ada"})
    assert "Ada" not in repr(job)
    assert "email" in repr(job)


def test_names_are_read_word_by_word() -> None:
    assert named("X-Api-Key") == "an API key"
    assert named("apikeyed") is None
    assert named("") is None


@pytest.mark.parametrize(
    "text", ["", "{}", '{"$encrypted": 5}', '{"a": {"$encrypted": null}}', "["]
)
def test_anything_can_be_shown(text: str) -> None:
    redact_json(text)
    shown(text)
