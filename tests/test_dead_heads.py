"""What makes the head of a queue slow must not matter: an old snapshot that is held, a crowd of
jobs that nobody knows. Jobs are claimed past it, and what comes in behind is found all the same."""

import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgqueue import NewJob, Tasks, enqueue, enqueue_many
from pgqueue.job import Job
from pgqueue.storage import claiming, jobs
from pgqueue.storage.claiming import (
    Band,
    Behind,
    Found,
    Head,
    find_behind,
    find_horizon,
    search_head,
)
from pgqueue.storage.connect import SESSION
from pgqueue.storage.drivers import run
from pgqueue.storage.operation import Operation, Row, Statement
from pgqueue.worker import cursors
from pgqueue.worker.claimer import Claim, Claimer
from pgqueue.worker.clock import boottime
from pgqueue.worker.crew import Crew
from pgqueue.worker.cursors import Cursors, Search, Sweep
from pgqueue.worker.executor import Executor
from pgqueue.worker.lane import AHEAD_BYTES
from pgqueue.worker.outlook import Outlook
from tests.rows import WORKER

Connection = psycopg.Connection[Any]

BURIED = """
WITH buried AS (
    INSERT INTO pgqueue.jobs (
        state, queue, task, priority, run_at, created_at, max_attempts, max_crashes, keep, args)
    SELECT 'available', 'default', 'work', %(priority)s,
        coalesce(%(run_at)s, clock_timestamp()), now(), 5, 3, '1 day', '{}'
    FROM generate_series(1, %(jobs)s)
    RETURNING id
)
SELECT count(*) FROM buried
"""


@pytest.fixture
def worker(dsn: str) -> Iterator[Connection]:
    """A worker's own connection."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SESSION, {"local": False})
        yield connection


@contextmanager
def snapshot_held(dsn: str) -> Iterator[None]:
    with psycopg.connect(dsn) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM pgqueue.jobs")
        yield


def bury(
    connection: Connection, jobs: int, run_at: datetime | None = None, *, priority: int = 100
) -> None:
    """Put dead rows at the head of the queue, that cannot be cleaned up."""
    connection.execute(BURIED, {"jobs": jobs, "run_at": run_at, "priority": priority})
    connection.execute("DELETE FROM pgqueue.jobs")


class Desk:
    """A claimer and the connection it claims on, without the rest of a worker.

    *lags*: the answer to each claim is read when the next one was sent, as a busy worker does, and
    a look is under way meanwhile."""

    def __init__(self, connection: Connection, *, slots: int = 10, lags: bool = False) -> None:
        tasks = Tasks()
        tasks.task("work")(lambda: None)
        self.connection = connection
        self.slots = slots
        self.unread: deque[tuple[Claim, list[Row]]] = deque()
        self.looked: deque[tuple[Sweep, list[Row]]] = deque()
        self.lag = 1 if lags else 0
        self.crew = Crew(
            queues={"default": slots},
            prefetch=0,
            executor=Executor(tasks, threads=1),
            on_start=lambda job, moment: None,
            on_outcome=lambda outcome: None,
            is_fresh=lambda hold: True,
            on_stale=lambda: None,
        )
        lease = timedelta(minutes=5)
        self.claimer = Claimer(self.crew, worker_id=WORKER, tasks=tasks, lease=lease)

    def claim(self) -> list[Job]:
        """One turn: what the pump would send and read, and the scout beside it."""
        claim = self.claimer.claim({"default": self.slots})
        self.unread.append((claim, self.connection.execute(*claim.statement).fetchall()))
        self.look()
        if len(self.unread) <= self.lag:
            return []
        claimed = self.claimer.claimed(*self.unread.popleft())
        assert len(claimed) <= self.slots, "wherever they were found"
        return claimed

    def look(self) -> None:
        """A look behind the cursors, if it is time."""
        past = self.claimer.cursors
        if len(self.looked) <= self.lag and not past.due_in(boottime()):
            sweep = past.sweep()
            look = find_behind(
                limits=sweep.limits,
                tasks=["work"],
                bands=past.places(),
                high=sweep.high,
                size=sweep.size,
                turn=1,
            )
            self.looked.append((sweep, self.connection.execute(*next(look)).fetchall()))
        if len(self.looked) > self.lag:
            sweep, rows = self.looked.popleft()
            past.swept(sweep, claiming.behind(rows), boottime())

    def claim_until(self, wanted: set[int], turns: int = 5_000) -> set[int]:
        """Claim until all of *wanted* were found; return what else was."""
        others: set[int] = set()
        for _ in range(turns):
            ids = {job.id for job in self.claim()}
            others |= ids - wanted
            wanted = wanted - ids
            if not wanted:
                return others
        raise AssertionError(f"not found: {wanted}")

    def slow_down(self) -> None:
        """Claim until the head has been found slow."""
        for _ in range(10):
            self.claim()
            if self.claimer.cursors.in_use:
                return
        raise AssertionError("the head of the queue is not slow")

    def try_head(self) -> None:
        """Search the head again, as it will be one day."""
        trial = self.claimer.cursors.next_trial()
        assert trial
        assert trial.limit == self.slots
        head = run(self.connection, search_head(queue=trial.queue, tasks=["work"], limit=10))
        self.claimer.cursors.tried(trial.queue, head, boottime())


def add(connection: Connection, count: int = 1, **options: Any) -> list[int]:
    job = NewJob("work").options(**options)
    return [enqueued.id for enqueued in enqueue_many(connection, [job] * count)]


def test_a_healthy_queue_is_searched_from_its_head(worker: Connection) -> None:
    add(worker, 500)
    desk = Desk(worker)
    claimed = [job.id for _ in range(50) for job in desk.claim()]
    assert claimed == sorted(claimed)
    assert len(claimed) == 500
    assert not desk.claimer.cursors.in_use


def test_the_time_of_a_search_is_without_that_of_the_writing(worker: Connection) -> None:
    add(worker, 10)
    worker.execute(
        "CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(0.02); RETURN new; END $$"
    )
    worker.execute(
        "CREATE TRIGGER dawdle BEFORE UPDATE ON pgqueue.jobs"
        " FOR EACH ROW EXECUTE FUNCTION public.dawdle()"
    )
    claim = claiming.claim(
        worker_id=WORKER, limits={"default": 10}, tasks=["work"], lease=timedelta(seconds=30)
    )
    claimed = run(worker, claim)
    assert len(claimed.jobs) == 10
    assert claimed.search_us < 100_000


def test_past_a_dead_head_jobs_are_claimed_in_their_order(dsn: str, worker: Connection) -> None:
    with snapshot_held(dsn):
        bury(worker, 60_000)
        ids = add(worker, 300)
        desk = Desk(worker)
        found: list[int] = []
        while len(found) < 300:
            found += [job.id for job in desk.claim()]
        assert found == ids
        assert desk.claimer.cursors.in_use


@pytest.mark.parametrize("priority", [100, 7, 30_000], ids=["usual", "urgent", "low"])
def test_past_a_dead_head_a_claim_reads_only_what_it_takes(
    dsn: str, worker: Connection, priority: int
) -> None:
    """Whatever priority the dead had, that nobody has any more."""
    with snapshot_held(dsn):
        bury(worker, 60_000, priority=priority)
        desk = Desk(worker)
        desk.slow_down()
        desk.try_head()
        search = search_head(queue="default", tasks=["work"], limit=10)
        assert pages(worker, next(search)) > 1_000, "the head is slow indeed"

        add(worker, 5)
        assert buffers(desk) < 500
        assert len(desk.claim()) == 5


def buffers(desk: Desk) -> int:
    """How many pages the next claim touches."""
    return pages(desk.connection, desk.claimer.claim({"default": 10}).statement)


def pages(connection: Connection, statement: Statement) -> int:
    """How many pages *statement* touches; it is rolled back."""
    with connection.transaction(force_rollback=True):
        row = connection.execute(
            b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.sql.encode(), statement.params
        ).fetchone()
    assert row
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize(
    "run_at", [None, datetime(2026, 1, 1, tzinfo=UTC)], ids=["steady", "at once"]
)
def test_what_looks_at_the_jobs_that_wait_passes_a_dead_head_once(
    dsn: str, worker: Connection, run_at: datetime | None
) -> None:
    with snapshot_held(dsn):
        bury(worker, 30_000, run_at)
        add(worker, 20, run_at=run_at)
        add(worker, 20, priority=7)
        once = pages(worker, Statement("SELECT * FROM pgqueue.waiting_bands()", {}))
        assert once > 500, "the head is long indeed"
        for look in (
            "SELECT * FROM pgqueue.waiting_ages()",
            "SELECT * FROM pgqueue.find_unserved()",
            "SELECT * FROM pgqueue.count_queues()",
            "SELECT * FROM pgqueue.measure_backlogs()",
        ):
            assert pages(worker, Statement(look, {})) < 1.5 * once, look


def a_job(job_id: int) -> Job:
    """One of queue "slow", of this year's first moment."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Job(job_id, 1, "slow", "work", 100, moment, moment, 0, 0, 5, 3, None, None, "{}", None)


class Clerk:
    """Cursors, without a database: told how long the claims took."""

    def __init__(self, *queues: str) -> None:
        self.cursors = Cursors({queue: [100] for queue in queues})
        self.now = 0.0

    def claim(
        self,
        *queues: str,
        slow: Collection[str] = (),
        paused: Collection[str] = (),
        jobs: Sequence[Job] = (),
    ) -> Search:
        """A claim that is slow if it searches one of these heads."""
        search = self.cursors.search(dict.fromkeys(queues, 10))
        took = 50_000 if (search.from_head - set(paused)).intersection(slow) else 50
        self.answer(search, took=took, jobs=jobs, paused=paused)
        return search

    def answer(
        self,
        search: Search,
        *,
        took: int = 50,
        jobs: Sequence[Job] = (),
        paused: Collection[str] = (),
    ) -> None:
        """What a claim that began there came to, so many microseconds later."""
        claimed = claiming.Claimed(list(jobs), took, datetime.now(UTC), frozenset(paused))
        self.cursors.searched(search, claimed, self.now)
        self.now += 0.01

    def sweep(self, *ids: int) -> bool:
        """A look that finds these jobs of queue "slow"; return whether there are new ones."""
        found = [Found(job_id, "slow", 100, a_job(job_id).run_at) for job_id in ids]
        planned = self.cursors.sweep()
        return self.cursors.swept(planned, Behind(found, 1, 100), self.now)

    def try_heads(self, *, slow: Collection[str] = ()) -> int:
        """The trials that are due; return how many."""
        trials = 0
        while (trial := self.cursors.next_trial()) and trial.at <= self.now:
            took = 50_000 if trial.queue in slow else 50
            self.cursors.tried(trial.queue, Head(trial.limit, took), self.now)
            trials += 1
        return trials

    def left(self) -> set[str]:
        return set(self.cursors.queues)


def test_a_slow_head_is_left_although_the_claims_of_another_queue_are_fast() -> None:
    clerk = Clerk("slow", "fast")
    for _ in range(3):
        clerk.claim("slow", "fast", slow=["slow"])
        clerk.claim("fast", slow=["slow"])
    assert clerk.left() == {"slow"}


def test_each_queue_has_its_own_head_and_tries_it_by_itself() -> None:
    clerk = Clerk("slow", "fast")
    for _ in range(3):
        clerk.claim("slow", "fast", slow=["slow"])
    assert clerk.left() == {"slow", "fast"}, "nobody knows yet which it was"
    for _ in range(1_000):
        clerk.claim("slow", "fast", slow=["slow"])
        clerk.try_heads(slow=["slow"])
    assert clerk.left() == {"slow"}
    for _ in range(10_000):
        clerk.claim("slow", "fast")
        clerk.try_heads()
    assert clerk.left() == set()


def test_no_claim_searches_a_head_that_was_left_until_a_trial_of_it_was_fast() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    trials = 0
    for _ in range(60_000):
        assert clerk.claim("slow", slow=["slow"]).from_head == set()
        trials += clerk.try_heads(slow=["slow"])
    assert 10 <= trials <= 15, "seldom, in ten minutes"
    clerk.now += 60
    clerk.try_heads()
    assert clerk.claim("slow").from_head == {"slow"}


def test_a_trial_of_a_long_head_waits_so_long_that_it_takes_a_fiftieth_of_the_time() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    clerk.cursors.tried("slow", Head(10, 2_000_000), clerk.now)
    trial = clerk.cursors.next_trial()
    assert trial
    assert trial.at == pytest.approx(clerk.now + 100)


def test_claims_that_stay_slow_though_trials_are_fast_return_to_the_head_ever_more_seldom() -> None:
    """As where others have locked what stands there: a trial locks nothing."""
    clerk = Clerk("slow")
    from_head = 0
    for _ in range(60_000):
        from_head += len(clerk.claim("slow", slow=["slow"]).from_head)
        clerk.try_heads()
    assert 3 * 10 <= from_head <= 3 * 15, "three claims for each trial of ten minutes"
    for _ in range(6_000):
        clerk.claim("slow")
        clerk.try_heads()
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    trial = clerk.cursors.next_trial()
    assert trial
    assert trial.at < clerk.now + 3, "what was is forgotten once claims were fast"


def test_a_pause_says_nothing_of_the_head_of_its_queue() -> None:
    clerk = Clerk("slow", "other")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    clerk.cursors.tried("slow", Head(10, 50), clerk.now)
    clerk.claim("slow", "other", paused=["slow"])
    for _ in range(3):
        clerk.claim("slow", "other", slow=["slow", "other"], paused=["slow"])
    assert clerk.left() == {"other"}


def test_the_answer_to_a_claim_names_the_queues_that_are_paused(worker: Connection) -> None:
    add(worker, 3)
    add(worker, 3, queue="odd, name")
    worker.execute("SELECT pgqueue.pause('odd, name')")
    limits = {"default": 5, "odd, name": 5, "third": 5}
    claim = claiming.claim(
        worker_id=WORKER, limits=limits, tasks=["work"], lease=timedelta(seconds=30)
    )
    claimed = run(worker, claim)
    assert claimed.paused == {"odd, name"}
    assert {job.queue for job in claimed.jobs} == {"default"}


def test_what_a_sweep_finds_is_kept_for_the_next_claim_of_its_queue_unless_it_may_be_more() -> None:
    clerk = Clerk("slow", "other")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    (start,) = clerk.cursors.places()
    clerk.sweep(*range(9))
    assert clerk.claim("other").found == {}
    assert clerk.cursors.places() == [start]
    assert clerk.cursors.search({"slow": 4}).found == {"slow": {0, 1, 2, 3}}
    clerk.sweep(20, 21, 22, 23, 24)
    assert clerk.cursors.places() == [Band("slow", 100, datetime(2026, 1, 1, tzinfo=UTC), 19)]
    assert clerk.cursors.search({"slow": 10}).found == {"slow": {4, 5, 6, 7, 8}}


def test_what_a_full_queue_has_left_does_not_concern_the_claims_of_the_others() -> None:
    clerk = Clerk("full", "other")
    for _ in range(3):
        clerk.claim("full", slow=["full"])
    for _ in range(10_000):
        search = clerk.claim("other", slow=["full"])
        assert search == Search({"other": 10}, frozenset({"other"}), {}, {})
    assert clerk.left() == {"full"}


def test_a_cursor_that_went_back_is_not_moved_by_a_claim_that_began_ahead_of_it() -> None:
    def place(job_id: int) -> Band:
        return Band("slow", 100, datetime(2026, 1, 1, tzinfo=UTC), job_id)

    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    clerk.claim("slow", jobs=[a_job(1000)])
    ahead = clerk.cursors.search({"slow": 10})
    clerk.sweep(*range(500, 520))
    assert clerk.cursors.places() == [place(499)]

    clerk.answer(ahead, jobs=[a_job(1001)])
    assert clerk.cursors.places() == [place(499)]
    clerk.answer(ahead, took=50_000)
    assert clerk.cursors.places() == [place(499)], "it has not searched what lies between"
    clerk.claim("slow", jobs=[a_job(519)])
    assert clerk.cursors.places() == [place(519)]


def test_looks_behind_the_cursors_take_a_twentieth_of_the_time() -> None:
    clerk = Clerk("slow", "other")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    assert clerk.cursors.due_in(clerk.now) == 0
    clerk.cursors.swept(clerk.cursors.sweep(), Behind([], 1, 1000), clerk.now)
    assert clerk.cursors.due_in(clerk.now) == pytest.approx(0.028)
    clerk.cursors.swept(clerk.cursors.sweep(), Behind([], 1, None), clerk.now)
    assert clerk.cursors.due_in(clerk.now) == 1, "another worker looks"
    for _ in range(3):
        clerk.claim("other", slow=["other"])
    assert clerk.cursors.due_in(clerk.now) == 0, "another head was left"


def test_what_a_look_finds_again_is_nothing_new() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    start = clerk.cursors.places()
    assert clerk.sweep(*range(5))
    for _ in range(100):
        assert not clerk.sweep(*range(5))
    assert clerk.sweep(*range(6))
    assert clerk.cursors.places() == start
    assert clerk.cursors.search({"slow": 10}).found == {"slow": {0, 1, 2, 3, 4, 5}}


def test_what_a_look_finds_of_a_queue_that_went_back_to_its_head_does_not_hide_the_rest() -> None:
    clerk = Clerk("slow", "other")
    for _ in range(3):
        clerk.claim("slow", "other", slow=["slow", "other"])
    sweep = clerk.cursors.sweep()
    clerk.cursors.tried("other", Head(10, 50), clerk.now)
    moment = a_job(0).run_at
    found = [Found(1, "other", 100, moment), Found(2, "slow", 100, moment)]
    assert clerk.cursors.swept(sweep, Behind(found, 1, 100), clerk.now)
    assert clerk.cursors.search({"slow": 10}).found == {"slow": {2}}


def test_a_trial_searches_for_as_many_jobs_as_the_last_claim() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    clerk.cursors.search({"slow": 3})
    trial = clerk.cursors.next_trial()
    assert trial
    assert trial.limit == 3


def test_cursors_that_nobody_can_look_behind_are_given_up() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    on_its_way = clerk.cursors.search({"slow": 10})
    sweep = clerk.cursors.sweep()
    clerk.cursors.give_up()
    clerk.cursors.swept(sweep, Behind([Found(1, "slow", 100, a_job(1).run_at)], 1, 100), clerk.now)
    clerk.answer(on_its_way, took=50_000, jobs=[a_job(1)])
    assert clerk.claim("slow", slow=["slow"]).from_head == {"slow"}
    assert clerk.left() == set()


def test_a_few_that_a_look_finds_are_claimed_by_their_ids_however_few_are_wanted() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    start = clerk.cursors.places()
    assert clerk.cursors.search({"slow": 1}).found == {"slow": set()}
    clerk.sweep(1, 2)
    assert clerk.cursors.search({"slow": 1}).found == {"slow": {1}}
    assert clerk.cursors.places() == start


@pytest.mark.parametrize("answers", [(50, 50_000), (50_000, 50)])
def test_a_claim_of_the_head_that_is_answered_after_it_was_left_changes_nothing(
    answers: Sequence[int],
) -> None:
    clerk = Clerk("slow")
    late = clerk.cursors.search({"slow": 10})
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    places = clerk.cursors.places()
    for took in answers:
        clerk.answer(late, took=took)
    assert clerk.left() == {"slow"}
    assert clerk.cursors.places() == places


def test_a_cursor_is_not_moved_by_jobs_that_were_claimed_by_their_ids() -> None:
    clerk = Clerk("slow")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    clerk.claim("slow", jobs=[a_job(1000)])
    clerk.sweep(900)
    clerk.sweep(*range(500, 520))
    back = clerk.cursors.places()
    assert back == [Band("slow", 100, a_job(0).run_at, 499)]

    claim = clerk.cursors.search({"slow": 1})
    clerk.answer(claim, jobs=[a_job(900)])
    assert clerk.cursors.places() == back
    clerk.sweep(*range(8))
    claim = clerk.cursors.search({"slow": 8})
    clerk.answer(claim, took=50_000)
    assert clerk.cursors.places() == back, "there was no room for a search of the bands"
    clerk.sweep(1)
    claim = clerk.cursors.search({"slow": 3})
    clerk.answer(claim, jobs=[a_job(1)._replace(priority=200), a_job(500)], took=50_000)
    assert clerk.cursors.places() == [Band("slow", 100, a_job(0).run_at, 500)], "there may be more"


@pytest.mark.parametrize("begun", [False, True])
def test_a_sweep_that_began_before_another_head_was_left_does_not_count_for_it(
    begun: bool,
) -> None:
    clerk = Clerk("slow", "other")
    for _ in range(3):
        clerk.claim("slow", slow=["slow"])
    if begun:
        first = clerk.cursors.sweep()
        clerk.cursors.swept(first, Behind([], 70_000, 1000), clerk.now)
    before = clerk.cursors.sweep()
    for _ in range(3):
        clerk.claim("other", slow=["other"])
    late = [Found(1, "slow", 100, a_job(1).run_at)]
    assert clerk.cursors.swept(before, Behind(late, 0, 1000), clerk.now), (
        "it found one all the same"
    )
    assert clerk.cursors.bound is None
    assert clerk.cursors.sweep().high is None


@pytest.mark.parametrize("lags", [False, True])
@pytest.mark.parametrize("priority", [None, 3, 30_000], ids=["usual", "new, urgent", "new, low"])
def test_a_job_that_committed_late_is_found_behind_the_cursor(
    dsn: str, worker: Connection, priority: int | None, lags: bool
) -> None:
    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        late = enqueue(application, NewJob("work", priority=priority)).id
        bury(worker, 60_000)
        desk = Desk(worker, lags=lags)
        desk.slow_down()
        add(worker, 100)
        desk.claim()
        application.commit()

        assert len(desk.claim_until({late})) <= 110


@pytest.mark.parametrize("lags", [False, True])
def test_many_that_committed_late_are_claimed_as_fast_as_others_once_they_are_found(
    dsn: str, worker: Connection, lags: bool
) -> None:
    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        bury(worker, 60_000)
        late = [
            each.id for each in enqueue_many(application, [NewJob("work", queue="default")] * 1_000)
        ]
        desk = Desk(worker, lags=lags)
        desk.slow_down()
        for _ in range(20):  # from behind them
            add(worker, 10)
            desk.claim()
        application.commit()
        # A hundred claims, once a look has come by. Ten a look would take 15,000 turns.
        desk.claim_until(set(late), turns=3_000)


def test_a_slow_claim_that_its_bytes_cut_short_has_not_found_the_end_of_its_queue(
    dsn: str, worker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with snapshot_held(dsn):
        bury(worker, 60_000)
        desk = Desk(worker)
        desk.slow_down()
        desk.claim()
        monkeypatch.setattr(cursors, "_SLOW_US", -(10**9))  # as on a machine that stands still
        large = NewJob("work", args=json.dumps({"text": "x" * 1_500_000}))
        added = [each.id for each in enqueue_many(worker, [large] * 8)]
        desk.claimer.cursors._sweep_at = boottime() + 3600
        first, second = [job.id for job in desk.claim()], [job.id for job in desk.claim()]
        assert first == added[: len(first)]
        assert 0 < len(first) < 8
        assert second == added[len(first) :]


def test_what_was_found_behind_the_cursors_is_claimed_within_the_bytes_that_may_be_held(
    dsn: str, worker: Connection
) -> None:
    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        bury(worker, 60_000)
        large = NewJob("work", args=json.dumps({"text": "x" * 1_500_000}))
        late = {each.id for each in enqueue_many(application, [large] * 8)}
        desk = Desk(worker)
        desk.slow_down()
        add(worker, 10)
        desk.claim()
        application.commit()
        until = boottime() + 30
        while late and boottime() < until:
            claimed = desk.claim()
            assert sum(len(job.args) for job in claimed) <= AHEAD_BYTES // 2
            late -= {job.id for job in claimed}
        assert not late


def test_a_job_that_commits_a_moment_after_a_slow_search_needs_no_sweep(
    dsn: str, worker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursors, "_RECENT", timedelta(seconds=60))  # however slow the machine
    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        bury(worker, 60_000, datetime.now(UTC) - timedelta(hours=1))
        late = enqueue(application, NewJob("work")).id
        desk = Desk(worker)
        desk.slow_down()
        desk.claimer.cursors._sweep_at = boottime() + 3600
        application.commit()
        assert [job.id for job in desk.claim()] == [late]
        assert buffers(desk) < 500, "and it is passed as well"


@pytest.mark.parametrize("lags", [False, True])
def test_jobs_that_were_given_back_are_found_behind_the_cursor(
    dsn: str, worker: Connection, lags: bool
) -> None:
    with snapshot_held(dsn):
        bury(worker, 60_000)
        desk = Desk(worker, lags=lags)
        desk.slow_down()
        first = add(worker, 50)
        desk.claim_until(set(first))
        worker.execute(
            "UPDATE pgqueue.jobs SET state = 'available', lease_until = NULL WHERE id = ANY(%s)",
            [first],
        )

        assert desk.claim_until(set(first)) == set()


def test_a_hundred_thousand_jobs_that_nobody_knows_are_walked_over_once_in_a_while(
    worker: Connection,
) -> None:
    enqueue_many(worker, [NewJob("unknown")] * 50_000)
    enqueue_many(worker, [NewJob("unknown")] * 50_000)
    desk = Desk(worker)
    desk.slow_down()
    ids = add(worker, 20)

    assert buffers(desk) < 500
    assert desk.claim_until(set(ids), turns=5) == set()


@pytest.mark.parametrize("last_id", [1, 10**12], ids=["a new table", "an old one"])
def test_the_sweep_comes_round_and_says_how_long_it_took(
    dsn: str, worker: Connection, last_id: int
) -> None:
    worker.execute("SELECT setval('pgqueue.jobs_id_seq', %s)", [last_id])
    with snapshot_held(dsn):
        bury(worker, 60_000)
        desk = Desk(worker)
        desk.slow_down()
        until = boottime() + 30
        while desk.claimer.cursors.bound is None and boottime() < until:
            desk.claim()
        assert desk.claimer.cursors.bound is not None


def test_once_the_head_is_clean_it_is_searched_again(dsn: str, worker: Connection) -> None:
    with snapshot_held(dsn):
        bury(worker, 60_000)
        desk = Desk(worker)
        desk.slow_down()
    worker.execute("VACUUM pgqueue.jobs")
    desk.try_head()

    assert not desk.claimer.cursors.in_use


def test_who_holds_the_old_snapshot_is_named(dsn: str, worker: Connection) -> None:
    """Through the driver: what a worker says when it begins to claim past a dead head."""
    with snapshot_held(dsn):
        for _ in range(20):  # younger transactions
            add(worker)
        assert "in a transaction since" in str(run(worker, find_horizon()))


def test_a_paused_queue_and_an_expired_job_stay_where_they_are(
    dsn: str, worker: Connection
) -> None:
    with snapshot_held(dsn):
        bury(worker, 60_000)
        desk = Desk(worker)
        desk.slow_down()
        expired, waiting = add(worker), add(worker)
        worker.execute(
            "UPDATE pgqueue.jobs SET expires_at = now() - interval '1 s' WHERE id = %s", expired
        )
        worker.execute("SELECT pgqueue.pause('default')")
        desk.claimer.cursors._left["default"].found.update(dict.fromkeys(expired + waiting))
        assert desk.claim() == []
        worker.execute("SELECT pgqueue.resume('default')")
        desk.claimer.cursors._left["default"].found.update(dict.fromkeys(expired + waiting))
        assert [job.id for job in desk.claim()] == waiting


# The chores


AGED = """
UPDATE pgqueue.jobs
SET state = %(state)s, expires_at = moment.at,
    run_at = CASE WHEN %(state)s = 'scheduled' THEN moment.at ELSE run_at END,
    lease_until = CASE WHEN %(state)s = 'running' THEN moment.at END,
    worker_id = CASE WHEN %(state)s = 'running' THEN gen_random_uuid() END,
    claimed_at = CASE WHEN %(state)s = 'running' THEN moment.at END
FROM (SELECT now() - %(seconds)s * interval '1 second' AS at) AS moment
WHERE %(id)s IN (0, id)
"""
CHORES = {
    "stage": (jobs.stage, "scheduled"),
    "rescue": (jobs.rescue, "running"),
    "expire": (jobs.expire, "available"),
}


def age(connection: Connection, state: str, seconds: float, job_id: int = 0) -> None:
    """Make the job (or all) one in *state* that should have been looked at *seconds* ago."""
    connection.execute(AGED, {"state": state, "seconds": seconds, "id": job_id})


def done(connection: Connection, chore: Operation[Any]) -> int:
    """How many jobs the chore has done something about."""
    answer = run(connection, chore)
    return int(answer if isinstance(answer, int) else answer[0])


@pytest.mark.parametrize("chore", CHORES)
def test_a_chore_that_looks_back_a_little_passes_over_what_is_long_dead(
    dsn: str, worker: Connection, chore: str
) -> None:
    do, state = CHORES[chore]
    with snapshot_held(dsn):
        worker.execute(BURIED, {"jobs": 30_000, "run_at": None, "priority": 100})
        age(worker, state, 600)
        worker.execute("DELETE FROM pgqueue.jobs")
        (due,) = add(worker)
        age(worker, state, 2, due)

        assert pages(worker, next(do(limit=100))) > 100 + pages(
            worker, next(do(limit=100, within=60))
        )
        assert done(worker, do(limit=100, within=60)) == 1


@pytest.mark.parametrize("chore", CHORES)
def test_a_chore_that_looks_back_a_little_leaves_the_rest_to_a_look_from_the_beginning(
    worker: Connection, chore: str
) -> None:
    do, state = CHORES[chore]
    (overdue,) = add(worker)
    age(worker, state, 600, overdue)

    assert done(worker, do(limit=100, within=60)) == 0
    assert done(worker, do(limit=100)) == 1


def test_a_slow_look_from_the_beginning_is_made_a_tenth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("pgqueue.worker.outlook.boottime", lambda: now)
    outlook, looked = Outlook(), []
    while now < 200:
        within = outlook.begin()
        looked.append(within)
        now += 0.5 if within is None else 0.001
        outlook.end(complete=True)
        now += 0.1
    whole = looked.count(None)
    assert 15 < whole <= 20
    assert all(within is None or within < 1.7 for within in looked)


def test_a_look_that_did_not_find_all_is_followed_by_one_that_goes_as_far_back() -> None:
    outlook = Outlook()
    assert outlook.begin() is None
    outlook.end(complete=False)
    assert outlook.begin() is None


def test_a_look_that_was_kept_waiting_for_minutes_is_repeated_within_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("pgqueue.worker.outlook.boottime", lambda: now)
    outlook = Outlook()
    outlook.begin()
    now += 120
    outlook.end(complete=True)
    now += 9
    assert outlook.begin() is not None
    now += 2
    assert outlook.begin() is None
