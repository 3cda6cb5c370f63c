"""``pgqueue top``: the frame is right for its numbers, the numbers for the database, and the
terminal is left as it was."""

import doctest
import signal
import termios
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import pgqueue
from pgqueue import NewJob, migrate
from pgqueue.cli import frame as framing
from pgqueue.cli import layout
from pgqueue.cli import top as command
from pgqueue.cli.frame import frame
from pgqueue.storage.rollups import Alert
from pgqueue.storage.watching import Deaths, Failures, Queue, Running, Watch, Worker
from tests.command import Command, run_process
from tests.postgres import Server, dsn_with
from tests.rows import WORKER, claim
from tests.terminal import Terminal

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
LEFT = "\x1b[?7h\x1b[?25h\x1b[?1049l"


def alert(severity: str, name: str, queue: str, text: str, state: str = "firing") -> Alert:
    since = NOW - timedelta(minutes=4)
    return Alert(name, queue, "", state, severity, since, 1, 1, text, NOW)


def queue(name: str, available: int = 0, **more: Any) -> Queue:
    empty = Queue(
        name, available, 0, 0, 0, 0, (), None, 0, 0, None, None, 1, 10, False, [0] * 60
    )  # fmt: skip
    return empty._replace(**more)


WATCH = Watch(
    database="shop",
    version="17.2",
    now=NOW,
    holder="session 4711 (report, ann) in a transaction since 2026-11-26 02:48:00+00",
    held_for=724.0,
    sees_holders=True,
    alerts=[
        alert("critical", "backlog", "import", "at least 1000 jobs are available"),
        alert("warning", "horizon_held", "", "session 4711 keeps dead rows for 12 min"),
        alert("critical", "delay", "email", "jobs wait 5 min on average", "pending"),
    ],
    queues=[
        queue(
            "email", 12, running=8, scheduled=3, retrying=2, dead=4, oldest=310.0, started=120.4,
            ended=118.0, p95_wait=4.1, failure_rate=0.031, history=[*range(60)],
        ),
        queue(
            "import", 10_000, at_least=["available"], running=10, oldest=7300.0, started=2.2,
            ended=1.8, p95_wait=7100.0, failure_rate=0.5, history=[5] * 60,
        ),
        queue("reports", 3, oldest=95.0, slots=0, workers=0),
        queue("thumbnails", is_paused=True),
    ],
    workers=[
        Worker("web-1", 7001, {"email": 20, "default": 5}, 25, 8, True, True, 86400.0 * 3, 2.0),
        Worker("batch-1", 812, {"import": 10}, 10, 10, True, False, 5000.0, 9.0),
        Worker("batch-2", 990, {"import": 10}, 10, 0, False, True, 9000.0, 700.0),
    ],
    running=[
        Running(4712, "import", "import.chunk", 1, 5, 1804.0, 21.0, "batch-1", 812, 60, False),
        Running(4713, "import", "import.chunk", 2, 5, 90.0, -4.0, None, None, None, False),
        Running(4720, "email", "send-welcome", 1, 3, 0.2, 29.0, "web-1", 7001, None, True),
    ],
    failures=[Failures("import.chunk", "import", 41, 3, 1, 1, 2, 0.5)],
    deaths=[
        Deaths("ValueError", ["attempts_exhausted"], 4, False, ["send-welcome"], 500.0),
        Deaths(None, ["expired"], 1, False, ["report"], 9000.0),
    ],
)  # fmt: skip

ORDINARY = """\
database shop  PostgreSQL 17.2  2026-11-26 03:00:00 UTC
oldest snapshot: 12m, session 4711 (report, ann) in a transaction since 2026-11…
CRITICAL backlog import: at least 1000 jobs are available (since 4m)
WARNING horizon_held: session 4711 keeps dead rows for 12 min (since 4m)

QUEUE       READY  RUN  LATER  DEAD  OLDEST  IN/m  OUT/m   P95  FAIL  LAST HOUR
import       10k+   10      0     0      2h   2.2    1.8  118m   50%  ██████████
email          12    8      5     4      5m   120    118    4s  3.1%  ▁▂▃▃▄▅▆▇██
reports         3    0      0     0     95s     0      0              no worker
thumbnails      0    0      0     0             0      0              paused

WORKER    PID   BUSY  QUEUES               UP  SEEN
web-1    7001   8/25  email=20 default=5   3d    2s
batch-1   812  10/10  import=10           83m    9s  deaf
batch-2   990   0/10  import=10            2h   11m  vanished

 JOB  TASK          QUEUE   RUN    FOR  LEASE  PROGRESS    WORKER
4712  import.chunk  import  1/5    30m    21s  ███░░  60%  batch-1/812
4713  import.chunk  import  2/5    90s    -4s              vanished
4720  send-welcome  email   1/3  200ms    29s  cancelling  web-1/7001

FAILING       QUEUE   FAILED  TIMEOUT  CRASHED  LOST  DEAD  FAIL
import.chunk  import      41        3        1     1     2   50%

DIED OF     JOBS  LATEST  TASKS
ValueError     4      8m  send-welcome
expired        1      2h  report
"""

SMALL = """\
database shop  PostgreSQL 17.2  2026-11-26 03:00:00 UTC
oldest snapshot: 12m, session 4711 (report, ann) in a transaction since 2026-11…
CRITICAL backlog import: at least 1000 jobs are available (since 4m)
WARNING horizon_held: session 4711 keeps dead rows for 12 min (since 4m)

QUEUE       READY  RUN  LATER  DEAD  OLDEST  IN/m  OUT/m   P95  FAIL  LAST HOUR
import       10k+   10      0     0      2h   2.2    1.8  118m   50%  ██████████
email          12    8      5     4      5m   120    118    4s  3.1%  ▁▂▃▃▄▅▆▇██
reports         3    0      0     0     95s     0      0              no worker
thumbnails      0    0      0     0             0      0              paused

WORKER    PID   BUSY  QUEUES               UP  SEEN
web-1    7001   8/25  email=20 default=5   3d    2s
batch-1   812  10/10  import=10           83m    9s  deaf
batch-2   990   0/10  import=10            2h   11m  vanished

 JOB  TASK          QUEUE   RUN    FOR  LEASE  PROGRESS    WORKER
4712  import.chunk  import  1/5    30m    21s  ███░░  60%  batch-1/812
4713  import.chunk  import  2/5    90s    -4s              vanished
4720  send-welcome  email   1/3  200ms    29s  cancelling  web-1/7001

FAILING       QUEUE   FAILED  TIMEOUT  CRASHED  LOST  DEAD  FAIL
import.chunk  import      41        3        1     1     2   50%
"""


def shown(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def test_a_frame_is_this_on_an_ordinary_terminal() -> None:
    assert shown(frame(WATCH, width=80, height=40)) == ORDINARY


def test_a_frame_is_this_on_a_small_one_where_every_table_has_its_share() -> None:
    assert shown(frame(WATCH, width=80, height=23)) == SMALL


def test_a_wide_terminal_has_an_hour_by_minute_and_longer_bars() -> None:
    lines = frame(WATCH, width=160, height=50)
    assert any(line.endswith("  3.1%  " + framing.sparkline(range(60), 60)) for line in lines)
    assert any("██████░░░░  60%" in line for line in lines)


@pytest.mark.parametrize("width", [80, 100, 132, 200])
@pytest.mark.parametrize("height", [5, 12, 23, 24, 60])
def test_a_frame_fits(width: int, height: int) -> None:
    long = "a-name-that-nobody-would-give-to-anything-but-somebody-always-does-" * 3
    crowd = WATCH._replace(
        database=long,
        queues=[queue(f"{n}{long}", 10**6, at_least=["available"], oldest=1e6) for n in range(50)],
        workers=[each._replace(host=long, queues={long: 5}) for each in WATCH.workers] * 20,
        running=[each._replace(task=long, queue=long, host=long) for each in WATCH.running] * 20,
        failures=[each._replace(task=long, queue=long) for each in WATCH.failures] * 20,
        deaths=[each._replace(cause=long, tasks=[long]) for each in WATCH.deaths or ()],
        alerts=[alert("critical", "delay", long, long)] * 9,
    )
    lines = frame(crowd, width=width, height=height)
    assert len(lines) <= height
    assert max(map(layout.width, lines)) <= width
    assert height < 12 or "and 5 more: pgqueue alerts" in lines
    assert height < 60 or any(line.startswith("... ") for line in lines)


def test_a_database_without_anything_says_what_to_do() -> None:
    nothing = WATCH._replace(
        held_for=None, alerts=[], queues=[], workers=[], running=[], failures=[], deaths=[]
    )
    text = shown(frame(nothing, width=80, height=23))
    assert "no alert fires\n" in text
    assert "oldest snapshot: none\n" in text
    assert "no queues yet" in text
    assert "start one: pgqueue worker" in text


def test_what_the_user_may_not_see_is_said() -> None:
    text = shown(frame(WATCH._replace(sees_holders=False, deaths=None)))
    assert "not allowed to look (needs pg_monitor)" in text
    assert "DIED OF" not in text


def test_a_frame_is_coloured_where_it_hurts() -> None:
    painted: set[tuple[str, str]] = set()

    def paint(text: str, colour: str | None) -> str:
        painted.add((text.strip(), colour or ""))
        return text

    assert shown(frame(WATCH, width=80, height=40, paint=paint)) == ORDINARY
    assert {
        ("CRITICAL backlog import: at least 1000 jobs are available (since 4m)", "red"),
        ("WARNING horizon_held: session 4711 keeps dead rows for 12 min (since 4m)", "yellow"),
        ("vanished", "red"),
        ("deaf", "red"),
        ("-4s", "red"),
        ("50%", "yellow"),
        ("no worker", "red"),
    } <= painted


def test_nothing_in_a_name_steers_the_terminal() -> None:
    nasty = WATCH._replace(queues=[queue("\x1b[2J\n")], database="\x07")
    text = shown(frame(nasty, width=80, height=40))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\\x1b[2J" in text


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("ready", ["import", "email", "reports", "thumbnails"]),
        ("oldest", ["import", "email", "reports", "thumbnails"]),
        ("failing", ["import", "email", "reports", "thumbnails"]),
        ("name", ["email", "import", "reports", "thumbnails"]),
    ],
)
def test_queues_are_sorted_as_asked(order: str, names: list[str]) -> None:
    lines = frame(WATCH, width=80, height=40, order=order)
    first = next(n for n, line in enumerate(lines) if "READY" in line) + 1
    assert [line.split()[0] for line in lines[first : first + 4]] == names


def test_bars_shares_and_pauses_are_as_they_say() -> None:
    assert doctest.testmod(framing).failed == 0
    assert doctest.testmod(command).failed == 0


# The numbers.


def busy(dsn: str) -> None:
    """Some of everything."""
    with psycopg.connect(dsn) as connection:
        pgqueue.enqueue_many(connection, [NewJob("work") for _ in range(5)])
        pgqueue.enqueue_many(connection, [NewJob("work", queue="email", delay=3600)])
        claim(connection, limit=2)
        connection.execute(
            "INSERT INTO pgqueue.progress (job_id, attempt, done, total, updated_at)"
            " SELECT min(id), 1, 30, 60, now() FROM pgqueue.jobs WHERE state = 'running'"
        )
        connection.execute(
            "INSERT INTO pgqueue.workers VALUES (%s, now() - interval '3 min', now(), 77,"
            " 'web-1', '1', '{\"default\": 5}', '{work}')",
            [WORKER],
        )
        connection.execute(
            "INSERT INTO pgqueue.tallies (at, queue, task, started, succeeded, failed, wait,"
            " longest_wait, waits)"
            " SELECT date_trunc('minute', now()) - n * interval '1 min', 'default', 'work', 10, 6,"
            " 4, 10, 2, '{0,0,0,0,0,0,0,0,0,0,0,10}' FROM generate_series(0, 70) AS n"
        )
        connection.execute(
            "UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout', died_at = now(),"
            " error_type = 'Boom' WHERE id = (SELECT max(id) FROM pgqueue.jobs"
            " WHERE state = 'available')"
        )


def test_the_numbers_are_those_of_the_database(dsn: str) -> None:
    busy(dsn)
    seen = Command(dsn).json("top", "--once")
    queues = {each["name"]: each for each in seen["queues"]}
    default = queues["default"]
    counts = ("available", "running", "scheduled", "dead", "slots", "failure_rate")
    assert [default[name] for name in counts] == [2, 2, 0, 1, 5, 0.4]
    assert queues["email"]["scheduled"] == 1
    assert default["history"][:-1] == [10] * 59
    # Of the last six minutes, the present one included, of which a part is over.
    assert 10 <= default["started"] <= 12
    assert 1 <= default["p95_wait"] <= 2
    (worker,) = seen["workers"]
    assert (worker["host"], worker["holds"], worker["slots"]) == ("web-1", 2, 5)
    assert sorted(job["percent"] or 0 for job in seen["running"]) == [0, 50]
    assert [(each["task"], each["failed"]) for each in seen["failures"]] == [("work", 244)]
    assert [(each["cause"], each["jobs"]) for each in seen["deaths"]] == [("Boom", 1)]
    assert seen["database"] in dsn


def test_one_frame_is_printed_where_there_is_no_terminal(dsn: str) -> None:
    busy(dsn)
    once = run_process("top", "--once", dsn=dsn)
    assert once.returncode == 0
    assert "\x1b" not in once.stdout
    assert "█████░░░░░  50%  web-1/77" in once.stdout
    live = run_process("top", dsn=dsn)
    assert live.returncode == 2
    assert "pgqueue top --once" in live.stderr


def test_a_monitor_sees_all_but_what_the_dead_died_of(dsn: str) -> None:
    busy(dsn)
    owner = Command(dsn)
    prefix = f"pgq_{uuid4().hex[:8]}_"
    owner("roles", "create", "--prefix", prefix)
    try:
        owner.sql(f'CREATE ROLE "{prefix}login" LOGIN IN ROLE "{prefix}monitor"')
        seen = Command(dsn_with(dsn, user=f"{prefix}login")).json("top", "--once")
        assert seen["deaths"] is None
        assert seen["sees_holders"] is False
        everything = owner.json("top", "--once")
        for part in ("queues", "workers", "running", "failures"):
            assert len(seen[part]) == len(everything[part]) > 0
    finally:
        names = ("login", "enqueuer", "worker", "monitor", "operator", "admin")
        for statement in ('DROP OWNED BY "{}"', 'DROP ROLE "{}"'):
            for name in names:
                owner.sql(statement.format(prefix + name))


def test_a_long_queue_is_counted_so_far_and_no_further(dsn: str) -> None:
    Command(dsn).sql(
        "SELECT count(*) FROM pgqueue.enqueue_many("
        "array_fill('t'::text, ARRAY[12000]), array_fill('{}'::text, ARRAY[12000]))"
    )
    (default,) = Command(dsn).json("top", "--once")["queues"]
    assert (default["available"], default["at_least"]) == (10_000, ["available"])
    assert " 10k+ " in Command(dsn)("top", "--once").stdout


# The screen.


@pytest.fixture
def terminal(dsn: str) -> Iterator[Terminal]:
    busy(dsn)
    with Terminal("top", "--interval", "0.2", dsn=dsn) as terminal:
        terminal.until(lambda: "q quit" in terminal.screen)
        yield terminal


@pytest.mark.parametrize("end", ["q", "\x03"], ids=["q", "Ctrl-C"])
def test_it_leaves_the_terminal_as_it_was(terminal: Terminal, end: str) -> None:
    assert termios.tcgetattr(terminal.theirs) != terminal.modes
    terminal.press(end)
    assert terminal.wait() == 0
    assert terminal.output.startswith("\x1b[?1049h")
    assert terminal.output.endswith(LEFT)
    assert termios.tcgetattr(terminal.theirs) == terminal.modes


def test_it_leaves_the_terminal_as_it_was_when_it_is_terminated(terminal: Terminal) -> None:
    terminal.send(signal.SIGTERM)
    assert terminal.wait() != 0
    assert terminal.output.endswith(LEFT)
    assert termios.tcgetattr(terminal.theirs) == terminal.modes


def test_it_draws_anew_for_each_look_key_and_size(terminal: Terminal, dsn: str) -> None:
    assert "\x1b[1m" in terminal.output
    with psycopg.connect(dsn) as connection:
        pgqueue.enqueue_many(connection, [NewJob("work", queue="brand-new")])
    terminal.until(lambda: "brand-new" in terminal.screen)
    terminal.press("s")
    terminal.until(lambda: "s sort (by oldest)" in terminal.screen)
    terminal.press("p")
    terminal.until(lambda: "paused" in terminal.screen)
    terminal.resize(132, 40)
    terminal.until(lambda: len(terminal.screen.splitlines()) == 40)


def test_it_has_no_colours_where_they_are_not_wanted(dsn: str) -> None:
    with Terminal("top", dsn=dsn, NO_COLOR="1") as terminal:
        terminal.until(lambda: "q quit" in terminal.screen)
        assert "\x1b[1m" not in terminal.output
        assert "\x1b[3" not in terminal.output


def test_a_database_that_goes_away_is_tried_again(own_server: Server) -> None:
    dsn = own_server.dsn()
    migrate.upgrade(dsn)
    with Terminal("top", "--interval", "0.2", dsn=dsn) as terminal:
        terminal.until(lambda: "q quit" in terminal.screen)
        own_server.stop()
        terminal.until(lambda: "connection lost, trying again" in terminal.screen)
        assert "no queues yet" in terminal.screen, "what was seen last stays"
        own_server.start()
        terminal.until(lambda: "q quit" in terminal.screen)
        terminal.press("q")
        assert terminal.wait() == 0
