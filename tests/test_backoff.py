import doctest
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue import backoff
from pgqueue.backoff import Backoff, Delays, Exponential, Fixed, Linear
from pgqueue.errors import InvalidOption


def delays(wait: Backoff, failures: int) -> list[float]:
    return [wait(n) for n in range(1, failures + 1)]


def test_the_examples_in_the_documentation_are_true() -> None:
    result = doctest.testmod(backoff)

    assert result.attempted >= 4
    assert result.failed == 0


def test_five_attempts_wait_2_4_8_and_16_seconds() -> None:
    assert delays(Exponential(base=2, max_delay=60, jitter=0), 4) == [2, 4, 8, 16]


def test_ten_attempts_wait_no_longer_than_the_cap() -> None:
    expected = [2, 4, 8, 16, 32, 60, 60, 60, 60]

    assert delays(Exponential(base=2, max_delay=60, jitter=0), 9) == expected


def test_the_default_doubles_from_two_seconds_to_a_minute_with_a_tenth_of_jitter() -> None:
    assert Exponential() == Exponential(base=2, max_delay=60, jitter=0.1)


@pytest.mark.parametrize("base", [0.001, 2, 3600])
def test_thousands_of_failures_do_not_overflow(base: float) -> None:
    wait = Exponential(base=base, max_delay=86400, jitter=0)

    assert wait(1000) == wait(10_000) == 86400


@given(failures=st.integers(1, 1000), jitter=st.floats(0, 1))
def test_jitter_is_taken_off_the_capped_delay(failures: int, jitter: float) -> None:
    full = Exponential(jitter=0)(failures)

    assert full * (1 - jitter) <= Exponential(jitter=jitter)(failures) <= full


def test_jobs_that_failed_together_do_not_return_together() -> None:
    wait = Exponential(jitter=0.1)

    assert len({wait(6) for _ in range(100)}) > 50


def test_a_base_of_nothing_never_waits() -> None:
    assert delays(Exponential(base=0), 3) == [0, 0, 0]


def test_fixed_waits_the_same_each_time() -> None:
    assert delays(Fixed(1.5), 3) == [1.5, 1.5, 1.5]


def test_linear_grows_by_a_step_up_to_its_cap() -> None:
    assert delays(Linear(10, max_delay=25), 4) == [10, 20, 25, 25]
    assert Linear(60)(1000) == 3600


def test_the_last_of_the_delays_stands_for_all_that_follow() -> None:
    assert delays(Delays([1, timedelta(minutes=1), 30]), 5) == [1, 60, 30, 30, 30]


def test_a_timedelta_is_as_good_as_seconds() -> None:
    minute = timedelta(minutes=1)

    assert Fixed(minute) == Fixed(60)
    assert Linear(minute, minute) == Linear(60, 60)
    assert Exponential(minute, minute) == Exponential(60, 60)
    assert Delays([minute]) == Delays([60])


@pytest.mark.parametrize("wait", [Fixed(1), Linear(1), Exponential(), Delays([1, 2])])
def test_a_backoff_is_a_value(wait: Any) -> None:
    assert pickle.loads(pickle.dumps(wait)) == wait
    assert hash(pickle.loads(pickle.dumps(wait))) == hash(wait)
    with pytest.raises(AttributeError):
        wait.delay = 5


@pytest.mark.parametrize("nonsense", [-1, float("nan"), float("inf"), "5", None, True])
def test_what_is_no_length_of_time_is_refused_when_the_backoff_is_made(nonsense: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^delay: must be "):
        Fixed(nonsense)
    with pytest.raises(InvalidOption, match=r"^step: must be "):
        Linear(nonsense)
    with pytest.raises(InvalidOption, match=r"^max_delay: must be "):
        Linear(1, nonsense)
    with pytest.raises(InvalidOption, match=r"^base: must be "):
        Exponential(nonsense)
    with pytest.raises(InvalidOption, match=r"^delays: must be "):
        Delays([1, nonsense])


@pytest.mark.parametrize("nonsense", [-0.1, 1.1, float("nan"), "0.5", None, True])
def test_jitter_is_a_part_of_the_delay(nonsense: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^jitter: must be a number from 0 to 1"):
        Exponential(jitter=nonsense)


def test_an_empty_list_of_delays_is_refused() -> None:
    with pytest.raises(InvalidOption, match="give at least one"):
        Delays([])
