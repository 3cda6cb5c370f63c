"""What a queue's share of a worker asks for: its free slots, short jobs ahead of them, and never
more than can be held."""

from datetime import UTC, datetime

from pgqueue.job import Job
from pgqueue.worker.holdings import Hold
from pgqueue.worker.lane import AHEAD_BYTES, AHEAD_SECONDS, Lane

MIB = 1024 * 1024


def hold(size: int = 2) -> Hold:
    now = datetime.now(UTC)
    args = "x" * size
    return Hold(Job(1, 1, "q", "t", 100, now, now, 0, 0, 5, 3, None, None, args, None), 0.0)


def lane(*, slots: int = 10, prefetch: int = 500, seconds: float | None = None) -> Lane:
    made = Lane("q", slots, prefetch)
    if seconds is not None:
        made.learn(seconds)
    return made


def wait(lane: Lane, count: int, size: int = 2) -> None:
    for _ in range(count):
        lane.put(hold(size))


def test_before_anything_ran_it_wants_its_free_slots() -> None:
    fresh = lane(slots=10)
    assert fresh.wants() == 10
    fresh.running = 4
    assert fresh.wants() == 6


def test_long_jobs_are_never_claimed_ahead() -> None:
    long = lane(slots=10, seconds=AHEAD_SECONDS * 1.01)
    assert long.wants() == 10
    long.running = 10
    assert long.wants() == 0


def claim(lane: Lane) -> int:
    """Claim until nothing more is wanted; return how many jobs that were."""
    count = 0
    while wants := lane.wants():
        wait(lane, wants)
        count += wants
    return count


def test_short_jobs_are_claimed_ahead_for_a_moment() -> None:
    assert 0.75 * 85 < claim(lane(slots=10, seconds=0.01)) <= 10 + 75
    assert 0.75 * 510 < claim(lane(slots=10, seconds=1e-9)) <= 10 + 500
    assert claim(lane(slots=10, seconds=1e-9, prefetch=0)) == 10


def test_half_of_what_may_be_held_is_claimed_at_once_and_every_free_slot() -> None:
    assert lane(slots=10, seconds=1e-9).wants() == 255
    assert lane(slots=1000, seconds=1e-9).wants() == 1000


def test_it_wants_nothing_while_most_of_it_is_still_here() -> None:
    quick = lane(slots=10, seconds=1e-9)
    quick.running = 10
    wait(quick, 376)
    assert quick.wants() == 0
    quick.take()
    assert quick.wants() == 125


def test_what_was_claimed_and_is_not_here_yet_is_not_wanted_again() -> None:
    quick = lane(slots=10, seconds=1e-9)
    assert quick.wants(coming=255) == 255
    quick.running = 10
    wait(quick, 100)
    assert quick.wants(coming=255) == 145
    assert quick.wants(coming=300) == 0
    long = lane(slots=10, seconds=10)
    assert long.wants(coming=4) == 6
    assert long.wants(coming=10) == 0


def test_a_few_jobs_that_suddenly_take_long_are_noticed() -> None:
    changed = lane(slots=10, seconds=0.001)
    for _ in range(3):
        changed.learn(10)
    assert changed.wants() == 10


def test_jobs_that_wait_leave_no_more_room_than_their_bytes_do() -> None:
    quick = lane(slots=10, seconds=1e-9)
    assert quick.bytes_left() == AHEAD_BYTES // 2
    wait(quick, 6, size=MIB)
    assert quick.bytes_left() == AHEAD_BYTES // 2
    assert quick.bytes_left(coming=4 * MIB) == AHEAD_BYTES - 10 * MIB
    assert quick.wants() > 0
    wait(quick, 12, size=MIB)
    assert quick.bytes_left() == 0
    assert quick.wants() == 0
    while quick.waiting:
        quick.take()
    assert quick.bytes_left() == AHEAD_BYTES // 2
    assert quick.wants() == 255


def test_large_jobs_that_are_not_claimed_ahead_still_find_free_slots() -> None:
    long = lane(slots=2, seconds=10)
    wait(long, 1, size=AHEAD_BYTES)
    assert long.wants() == 1
