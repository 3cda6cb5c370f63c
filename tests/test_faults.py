"""What is promised when processes die, sleep or hang, and when the database goes away.

Real processes, real signals, a real server. A fault takes as long as it takes; nothing else here
waits for time to pass.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import pgqueue
from pgqueue.testing.databases import Databases
from pgqueue.worker.clock import boottime
from tests.postgres import Server
from tests.process import Stage, running
from tests.worker_tasks import (
    abort_in_child,
    abort_in_thread,
    abort_on_the_loop,
    block,
    blocking,
    deaf,
    effect,
    effect_for_a_while,
    overrun,
    overrun_in_child,
    quick,
    wait,
    wait_in_child,
    wait_in_thread,
    work,
    work_in_thread,
)

EFFECTS = "CREATE TABLE effects (job_id bigint, attempt bigint)"
RESCUE_SLACK = 6.0
"""Seconds after the end of a lease by which a job runs again."""
SHORT: dict[str, float] = {"lease": 3, "rescue_every": 1}


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


# A worker dies


def learn(stage: Stage) -> None:
    """Let workers see that jobs are short, so that they claim ahead."""
    stage.enqueue(*[quick.job() for _ in range(300)])
    stage.until_drained()


def test_acceptance_15_what_a_killed_worker_held_runs_again_once_within_the_lease_and_six_seconds(
    stage: Stage,
) -> None:
    lease = 3.0
    victim = stage.start(queues={"default": 3}, lease=lease)
    stage.ready(victim)
    learn(stage)
    begun = [wait.job(gate="open"), wait_in_thread.job(gate="open"), wait.job(gate="open")]
    jobs = stage.enqueue(*begun, *[quick.job() for _ in range(20)])
    stage.until_started(*jobs[:3])
    stage.until(lambda: stage.states().get("running") == len(jobs))
    survivor = stage.start(queues={"default": 3}, lease=lease)
    stage.ready(survivor)
    stage.journal.open_gate("open.2")

    killed_at = boottime()
    victim.kill()
    stage.until_drained()

    for job in jobs[:3]:
        assert stage.started(job) == [(1, victim.pid), (2, survivor.pid)]
    for job in jobs[3:]:
        assert stage.started(job) == [(2, survivor.pid)]
    for job in jobs:
        found = stage.job(job)
        assert (found.state, found.attempt, found.crashes, found.failures) == ("succeeded", 2, 1, 0)
        assert stage.attempts(job) == [(1, "lost")]
    last = max(entry.at for entry in stage.journal.entries() if entry.job in jobs)
    assert last - killed_at <= lease + RESCUE_SLACK


def test_one_job_that_aborts_its_process_costs_none_of_two_hundred_good_ones(stage: Stage) -> None:
    poison = abort_on_the_loop.job()
    good = [work.job(seconds=0.01) for _ in range(200)]
    jobs = stage.enqueue(*good[:20], poison, *good[20:])
    stage.start(processes=2, **SHORT)

    stage.until_drained(within=120)

    assert stage.states() == {"succeeded": 200, "dead": 1}
    dead = stage.job(jobs[20])
    assert (dead.state, dead.reason, dead.crashes, dead.failures) == ("dead", "crashed", 3, 0)
    assert stage.attempts(jobs[20]) == [(1, "lost"), (2, "lost"), (3, "lost")]
    assert len(stage.started(jobs[20])) == 3
    assert stage.value("SELECT max(failures) FROM pgqueue.finished_jobs") == 0


def test_a_job_that_aborts_from_a_thread_is_dead_after_its_crashes(stage: Stage) -> None:
    (poison,) = stage.enqueue(abort_in_thread.job().options(max_crashes=2))
    (good,) = stage.enqueue(work.job(seconds=0.01))
    stage.start(processes=2, **SHORT)

    stage.until_drained()

    assert stage.job(poison).reason == "crashed"
    assert stage.state(good) == "succeeded"


# A worker sleeps


def test_a_worker_that_slept_past_its_lease_can_change_nothing(stage: Stage) -> None:
    stage.sql(EFFECTS)
    sleeper = stage.start(queues={"default": 3}, **SHORT)
    stage.ready(sleeper)
    learn(stage)
    transactional, plain, thread, *buffered = stage.enqueue(
        effect.job(gate="effect"),
        wait.job(gate="plain"),
        wait_in_thread.job(gate="thread"),
        *[quick.job() for _ in range(7)],
    )
    everything = (transactional, plain, thread, *buffered)
    stage.until_started(transactional, plain, thread)
    stage.until(lambda: stage.states().get("running") == len(everything))

    sleeper.freeze()
    awake = stage.start(queues={"default": 3}, **SHORT)
    stage.until_started(transactional, plain, thread, attempt=2)
    for gate in ("effect.2", "plain.2"):
        stage.journal.open_gate(gate)
    for job in (transactional, plain, *buffered):
        stage.until_state(job, "succeeded")
    # What the sleeper had in hand: a job that is over, one that runs elsewhere, and a buffer.
    for gate in ("effect.1", "plain.1", "thread.1"):
        stage.journal.open_gate(gate)
    sleeper.thaw()
    stage.until(lambda: sleeper.log.count("outcome dropped") == len(everything))
    assert stage.state(thread) == "running"
    stage.journal.open_gate("thread")
    stage.until_state(thread, "succeeded")

    assert stage.sql("SELECT * FROM effects") == [(transactional, 2)]
    for job in everything:
        assert stage.attempts(job) == [(1, "lost")]
        assert stage.job(job).attempt == 2
    for job in (transactional, plain, thread):
        assert stage.started(job) == [(1, sleeper.pid), (2, awake.pid)]
    for job in buffered:
        assert stage.started(job) == [(2, awake.pid)]
    awake.kill()
    (later,) = stage.enqueue(quick.job())
    stage.until_state(later, "succeeded")
    assert stage.started(later) == [(1, sleeper.pid)]


def test_a_worker_that_slept_and_was_not_missed_goes_on_with_its_jobs(stage: Stage) -> None:
    sleeper = stage.start(**SHORT)
    stage.ready(sleeper)
    jobs = stage.enqueue(wait.job(gate="open"), wait_in_thread.job(gate="open"))
    stage.until_started(*jobs)

    sleeper.freeze()
    stage.until(
        lambda: stage.value("SELECT max(lease_until) < now() - interval '1 s' FROM pgqueue.jobs")
    )
    sleeper.thaw()
    stage.until(lambda: stage.value("SELECT min(lease_until) > now() FROM pgqueue.jobs"))
    stage.journal.open_gate("open")
    stage.until_drained()

    for job in jobs:
        assert stage.started(job) == [(1, sleeper.pid)]
        assert stage.attempts(job) == []


# A handler hangs


def test_a_blocked_event_loop_loses_no_lease(stage: Stage) -> None:
    lease = 2.0
    blocked = stage.start(lease=lease, rescue_every=1)
    stage.ready(blocked)
    neighbour, culprit = stage.enqueue(wait.job(gate="open"), block.job(seconds=3 * lease))
    stage.until_started(neighbour, culprit)
    stage.ready(stage.start(lease=lease, rescue_every=1))

    stage.until_state(culprit, "succeeded")
    stage.journal.open_gate("open")
    stage.until_state(neighbour, "succeeded")

    for job in (culprit, neighbour):
        assert stage.started(job) == [(1, blocked.pid)]
        assert stage.attempts(job) == []


def test_a_handler_that_cannot_be_ended_ends_its_process_after_the_rest_was_given_back(
    stage: Stage,
) -> None:
    handlers = {"one": deaf, "other": blocking}
    workers = {queue: stage.start(queues={queue: 10}, lease=3) for queue in handlers}
    stage.ready(*workers.values())
    neighbours, ended, culprits = {}, {}, {}
    for queue, handler in handlers.items():
        harmless = [wait.job(gate="open"), wait_in_thread.job(gate="open")]
        neighbours[queue] = stage.enqueue(*[job.options(queue=queue) for job in harmless])
        stage.until_started(*neighbours[queue])
        # The one is over, and not yet written, when the other hangs.
        ended[queue], culprits[queue] = stage.enqueue(
            quick.job().options(queue=queue), handler.job().options(queue=queue)
        )

    for queue, worker in workers.items():
        assert worker.wait(within=30) == 75
        for job in neighbours[queue]:
            found = stage.job(job)
            assert (found.state, found.failures, found.crashes) == ("available", 0, 0)
            assert stage.attempts(job) == [(1, "released")]
        assert stage.state(ended[queue]) == "succeeded"
        found = stage.job(culprits[queue])
        assert (found.state, found.reason, found.crashes) == ("dead", "timeout", 0)
        assert stage.attempts(culprits[queue]) == [(1, "timed_out")]


def test_a_row_that_a_handler_has_locked_keeps_no_other_from_being_given_back(
    stage: Stage,
) -> None:
    stage.sql(EFFECTS)
    worker = stage.start(lease=20, rescue_every=1)
    stage.ready(worker)
    (locked,) = stage.enqueue(
        effect.job(gate="never").options(metadata={"isolation": "REPEATABLE_READ"})
    )
    (neighbour,) = stage.enqueue(wait.job(gate="never"))
    stage.until_started(locked, neighbour)
    (culprit,) = stage.enqueue(deaf.job())

    assert worker.wait(within=40) == 75

    assert (stage.job(culprit).state, stage.job(culprit).reason) == ("dead", "timeout")
    assert stage.state(neighbour) == "available"
    assert stage.attempts(neighbour) == [(1, "released")]
    assert stage.state(locked) == "running", "left to its lease"


def test_a_thread_past_its_timeout_keeps_its_slot_until_it_ends(stage: Stage) -> None:
    worker = stage.start(queues={"default": 3}, lease=3)
    stage.ready(worker)
    (stuck,) = stage.enqueue(overrun.job(gate="end"))
    stage.until_state(stuck, "dead")
    assert stage.job(stuck).reason == "timeout"
    assert stage.attempts(stuck) == [(1, "timed_out")]
    assert stage.journal.entries("end", stuck) == []

    beside = stage.enqueue(*[wait.job(gate="first") for _ in range(3)])
    stage.until(lambda: len(stage.journal.entries("start")) == 3)
    # A claim that found a slot for the third would have taken it with the others.
    stage.until(lambda: stage.states().get("available") == 1)
    stage.journal.open_gate("end")
    stage.until_started(*beside)
    stage.journal.open_gate("first")
    stage.until_drained()

    ends = stage.journal.entries("end", stuck)
    third = stage.journal.entries("start")[3]
    assert third.at >= ends[0].at
    assert worker.exit_code is None


def test_a_worker_that_lost_half_its_slots_to_threads_drains_and_asks_for_a_restart(
    stage: Stage,
) -> None:
    worker = stage.start(queues={"default": 4}, lease=3, grace=20)
    stage.ready(worker)
    (running_on,) = stage.enqueue(wait.job(gate="open"))
    stuck = stage.enqueue(*[overrun.job(gate="never") for _ in range(2)])
    stage.until(lambda: "half the slots" in worker.log)
    (late,) = stage.enqueue(quick.job())
    stage.journal.open_gate("open")

    assert worker.wait(within=20) == 75

    assert [stage.job(job).reason for job in stuck] == ["timeout"] * 2
    assert stage.state(running_on) == "succeeded"
    assert (stage.state(late), stage.started(late)) == ("available", [])


# Process children


def test_a_crashed_child_is_charged_to_its_job_alone(stage: Stage) -> None:
    worker = stage.start(lease=3)
    stage.ready(worker)
    neighbours = stage.enqueue(*[wait_in_child.job(gate="open") for _ in range(2)])
    stage.until_started(*neighbours)
    (poison,) = stage.enqueue(abort_in_child.job())
    stage.until(lambda: stage.attempts(poison))
    assert [stage.state(job) for job in neighbours] == ["running"] * 2
    stage.journal.open_gate("open")

    stage.until_drained()

    assert stage.job(poison).reason == "crashed"
    assert stage.attempts(poison) == [(1, "crashed"), (2, "crashed"), (3, "crashed")]
    for job in neighbours:
        assert stage.job(job).attempt == 1
    assert worker.exit_code is None


def test_a_child_past_its_timeout_is_killed(stage: Stage) -> None:
    worker = stage.start(queues={"default": 1}, lease=3)
    stage.ready(worker)
    stuck, following = stage.enqueue(overrun_in_child.job(), wait_in_child.job(gate="open"))
    stage.journal.open_gate("open")

    stage.until_drained()

    assert stage.job(stuck).reason == "timeout"
    assert stage.attempts(stuck) == [(1, "timed_out")]
    assert stage.state(following) == "succeeded"
    ((_, child),) = stage.started(stuck)
    assert child != worker.pid
    stage.until(lambda: not running({child}))


def test_a_child_dies_with_its_killed_worker(stage: Stage) -> None:
    worker = stage.start(**SHORT)
    stage.ready(worker)
    waiting, spinning = stage.enqueue(
        wait_in_child.job(gate="open"), overrun_in_child.job().options(timeout=300)
    )
    stage.until_started(waiting, spinning)
    children = {pid for job in (waiting, spinning) for _, pid in stage.started(job)}
    assert running(children) == children

    worker.kill()
    stage.until(lambda: not running(children), within=10)


# The database goes away


@pytest.fixture
def fragile(own_server: Server, tmp_path: Path) -> Iterator[Stage]:
    """A stage on a server that may be stopped."""
    with Stage(Databases(own_server.dsn()).create_migrated(), tmp_path) as stage:
        yield stage


OUTAGE = 45.0
"""Seconds: three leases."""


def test_an_outage_of_three_leases_under_load_loses_nothing_and_robs_nobody(
    fragile: Stage, own_server: Server
) -> None:
    stage, lease = fragile, OUTAGE / 3
    stage.sql(EFFECTS)
    workers = [stage.start(queues={"default": 30}, lease=lease) for _ in range(2)]
    stage.ready(*workers)
    # Some end while there is no database, some after it is back.
    jobs = stage.enqueue(
        *[work.job(seconds=seconds) for seconds in (1, 5, 20, 44, 46, 50, 55) for _ in range(3)],
        *[work_in_thread.job(seconds=seconds) for seconds in (5, 30, 50)],
        *[wait_in_child.job(gate="up") for _ in range(2)],
    )
    effects = stage.enqueue(*[effect_for_a_while.job(seconds=seconds) for seconds in (5, 10)])
    stage.until_started(*jobs, *effects)
    load = Load(stage.dsn)
    stage.until(lambda: len(load.enqueued) > 1000)

    stage.disconnect()
    own_server.stop()
    time.sleep(OUTAGE)
    own_server.start()
    stage.journal.open_gate("up")
    stage.until(lambda: load.is_connected_again)
    enqueued = load.end()
    stage.until_drained(within=120)

    everything = {*jobs, *effects, *enqueued}
    succeeded = stage.sql("SELECT id FROM pgqueue.finished_jobs WHERE state = 'succeeded'")
    assert everything <= {row[0] for row in succeeded}
    assert stage.states().keys() == {"succeeded"}
    assert stage.sql("SELECT * FROM pgqueue.attempts WHERE outcome = 'lost'") == []
    assert stage.value("SELECT max(crashes) FROM pgqueue.finished_jobs") == 0
    starts = Counter(entry.job for entry in stage.journal.entries("start"))
    assert [job for job in everything.difference(effects) if starts[job] != 1] == []
    for job in jobs:
        assert stage.job(job).attempt == 1
    written = Counter(row[0] for row in stage.sql("SELECT job_id FROM effects"))
    assert written == dict.fromkeys(effects, 1)
    assert [worker.exit_code for worker in workers] == [None, None]
    assert stage.value("SELECT count(*) FROM pgqueue.workers") == 2


class Load:
    """Enqueues without end, whatever happens to the database; knows what was acknowledged."""

    def __init__(self, dsn: str) -> None:
        self.enqueued: list[int] = []
        self.is_connected_again = False
        self._dsn = dsn
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> list[int]:
        """Stop; return the ids of the jobs whose commit was acknowledged."""
        self._ending.set()
        self._thread.join()
        return self.enqueued

    def _run(self) -> None:
        failed = False
        while not self._ending.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    while not self._ending.is_set():
                        batch = pgqueue.enqueue_many(connection, [quick.job() for _ in range(5)])
                        self.enqueued += [job.id for job in batch]
                        self.is_connected_again = failed
                        self._ending.wait(0.005)
            except psycopg.OperationalError:
                failed = True
                self._ending.wait(0.1)


def test_connections_lost_at_random_lose_no_job_and_repeat_none_without_a_recorded_cause(
    stage: Stage,
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage.sql(EFFECTS)
    # A lease so long that nothing here can be mended by a rescue.
    workers = [stage.start(queues={"default": 5}, lease=120) for _ in range(2)]
    stage.ready(*workers)
    load = Load(stage.dsn)
    slow = stage.enqueue(*[work.job(seconds=0.05) for _ in range(300)])
    effects = stage.enqueue(*[effect_for_a_while.job(seconds=0.05) for _ in range(60)])
    terminated: Counter[str] = Counter()
    try:
        while terminated.total() < 30 or len(terminated) < 5:
            rows = stage.sql(
                "SELECT application_name FROM ("
                " SELECT application_name, pid FROM pg_stat_activity"
                " WHERE datname = current_database()"
                " AND application_name IN ('pgqueue:pump', 'pgqueue:heartbeat', 'application',"
                " 'pgqueue:maintenance', 'pgqueue:listener') ORDER BY application_name, pid"
                " OFFSET %s LIMIT 1"
                ") AS victim WHERE pg_terminate_backend(pid)",
                chance.randrange(8),
            )
            terminated.update(row[0] for row in rows)
            time.sleep(chance.uniform(0.01, 0.15))
            if terminated.total() > 20 and len(terminated) < 5:
                effects += stage.enqueue(effect_for_a_while.job(seconds=0.2))
    finally:
        enqueued = load.end()
    stage.until_drained(within=90)

    everything = {*slow, *effects, *enqueued}
    assert stage.states() == {"succeeded": len(everything)}
    recorded = set(stage.sql("SELECT job_id, attempt FROM pgqueue.attempts"))
    finished = set(stage.sql("SELECT id, attempt FROM pgqueue.finished_jobs"))
    starts = Counter((entry.job, entry.attempt) for entry in stage.journal.entries("start"))
    assert {entry for entry, times in starts.items() if times > 1} == set()
    assert starts.keys() <= recorded | finished
    assert {job for job, _ in starts} == everything
    assert stage.sql("SELECT * FROM pgqueue.attempts WHERE outcome = 'lost'") == []
    written = Counter(row[0] for row in stage.sql("SELECT job_id FROM effects"))
    assert written == dict.fromkeys(effects, 1)


def listeners(stage: Stage) -> int:
    return int(
        stage.value(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgqueue:listener'"
            " AND datname = current_database() AND query LIKE '%pg_listening_channels%'"
        )
    )


def terminate_listener(stage: Stage) -> None:
    assert stage.value(
        "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE application_name = 'pgqueue:listener' AND datname = current_database()"
    )


def test_a_listener_that_lost_its_connection_hears_again(stage: Stage) -> None:
    # Neither the poll nor the renewal would show a cancellation in time.
    worker = stage.start(lease=120, poll=30)
    stage.ready(worker)
    for _ in range(3):
        stage.until(lambda: listeners(stage) == 1)
        terminate_listener(stage)
        stage.until(lambda: listeners(stage) == 0)
    stage.until(lambda: listeners(stage) == 1)

    (job,) = stage.enqueue(wait.job(gate="never"))
    stage.until_started(job)
    asked_at = boottime()
    assert stage.value("SELECT pgqueue.cancel(%s)", job) == "requested"
    stage.until_state(job, "cancelled")

    assert stage.journal.entries("cancelled", job)[0].at - asked_at < 10


def test_jobs_nobody_rang_for_are_picked_up_within_the_poll(stage: Stage) -> None:
    poll = 1.0
    worker = stage.start(poll=poll)
    stage.ready(worker)
    delays = []
    for round in range(5):
        stage.until(lambda: listeners(stage) == 1)
        if round % 2:
            terminate_listener(stage)
        with psycopg.connect(stage.dsn, autocommit=True) as connection:
            asked_at = boottime()
            job = pgqueue.enqueue(connection, quick.job(), notify=False).id
        stage.until_state(job, "succeeded")
        delays.append(stage.journal.entries("start", job)[0].at - asked_at)

    assert sorted(delays)[2] <= poll + 0.5
    assert max(delays) <= poll + 3, delays


@pytest.mark.parametrize("level", ["READ_COMMITTED", "REPEATABLE_READ", "SERIALIZABLE"])
def test_a_transaction_of_two_leases_commits_once_at_each_isolation_level(
    stage: Stage, level: str
) -> None:
    stage.sql(EFFECTS)
    workers = [stage.start(lease=2, rescue_every=1) for _ in range(2)]
    stage.ready(*workers)
    jobs = stage.enqueue(
        *[
            effect_for_a_while.job(seconds=4).options(metadata={"isolation": level})
            for _ in range(3)
        ]
    )

    stage.until_drained()

    assert sorted(stage.sql("SELECT * FROM effects")) == [(job, 1) for job in sorted(jobs)]
    for job in jobs:
        assert len(stage.started(job)) == 1
