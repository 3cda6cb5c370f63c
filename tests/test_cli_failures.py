"""What goes wrong is said in one sentence, with what to do, and no secret in it."""

import array
import fcntl
import os
import pty
import re
import signal
import subprocess
import termios
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from pgqueue.cli import database
from tests.command import MAIN, Command, environment, run_process
from tests.postgres import Server, eventually

SECRET = "s3cr3t"
EVERY_DAY = [
    ("status",),
    ("enqueue", "send"),
    ("jobs", "list"),
    ("jobs", "show", "1"),
    ("jobs", "cancel", "1"),
    ("queues", "list"),
    ("queues", "pause", "email"),
    ("adopt",),
]


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def sentence(result: subprocess.CompletedProcess[str], exits: int) -> str:
    """What was said on stderr, having made sure that it is one line, and no traceback."""
    assert result.returncode == exits, result.stderr
    said = result.stderr.strip()
    assert said.startswith("Error: ")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert SECRET not in result.stdout + result.stderr
    return said


@pytest.mark.parametrize("words", EVERY_DAY, ids=" ".join)
def test_no_command_works_without_the_schema(empty_dsn: str, words: tuple[str, ...]) -> None:
    assert "run: pgqueue migrate" in Command(empty_dsn)(*words, exits=3).stderr


@pytest.mark.parametrize("words", [*EVERY_DAY, ("migrate",), ("migrate", "--check")], ids=" ".join)
def test_no_server_is_said_without_the_password(words: tuple[str, ...], tmp_path: Path) -> None:
    nowhere = f"postgresql://ann:{SECRET}@/shop?host={quote(str(tmp_path), safe='')}"
    said = Command(nowhere)(*words, exits=3).stderr
    assert "Error: no connection to Postgres (user=ann dbname=shop host=" in said
    assert "No such file or directory" in said
    assert "pgqueue dev" in said
    assert SECRET not in said


def test_without_a_dsn_libpq_decides(dsn: str, tmp_path: Path) -> None:
    nowhere = run_process("status", more={"PGHOST": str(tmp_path)})
    assert "PGQUEUE_DSN is not set" in sentence(nowhere, exits=3)
    with psycopg.connect(dsn) as connection:
        info = connection.info
        variables = {"PGHOST": info.host, "PGPORT": str(info.port), "PGDATABASE": info.dbname}
        known = run_process("status", more={**variables, "PGUSER": info.user})
    assert known.returncode == 0


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://ann:{SECRET}@x@localhost/shop",
        f"postgresql://ann:12/{SECRET}@localhost/shop",
        f"postgresql://ann:a/{SECRET}@localhost/shop",
        f"postgresql://ann:a?{SECRET}@localhost/shop",
        f"postgresql+psycopg://ann:{SECRET}@localhost/shop",
        f"host=localhost password={SECRET}' dbname=shop x",
        f"{SECRET}",
        f"host=localhost port={SECRET}",
    ],
)
def test_a_dsn_that_is_misread_is_never_quoted(dsn: str) -> None:
    assert "PGQUEUE_DSN" in sentence(run_process("status", dsn=dsn), exits=3)


def test_a_database_that_is_not_there_is_named(dsn: str) -> None:
    missing = run_process("status", dsn=re.sub("pgqueue_test_\\w+", "no_such_database", dsn))
    assert 'database "no_such_database" does not exist; create it' in sentence(missing, exits=3)


NOT_UTF8 = "bad\udcff"  # what Python makes of an argument with the byte FF in it


@pytest.mark.parametrize(
    "words",
    [
        ("enqueue", NOT_UTF8),
        *(("enqueue", "send", f"--{name}", NOT_UTF8) for name in ("queue", "key", "actor")),
        ("enqueue", "send", "--on-dead-task", NOT_UTF8),
        ("enqueue", "send", "--args", f'{{"a": "{NOT_UTF8}"}}'),
        ("jobs", "list", "--task", NOT_UTF8),
        ("jobs", "list", "--queue", NOT_UTF8),
        ("jobs", "list", "--before", NOT_UTF8),
        ("jobs", "retry", "1", "--actor", NOT_UTF8),
        ("jobs", "cancel", "1", "--reason", NOT_UTF8),
        ("jobs", "discard", "1", "--reason", NOT_UTF8),
        ("queues", "pause", NOT_UTF8),
        ("migrate", "--to", NOT_UTF8),
        ("migrate", "--to", ""),
        ("downgrade", "--to", "", "--yes"),
    ],
    ids=ascii,
)
def test_an_argument_that_cannot_be_is_wrong_usage(
    pgqueue: Command, words: tuple[str, ...]
) -> None:
    said = pgqueue(*words, exits=2).stderr
    assert "Error: " in said
    assert pgqueue.sql("SELECT FROM pgqueue.jobs") == []


def test_text_that_no_parameter_refused_is_no_traceback(dsn: str) -> None:
    wrong = run_process("status", dsn=f"{dsn}&application_name={NOT_UTF8}")
    assert "is not valid UTF-8" in sentence(wrong, exits=2)


@pytest.fixture
def guarded(own_server: Server) -> str:
    """A server that asks the role ann for a password; its socket's directory, encoded."""
    with psycopg.connect(own_server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE ann LOGIN PASSWORD '{SECRET}-right'")
        rules = own_server.cluster.data / "pg_hba.conf"
        rules.write_text(f"local all ann scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
    place = quote(str(own_server.cluster.sockets), safe="")
    unarmed = f"postgresql://ann@/postgres?host={place}&port=5432"
    eventually(lambda: "password" in run_process("status", dsn=unarmed).stderr)
    return place


def test_a_wrong_password_is_said_and_not_shown(guarded: str) -> None:
    place = f"/postgres?host={guarded}&port=5432"
    wrong = run_process("status", dsn=f"postgresql://ann:{SECRET}@{place}")
    assert 'password authentication failed for user "ann"' in sentence(wrong, exits=3)
    assert "PGQUEUE_DSN" in wrong.stderr
    none = run_process("status", dsn=f"postgresql://ann@{place}")
    assert "no password supplied" in sentence(none, exits=3)
    right = run_process("status", dsn=f"postgresql://ann:{SECRET}-right@{place}")
    assert "run: pgqueue migrate" in sentence(right, exits=3)


@pytest.mark.parametrize("more", [(), ("--processes", "2")], ids=["alone", "in processes"])
def test_a_worker_gives_the_same_advice_and_says_nothing_else(
    guarded: str, more: tuple[str, ...]
) -> None:
    place = f"/postgres?host={guarded}&port=5432"
    worker = ("worker", "tests.worker_tasks:tasks", *more)
    for dsn, advice in (
        (
            f"postgresql://ann:{SECRET}@{place}",
            'failed for user "ann"; check the user and password',
        ),
        (
            f"postgresql://ann:{SECRET}-right@{place}&dbname=nowhere",
            'database "nowhere" does not exist; create it with createdb',
        ),
    ):
        refused = run_process(*worker, dsn=dsn)
        assert refused.returncode == 3
        assert advice in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert SECRET not in refused.stderr


@pytest.mark.parametrize("wrong", ["connect_timeout=abc", "sslmode=abc", "port=99999", "TimeZone"])
def test_a_dsn_with_a_value_that_cannot_be_is_to_be_mended(dsn: str, wrong: str) -> None:
    if wrong == "TimeZone":
        wrong = f"options={quote('-c TimeZone=abc', safe='')}"
    said = sentence(run_process("status", dsn=f"{dsn}&{wrong}"), exits=3)
    assert "mend it in PGQUEUE_DSN" in said
    worker = run_process("worker", "tests.worker_tasks:tasks", dsn=f"{dsn}&{wrong}")
    assert worker.returncode == 3
    assert "mend it in PGQUEUE_DSN" in worker.stderr


def test_what_a_role_may_not_do_is_said(pgqueue: Command) -> None:
    role = sql.Identifier(f"viewer_of_{os.getpid()}")
    with psycopg.connect(pgqueue.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA pgqueue TO {}").format(role))
        try:
            options = quote(f"-c role={role.as_string()}".replace('"', ""), safe="")
            limited = Command(f"{pgqueue.dsn}&options={options}")
            assert "not allowed: permission denied" in limited("status", exits=3).stderr
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_lock_that_somebody_holds_is_waited_for_a_second_only(pgqueue: Command) -> None:
    with psycopg.connect(pgqueue.dsn) as other:
        other.execute("LOCK TABLE pgqueue.jobs")
        assert "somebody holds a lock" in pgqueue("jobs", "list", exits=1).stderr


def test_behind_a_transaction_pooler_a_command_is_one_transaction(
    pgqueue: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "is_pooled", lambda connection: True)
    pgqueue("enqueue", "send")
    assert len(pgqueue.json("jobs", "list")["jobs"]) == 1


def test_an_import_that_fails_says_where(
    pgqueue: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_app.py").write_text("x = 1\n1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = pgqueue("sync", "failing_app:tasks", exits=3).stderr
    assert "ZeroDivisionError" in said
    assert f"(at {tmp_path}/failing_app.py:2)" in said


def test_a_reader_that_went_away_is_no_error(pgqueue: Command) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    gone = run_process(
        "jobs", "list", "--json", dsn=pgqueue.dsn, capture_output=False, stdout=writer,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(writer)
    assert (gone.returncode, gone.stderr) == (141, "")


def test_no_stdout_at_all_is_no_error(pgqueue: Command) -> None:
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *MAIN, "status"],
        env=environment(pgqueue.dsn), stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_is_said(pgqueue: Command) -> None:
    with open("/dev/full", "w") as full:
        lost = run_process(
            "status", dsn=pgqueue.dsn, capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert lost.returncode == 3
    assert lost.stderr == "Error: No space left on device\n"


def test_ctrl_c_ends_a_command_quietly(pgqueue: Command) -> None:
    """It waits for arguments on stdin, and has said so by reading them."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [*MAIN, "enqueue", "send", "--args", "-"],
        env=environment(pgqueue.dsn), stdin=reader, stderr=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        os.close(reader)
        os.write(writer, b"{")
        eventually(lambda: _is_drained(writer))
        waiting.send_signal(signal.SIGINT)
        try:
            _, said = waiting.communicate(timeout=60)
        finally:
            os.close(writer)
    assert (waiting.returncode, said.strip()) == (130, "")


@pytest.mark.parametrize("columns", [80, 70])
def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(pgqueue: Command, columns: int) -> None:
    queue, task = "q" * 60, "a_task_with_a_name_that_is_long" * 3
    pgqueue("enqueue", task, "-q", queue)
    for words in (("jobs", "list"), ("status",)):
        shown = _in_terminal(pgqueue.dsn, columns, *words)
        assert "\x1b[1m" in shown
        lines = [re.sub(r"\x1b\[\d+m", "", line) for line in shown.splitlines()]
        assert max(map(len, lines)) <= columns
        assert queue in run_process(*words, dsn=pgqueue.dsn).stdout
    assert "\x1b" not in _in_terminal(pgqueue.dsn, columns, "jobs", "list", more={"NO_COLOR": "1"})


def _in_terminal(dsn: str, columns: int, *words: str, more: dict[str, str] | None = None) -> str:
    """What a terminal of so many columns is sent."""
    ours, theirs = pty.openpty()
    given = {"COLUMNS": str(columns), "TERM": "xterm", **(more or {})}
    with subprocess.Popen([*MAIN, *words], env=environment(dsn, given), stdout=theirs):
        os.close(theirs)
        sent = b""
        while chunk := _read(ours):
            sent += chunk
    os.close(ours)
    return sent.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's end of file
        return b""


def _is_drained(pipe: int) -> bool:
    """Whether everything written to *pipe* was read."""
    waiting = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return waiting[0] == 0
