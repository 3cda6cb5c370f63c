"""What a worker promises as a process: how it shares work, stops, and when it refuses to start."""

import http.client
import itertools
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgqueue
from pgqueue import NewJob
from pgqueue.testing.databases import Databases, dsn_of, name_of
from pgqueue.worker.clock import boottime
from tests.command import run_process
from tests.postgres import Server
from tests.process import TASKS, Stage, running
from tests.worker_tasks import (
    clock,
    effect,
    fail,
    heed_in_thread,
    quick,
    wait,
    wait_in_child,
    wait_in_thread,
    work,
    work_in_thread,
)


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


# Sharing the work


@pytest.mark.smoke
def test_four_workers_run_each_of_two_thousand_jobs_once(stage: Stage) -> None:
    workers = [stage.start() for _ in range(4)]
    stage.ready(*workers)
    jobs = [stage.enqueue(*[quick.job() for _ in range(100)]) for _ in range(20)]

    stage.until_drained()

    everything = set(itertools.chain.from_iterable(jobs))
    starts = stage.journal.entries("start")
    assert Counter(entry.job for entry in starts) == dict.fromkeys(everything, 1)
    assert len({entry.pid for entry in starts}) > 1
    assert stage.sql("SELECT state, attempt, count(*) FROM pgqueue.all_jobs GROUP BY 1, 2") == [
        ("succeeded", 1, 2000)
    ]
    assert stage.value("SELECT count(*) FROM pgqueue.attempts") == 0


def test_acceptance_11_a_queue_of_five_slots_never_runs_a_sixth_job(stage: Stage) -> None:
    kinds = [work, work_in_thread]
    stage.enqueue(*[kinds[n % 2].job(seconds=0.03) for n in range(100)])
    stage.start(queues={"default": 5})

    stage.until_drained()

    steps = [(entry.at, 1) for entry in stage.journal.entries("start")]
    steps += [(entry.at, -1) for entry in stage.journal.entries("end")]
    assert len(steps) == 200
    assert max(itertools.accumulate(step for _, step in sorted(steps))) == 5


def test_acceptance_2_an_urgent_job_overtakes_those_that_wait(stage: Stage) -> None:
    stage.ready(stage.start(queues={"default": 1}))
    (first,) = stage.enqueue(wait.job(gate="open"))
    stage.until_started(first)
    ordinary = [stage.enqueue(quick.job())[0] for _ in range(3)]
    (urgent,) = stage.enqueue(quick.job().options(priority=1))
    stage.journal.open_gate("open")

    stage.until_drained()

    assert [entry.job for entry in stage.journal.entries("start")] == [first, urgent, *ordinary]


@pytest.mark.parametrize("delay", [0.5, 5])
def test_acceptance_3_a_delayed_job_starts_not_before_its_time_by_the_clock_of_the_database(
    stage: Stage, delay: float
) -> None:
    stage.sql("CREATE TABLE starts (job_id bigint, at timestamptz)")
    stage.ready(stage.start())
    with psycopg.connect(stage.dsn) as connection:
        jobs = [pgqueue.enqueue(connection, clock.job(), delay=delay).id for _ in range(10)]
        ((enqueued_at,),) = connection.execute("SELECT now()")

    stage.until_drained()

    waited = stage.sql("SELECT extract(epoch FROM at - %s)::float8 FROM starts", enqueued_at)
    assert len(waited) == len(jobs)
    assert delay <= min(waited)[0]
    assert max(waited)[0] < delay + 3


def test_acceptance_4_three_attempts_with_a_backoff_of_two_and_four_seconds(stage: Stage) -> None:
    stage.ready(stage.start())
    (job,) = stage.enqueue(fail.job())
    scheduled = (
        "SELECT run_at FROM pgqueue.jobs WHERE id = %s AND state = 'scheduled' AND failures = %s"
    )
    run_at = []
    for failures in (1, 2):
        stage.until(lambda failures=failures: stage.sql(scheduled, job, failures))
        run_at.append(stage.value(scheduled, job, failures))
    stage.until_state(job, "dead")

    assert stage.job(job).reason == "attempts_exhausted"
    assert stage.attempts(job) == [(1, "failed"), (2, "failed"), (3, "failed")]
    attempts = stage.sql(
        "SELECT started_at, ended_at FROM pgqueue.attempts WHERE job_id = %s ORDER BY attempt", job
    )
    for backoff, due_at, (_, ended_at), (next_started_at, _) in zip(
        (2, 4), run_at, attempts[:2], attempts[1:], strict=True
    ):
        assert backoff <= (due_at - ended_at).total_seconds() < backoff + 0.5
        assert 0 <= (next_started_at - due_at).total_seconds() < 3


def test_acceptance_7_a_task_that_a_worker_does_not_know_waits_for_one_that_does(
    stage: Stage,
) -> None:
    old = stage.start(tasks="tests.worker_tasks:few")
    stage.ready(old)
    unknown, known = stage.enqueue(wait.job(gate="open"), quick.job())
    stage.until_state(known, "succeeded")
    found = stage.job(unknown)
    assert (found.state, found.attempt) == ("available", 0)

    new = stage.start()
    stage.until_started(unknown)
    stage.journal.open_gate("open")
    stage.until_state(unknown, "succeeded")

    assert stage.started(unknown) == [(1, new.pid)]
    assert stage.started(known) == [(1, old.pid)]


# Stopping


def test_a_stopping_worker_claims_nothing_lets_jobs_end_and_gives_back_the_rest(
    stage: Stage,
) -> None:
    grace = 3
    stage.sql("CREATE TABLE effects (job_id bigint, attempt bigint)")
    worker = stage.command("-q", "default=5", "--grace", f"{grace}s")
    stage.ready(worker)
    stage.enqueue(*[quick.job() for _ in range(300)])  # so that it claims ahead
    stage.until_drained()
    ending, *unfinished = stage.enqueue(
        wait_in_thread.job(gate="now"),
        wait.job(gate="later"),
        wait_in_thread.job(gate="later"),
        wait_in_child.job(gate="later"),
        effect.job(gate="later"),
    )
    buffered = stage.enqueue(*[quick.job() for _ in range(10)])
    stage.until_started(ending, *unfinished)
    stage.until(lambda: stage.states().get("running") == 5 + len(buffered))

    stopped_at = time.monotonic()
    worker.terminate()
    stage.until(lambda: stage.states().get("available") == len(buffered))
    assert [stage.state(job) for job in (ending, *unfinished)] == ["running"] * 5
    (late,) = stage.enqueue(quick.job())
    stage.journal.open_gate("now")
    stage.until_state(ending, "succeeded")
    assert worker.wait(within=grace + 20) == 0
    assert grace <= time.monotonic() - stopped_at <= grace + 5

    assert stage.started(late) == []
    assert stage.sql("SELECT * FROM effects") == []
    for job in unfinished:
        found = stage.job(job)
        assert (found.state, found.failures, found.crashes) == ("available", 0, 0)
    for job in (*unfinished, *buffered):
        assert stage.attempts(job) == [(1, "released")]
    assert stage.job(ending).attempt == 1
    assert stage.value("SELECT count(*) FROM pgqueue.workers") == 0
    assert connections(stage) == 0

    successor = stage.start()
    stage.journal.open_gate("later")
    stage.until_drained()
    for job in unfinished:
        assert [attempt for attempt, _ in stage.started(job)] == [1, 2]
    for job in buffered:
        assert stage.started(job) == [(2, successor.pid)]
    assert stage.sql("SELECT * FROM effects") == [(unfinished[-1], 2)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_a_worker_now(stage: Stage, number: signal.Signals) -> None:
    port = free_port()
    worker = stage.start(grace=600, health_port=port)
    stage.ready(worker)
    jobs = stage.enqueue(wait.job(gate="never"), wait_in_thread.job(gate="never"))
    stage.until_started(*jobs)
    worker.signal(number)
    stage.until(lambda: ask(port, "/ready") == 503)
    assert [stage.state(job) for job in jobs] == ["running"] * 2

    worker.signal(number)
    assert worker.wait(within=10) == 0

    for job in jobs:
        assert stage.state(job) == "available"
        assert stage.attempts(job) == [(1, "released")]


def test_a_worker_stops_in_time_though_its_database_is_away(
    own_server: Server, tmp_path: Path
) -> None:
    grace = 1
    with Stage(Databases(own_server.dsn()).create_migrated(), tmp_path) as stage:
        worker = stage.start(grace=grace)
        stage.ready(worker)
        stage.until_started(
            *stage.enqueue(
                wait.job(gate="never"),
                wait_in_thread.job(gate="never"),
                wait_in_child.job(gate="never"),
            )
        )
        stage.disconnect()
        own_server.stop()

        stopped_at = time.monotonic()
        worker.terminate()
        assert worker.wait(within=60) == 0
        assert time.monotonic() - stopped_at <= grace + 5


# Refusing to start


def refusal(dsn: str) -> str:
    """Start a worker that must not run; return the sentence it said."""
    answer = run_process("worker", TASKS, dsn=dsn)
    assert answer.returncode == 3, answer.stderr
    (sentence,) = (answer.stdout + answer.stderr).strip().splitlines()
    return sentence


def test_a_worker_does_not_run_the_jobs_of_a_copied_database(
    stage: Stage, server: Databases
) -> None:
    (job,) = stage.enqueue(quick.job())
    stage.disconnect()
    copy = server.create(name_of(stage.dsn))
    try:
        assert "pgqueue adopt" in refusal(copy)
        assert run_process("adopt", dsn=copy).returncode == 0
        with psycopg.connect(copy) as connection:
            connection.execute("SELECT pgqueue.cancel(%s)", [job])
    finally:
        server.drop(copy)


def test_a_worker_refuses_a_database_without_the_schema(empty_dsn: str) -> None:
    assert "pgqueue migrate" in refusal(empty_dsn)


def test_a_worker_refuses_a_schema_older_than_itself(stage: Stage) -> None:
    stage.sql(
        "CREATE OR REPLACE FUNCTION pgqueue.revision() RETURNS text LANGUAGE sql IMMUTABLE"
        " RETURN 'pgqueue_0000'"
    )
    sentence = refusal(stage.dsn)
    assert "pgqueue_0000" in sentence
    assert "pgqueue migrate" in sentence


def test_a_worker_refuses_a_database_that_is_not_there(stage: Stage) -> None:
    assert "no_such_database" in refusal(dsn_of(stage.dsn, "no_such_database"))


def test_a_worker_refuses_a_wrong_password_and_does_not_print_it(own_server: Server) -> None:
    databases = Databases(own_server.dsn())
    dsn = databases.create_migrated()
    with psycopg.connect(own_server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right'")
        rules = own_server.cluster.data / "pg_hba.conf"
        rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
        assert connection.execute(
            "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL"
        ).fetchone() == (0,)

    sentence = refusal(make_conninfo(dsn, user="guarded", password="wrong"))
    assert "password" in sentence
    assert "wrong" not in sentence


def test_workers_under_a_parent_that_must_not_run_end_it_as_well(empty_dsn: str) -> None:
    answer = run_process("worker", TASKS, "--processes", "2", dsn=empty_dsn)

    assert answer.returncode == 3
    assert "pgqueue migrate" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_worker_waits_for_a_server_that_is_not_up_yet(own_server: Server, tmp_path: Path) -> None:
    with Stage(Databases(own_server.dsn()).create_migrated(), tmp_path) as stage:
        (job,) = stage.enqueue(quick.job())
        own_server.stop()
        worker = stage.command()
        stage.until(lambda: "connection" in worker.log)

        own_server.start()
        stage.until_state(job, "succeeded")
        assert "Traceback" not in worker.log


def test_a_worker_whose_schema_breaks_gives_back_what_it_has_not_done_and_says_so_once(
    stage: Stage,
) -> None:
    worker = stage.start(queues={"default": 2}, grace=1)
    stage.ready(worker)
    done, undone = stage.enqueue(wait.job(gate="open"), wait_in_thread.job(gate="never"))
    (waiting,) = stage.enqueue(wait.job(gate="never"))
    stage.until_started(done, undone)
    stage.sql("ALTER TABLE pgqueue.finished_jobs RENAME TO elsewhere")

    stage.journal.open_gate("open")
    assert worker.wait(within=30) == 3

    rows = stage.sql("SELECT id, state, failures, crashes FROM pgqueue.jobs ORDER BY id")
    assert rows == [
        (done, "running", 0, 0),
        (undone, "available", 0, 0),
        (waiting, "available", 0, 0),
    ]
    (line,) = [line for line in worker.log.splitlines() if "CRITICAL" in line]
    assert 'relation "pgqueue.finished_jobs" does not exist' in line
    assert "LINE" not in line
    assert "Traceback" not in worker.log


# Several processes under one parent


def test_all_processes_work_and_need_two_connections_each_and_two_more(stage: Stage) -> None:
    parent = stage.command("--processes", "3", "-q", "default=2")
    stage.until(lambda: len(stage.rows_of(parent)) == 3)
    jobs = stage.enqueue(*[wait.job(gate="open") for _ in range(6)])
    stage.until_started(*jobs)
    members = parent.family()

    pids = [entry.pid for entry in stage.journal.entries("start")]
    assert Counter(pids) == dict.fromkeys(members, 2)
    stage.until(lambda: connections(stage) == 2 * 3 + 2)
    stage.journal.open_gate("open")
    stage.until_drained()
    stage.enqueue(*[quick.job() for _ in range(500)])
    stage.until_drained()
    assert connections(stage) == 2 * 3 + 2

    parent.terminate()
    assert parent.wait(within=30) == 0
    assert running(members) == set()
    assert connections(stage) == 0


def connections(stage: Stage) -> int:
    """How many the worker holds."""
    return int(
        stage.value(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'pgqueue:%%'"
        )
    )


def test_a_killed_process_is_replaced_and_its_jobs_run_again(stage: Stage) -> None:
    parent = stage.start(processes=3, queues={"default": 1}, lease=3, rescue_every=1)
    stage.until(lambda: len(stage.rows_of(parent)) == 3)
    jobs = stage.enqueue(*[wait.job(gate="open") for _ in range(3)])
    stage.until_started(*jobs)
    members = parent.family()
    ((_, victim),) = stage.started(jobs[0])

    kill(victim)
    stage.until_started(jobs[0], attempt=2)
    stage.until(lambda: len(running(parent.family())) == 3)
    stage.journal.open_gate("open")
    stage.until_drained()

    (new,) = parent.family() - members
    assert stage.started(jobs[0])[1] == (2, new)
    assert stage.attempts(jobs[0]) == [(1, "lost")]
    for job in jobs[1:]:
        assert stage.attempts(job) == []


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_processes_stop_by_themselves_when_their_parent_is_killed(stage: Stage) -> None:
    parent = stage.start(processes=3, grace=1)
    stage.until(lambda: len(stage.rows_of(parent)) == 3)
    (job,) = stage.enqueue(wait.job(gate="never"))
    stage.until_started(job)
    members = parent.family()
    assert len(running(members)) == 3

    parent.kill()
    stage.until(lambda: not running(members), within=20)

    assert stage.state(job) == "available"
    assert stage.attempts(job) == [(1, "released")]


def test_a_parent_does_no_chores_on_a_copied_database(stage: Stage, server: Databases) -> None:
    (job,) = stage.enqueue(quick.job().options(expires=0.01))
    stage.disconnect()
    copy = server.create(name_of(stage.dsn))
    try:
        answer = run_process("worker", TASKS, "--processes", "2", dsn=copy)
        assert answer.returncode == 3
        assert "pgqueue adopt" in answer.stderr
        with psycopg.connect(copy) as connection:
            row = connection.execute("SELECT state FROM pgqueue.jobs WHERE id = %s", [job])
            assert row.fetchone() == ("available",)
    finally:
        server.drop(copy)


def test_a_parent_whose_health_port_is_taken_says_so_and_ends(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        parent = stage.command("--processes", "2", "--health-port", str(port))
        assert parent.wait(within=30) == 3
    (line,) = [line for line in parent.log.splitlines() if "CRITICAL" in line]
    assert f"port {port}" in line
    assert "Traceback" not in parent.log


def test_a_second_signal_ends_the_processes_of_a_parent_at_once(stage: Stage) -> None:
    parent = stage.command("--processes", "2", "--grace", "60s", "-q", "default=1")
    stage.until(lambda: len(stage.rows_of(parent)) == 2)
    jobs = stage.enqueue(*[wait.job(gate="never") for _ in range(2)])
    stage.until_started(*jobs)

    def are_cancelled() -> bool:
        parent.terminate()  # again: two signals that come together are one
        return len(stage.journal.entries("cancelled")) == 2

    stage.until(are_cancelled, within=20)
    assert parent.wait(within=20) == 0

    assert [stage.state(job) for job in jobs] == ["available"] * 2
    assert [stage.attempts(job) for job in jobs] == [[(1, "released")]] * 2


# Reloading

APPLICATION = """
import os
from pgqueue import Tasks

tasks = Tasks()


@tasks.task("name-it")
async def name_it() -> str:
    return {version!r}
"""


def test_a_change_of_the_code_is_served_soon_even_after_one_that_was_broken(
    stage: Stage, tmp_path: Path
) -> None:
    def served(version: str) -> bool:
        (job,) = stage.enqueue(NewJob("name-it"))
        stage.until_state(job, "succeeded", within=10)
        return bool(stage.job(job).result == version)

    home = tmp_path / "application"
    home.mkdir()
    source = home / "application.py"
    source.write_text(APPLICATION.format(version="one"))
    parent = stage.command("--reload", "--grace", "1s", tasks="application:tasks", cwd=home)
    stage.until(lambda: served("one"))

    source.write_text(APPLICATION.format(version="second"))
    stage.until(lambda: served("second"))

    source.write_text("this is (no Python\n")
    # So often that the pause before the next start has grown.
    stage.until(lambda: parent.log.count("SyntaxError") >= 5)
    mended_at = time.monotonic()
    source.write_text(APPLICATION.format(version="the third"))
    stage.until(lambda: served("the third"))

    assert time.monotonic() - mended_at < 6
    assert "Traceback" not in parent.log
    assert parent.exit_code is None


# Cancelling


@pytest.mark.smoke
def test_cancelling_stops_a_job_wherever_it_is(stage: Stage) -> None:
    # A lease and a poll so long that only the notification can bring the news in time.
    stage.ready(stage.start(queues={"default": 4}, lease=300, poll=60))
    on_loop, in_thread, in_child, deaf, waiting = stage.enqueue(
        wait.job(gate="never"),
        heed_in_thread.job(gate="never"),
        wait_in_child.job(gate="never"),
        wait_in_thread.job(gate="open"),
        quick.job(),
    )
    (scheduled,) = stage.enqueue(quick.job().options(delay=3600))
    stage.until_started(on_loop, in_thread, in_child, deaf)

    asked_at = boottime()
    assert cancel(stage, waiting) == "cancelled"
    assert cancel(stage, scheduled) == "cancelled"
    for job in (on_loop, in_thread, in_child, deaf):
        assert cancel(stage, job) == "requested"
    for job in (on_loop, in_thread):
        stage.until_state(job, "cancelled")
    (stopped,) = stage.journal.entries("cancelled", on_loop)
    (seen,) = stage.journal.entries("saw-cancelled", in_thread)
    assert max(stopped.at, seen.at) - asked_at < 5
    stage.until_state(in_child, "cancelled")
    # One that does not listen and comes to its end has come to its end.
    assert stage.state(deaf) == "running"
    stage.journal.open_gate("open")
    stage.until_state(deaf, "succeeded")

    assert cancel(stage, deaf) == "succeeded"
    assert stage.state(deaf) == "succeeded"
    for job in (waiting, scheduled):
        assert stage.started(job) == []
    for job in (on_loop, in_thread, in_child, deaf):
        assert len(stage.started(job)) == 1


def cancel(stage: Stage, job: int) -> str:
    return str(stage.value("SELECT pgqueue.cancel(%s)", job))


def test_a_cancellation_that_races_with_the_end_of_its_job_has_one_winner(stage: Stage) -> None:
    stage.ready(stage.start(queues={"default": 10}))
    kinds = [work, work_in_thread]
    jobs = stage.enqueue(*[kinds[n % 2].job(seconds=0.02) for n in range(200)])
    chance = random.Random(7)
    answers: dict[int, str] = {}
    # From the last to the first: the worker comes the other way, and they meet.
    for job in reversed(jobs):
        answers[job] = cancel(stage, job)
        time.sleep(chance.uniform(0, 0.004))

    stage.until_drained()

    ends = Counter(entry.job for entry in stage.journal.entries("end"))
    for job, answer in answers.items():
        state = stage.state(job)
        if answer in ("cancelled", "succeeded"):
            assert state == answer
        assert state in ("cancelled", "succeeded")
        assert len(stage.started(job)) <= 1
        if state == "succeeded":
            assert ends[job] == 1
    assert {"requested", "cancelled"} <= set(answers.values())


# Health


def test_a_worker_answers_whether_it_lives_and_works(stage: Stage) -> None:
    port = free_port()
    worker = stage.command("--health-port", str(port), "--grace", "60s")
    stage.until(lambda: ask(port, "/ready") == 200)
    assert ask(port, "/live") == 200
    assert ask(port, "/other") == 404

    (job,) = stage.enqueue(wait.job(gate="open"))
    stage.until_started(job)
    worker.terminate()
    stage.until(lambda: ask(port, "/ready") == 503)
    assert ask(port, "/live") == 200
    stage.journal.open_gate("open")
    assert worker.wait(within=30) == 0


def test_a_parent_answers_for_its_processes(stage: Stage) -> None:
    port = free_port()
    parent = stage.command("--health-port", str(port), "--processes", "2")
    stage.until(lambda: len(stage.rows_of(parent)) == 2)
    stage.until(lambda: ask(port, "/ready") == 200)
    assert ask(port, "/live") == 200


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int, path: str) -> int | None:
    """The status of a GET; None while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except ConnectionRefusedError:
        return None
    finally:
        connection.close()
