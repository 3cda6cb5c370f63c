import logging
import math
import pickle
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgqueue.backoff import Exponential, Fixed
from pgqueue.errors import InvalidOption
from pgqueue.job import Reason
from pgqueue.policy import NETWORK_ERRORS, After, Again, GiveUp, Policy, Until, Verdict
from pgqueue.signals import Cancel, Fail, Retry, Signal, Snooze

SEVEN = Fixed(7)
EXHAUSTED = GiveUp(Reason.ATTEMPTS_EXHAUSTED)
HOPELESS = GiveUp(Reason.NON_RETRYABLE)


class BusinessError(Exception):
    pass


class CardDeclined(BusinessError):
    pass


def decide(
    error: BaseException,
    *,
    failures: int = 0,
    max_attempts: int = 5,
    backoff: Any = SEVEN,
    **rules: Any,
) -> Again | GiveUp:
    policy = Policy(backoff=backoff, **rules)
    return policy.decide(error, failures=failures, max_attempts=max_attempts)


def attempts(error: BaseException, **options: Any) -> int:
    """How often a job runs that always fails with *error*."""
    failures = 0
    while isinstance(decide(error, failures=failures, **options), Again):
        failures += 1
    return failures + 1


def always(verdict: Any) -> Callable[[BaseException, int], Any]:
    return lambda error, made: verdict


def test_without_rules_a_job_runs_max_attempts_times() -> None:
    assert attempts(ValueError(), max_attempts=5) == 5
    assert attempts(ValueError(), max_attempts=1) == 1


def test_the_last_attempt_dies_of_exhaustion() -> None:
    assert decide(ValueError(), failures=3) == Again(7)
    assert decide(ValueError(), failures=4) == EXHAUSTED


def test_attempts_that_were_cut_below_the_failures_so_far_are_exhausted() -> None:
    assert decide(ValueError(), failures=9, max_attempts=5) == EXHAUSTED


def test_the_backoff_is_asked_with_the_number_of_failures_this_one_included() -> None:
    waits = [
        decide(ValueError(), failures=n, backoff=Exponential(jitter=0), max_attempts=9)
        for n in range(4)
    ]

    assert waits == [Again(2), Again(4), Again(8), Again(16)]


# By type


def test_false_is_dead_at_once() -> None:
    assert decide(BusinessError(), retry_on={BusinessError: False}) == HOPELESS


def test_until_overrides_max_attempts_both_ways() -> None:
    assert attempts(ConnectionError(), retry_on={ConnectionError: Until(10)}) == 10
    assert attempts(ConnectionError(), retry_on={ConnectionError: Until(2)}) == 2


@pytest.mark.parametrize("verdict", [True, None, After(1)])
def test_other_verdicts_obey_max_attempts(verdict: Verdict) -> None:
    assert attempts(ValueError(), retry_on={ValueError: verdict}) == 5


def test_after_is_waited_instead_of_the_backoff() -> None:
    assert decide(ValueError(), retry_on={ValueError: After(90)}) == Again(90)
    assert decide(ValueError(), retry_on={ValueError: After(timedelta(hours=1))}) == Again(3600)


def test_the_most_specific_rule_decides_whatever_the_order() -> None:
    general = (BusinessError, False)
    special = (CardDeclined, True)

    for rules in (dict([general, special]), dict([special, general])):
        assert decide(CardDeclined(), retry_on=rules) == Again(7)
        assert decide(BusinessError(), retry_on=rules) == HOPELESS


def test_a_rule_holds_for_subclasses() -> None:
    assert attempts(ConnectionRefusedError(), retry_on={ConnectionError: Until(8)}) == 8


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def test_the_causes_are_asked_if_the_error_has_no_rule() -> None:
    wrapped = raised_from(
        RuntimeError(), raised_from(LookupError(), ConnectionRefusedError("refused"))
    )

    assert attempts(wrapped, retry_on={ConnectionError: Until(10)}) == 10


def test_the_error_comes_before_its_causes() -> None:
    wrapped = raised_from(BusinessError(), ConnectionError())

    assert decide(wrapped, retry_on={ConnectionError: True, BusinessError: False}) == HOPELESS


def test_causes_in_a_ring_are_each_asked_once() -> None:
    first = RuntimeError()
    raised_from(first, raised_from(LookupError(), first))

    assert decide(first, retry_on={ConnectionError: False}) == Again(7)


def test_what_merely_happened_before_is_no_cause() -> None:
    error = RuntimeError()
    error.__context__ = BusinessError()

    assert decide(error, retry_on={BusinessError: False}) == Again(7)


def test_network_errors_are_what_a_flaky_network_raises() -> None:
    rules: dict[type[BaseException], Verdict] = {error: Until(10) for error in NETWORK_ERRORS}

    for error in (ConnectionRefusedError(), TimeoutError(), socket.gaierror()):
        assert attempts(error, retry_on=rules) == 10
    assert attempts(PermissionError(), retry_on=rules) == 5


def named(name: str, *bases: type[Exception]) -> type[Exception]:
    """A class as a library defines it, whether that is installed here or not."""
    module, _, qualname = name.rpartition(".")
    return type(qualname, bases or (Exception,), {"__module__": module})


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError,
        psycopg.errors.ConnectionFailure,
        named("requests.exceptions.ConnectionError", OSError),
        named("httpx.ConnectTimeout", named("httpx.TransportError")),
        named("myapp.GatewayDown", named("aiohttp.client_exceptions.ClientConnectionError")),
    ],
)
def test_network_errors_are_what_libraries_raise_in_its_stead_too(error: type[Exception]) -> None:
    rules: dict[type[BaseException], Verdict] = {kind: Until(10) for kind in NETWORK_ERRORS}
    assert attempts(error(), retry_on=rules) == 10
    assert attempts(error(), retry_on={**rules, error: False}) == 1, "what is more specific wins"
    assert attempts(psycopg.ProgrammingError(), retry_on=rules) == 5


# By predicate


@pytest.mark.parametrize(
    ("verdict", "expected"), [(False, 1), (True, 5), (None, 5), (Until(10), 10), (After(1), 5)]
)
def test_a_predicate_answers_with_the_same_verdicts(verdict: Verdict, expected: int) -> None:
    assert attempts(ValueError(), retry_if=always(verdict)) == expected


def test_a_predicate_is_told_the_error_and_the_attempts_made() -> None:
    told: list[tuple[BaseException, int]] = []
    error = ValueError()

    decide(error, failures=2, retry_if=lambda *asked: told.append(asked))

    assert told == [(error, 3)]


def test_a_rule_comes_before_the_predicate_unless_it_is_none() -> None:
    assert decide(ValueError(), retry_on={ValueError: True}, retry_if=always(False)) == Again(7)
    assert decide(ValueError(), retry_on={ValueError: False}, retry_if=always(True)) == HOPELESS
    assert decide(ValueError(), retry_on={ValueError: None}, retry_if=always(False)) == HOPELESS
    assert decide(ValueError(), retry_on={OSError: True}, retry_if=always(False)) == HOPELESS


def test_network_errors_till_ten_business_errors_never_and_the_others_five_times() -> None:
    def should_retry(error: BaseException, made: int) -> Verdict:
        if isinstance(error, ConnectionRefusedError):
            return Until(10)
        return not isinstance(error, BusinessError)

    assert attempts(ConnectionRefusedError(), retry_if=should_retry) == 10
    assert attempts(CardDeclined(), retry_if=should_retry) == 1
    assert attempts(ValueError(), retry_if=should_retry) == 5


def test_a_predicate_that_raises_has_no_opinion_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(error: BaseException, made: int) -> Verdict:
        raise LookupError("broken predicate")

    with caplog.at_level(logging.ERROR, "pgqueue.policy"):
        assert decide(ValueError(), retry_if=broken) == Again(7)

    assert "broken predicate" in caplog.text


@pytest.mark.parametrize("nonsense", [0, 1, "yes", 3.5, After])
def test_what_is_no_verdict_is_no_opinion_and_is_logged(
    nonsense: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "pgqueue.policy"):
        assert decide(ValueError(), retry_if=always(nonsense)) == Again(7)

    assert "no verdict" in caplog.text


# The delay


@pytest.mark.parametrize(
    "nonsense",
    [-1, math.nan, math.inf, 1e300, 10**400, "5", None, True, [5]],
    ids=lambda value: repr(value)[:8],
)
def test_a_backoff_that_answers_nonsense_is_replaced_by_the_default(
    nonsense: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "pgqueue.policy"):
        decision = decide(ValueError(), failures=2, backoff=lambda failures: nonsense)

    assert isinstance(decision, Again)
    assert 8 * 0.9 <= decision.delay <= 8
    assert "backoff" in caplog.text


def test_a_backoff_that_raises_is_replaced_by_the_default() -> None:
    def broken(failures: int) -> float:
        raise LookupError("broken backoff")

    decision = decide(ValueError(), backoff=broken)

    assert isinstance(decision, Again)
    assert 2 * 0.9 <= decision.delay <= 2


def test_any_callable_is_a_backoff() -> None:
    assert decide(ValueError(), failures=2, backoff=lambda failures: failures * 10) == Again(30)
    assert decide(ValueError(), backoff=lambda failures: timedelta(seconds=1)) == Again(1)


# Signals


def test_retry_waits_as_long_as_the_handler_said() -> None:
    assert decide(Retry(after=30)) == Again(30)
    assert decide(Retry(timedelta(minutes=1), "rate limit")) == Again(60)
    assert decide(Retry()) == Again(7)


def test_retry_obeys_max_attempts_and_no_rule() -> None:
    assert decide(Retry(after=30), failures=4) == EXHAUSTED
    assert decide(Retry(), retry_on={Exception: False}, retry_if=always(False)) == Again(7)


@pytest.mark.parametrize(
    ("signal", "text"),
    [
        (Retry(30, "rate limit"), "rate limit"),
        (Retry(), "the handler asked to be tried again"),
        (Snooze(timedelta(minutes=1)), "snoozed for 60 s"),
        (Fail("no such account"), "no such account"),
        (Cancel("not wanted any more"), "not wanted any more"),
    ],
)
def test_a_signal_says_why_even_from_another_process(signal: Signal, text: str) -> None:
    copy = pickle.loads(pickle.dumps(signal))

    assert str(signal) == str(copy) == text
    assert vars(copy) == vars(signal)


@pytest.mark.parametrize("nonsense", [-1, "rate limit", math.nan])
def test_a_signal_refuses_what_is_no_length_of_time(nonsense: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^after: "):
        Retry(nonsense)
    with pytest.raises(InvalidOption, match=r"^seconds: "):
        Snooze(nonsense)


# Mistakes are found when the task is defined


@pytest.mark.parametrize("nonsense", [0, -1, 1001, 2.5, True, "3", None])
def test_until_takes_1_to_1000_attempts(nonsense: Any) -> None:
    with pytest.raises(InvalidOption, match="1 to 1000"):
        Until(nonsense)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"backoff": 5}, "backoff: must be callable"),
        ({"retry_if": True}, "retry_if: must be callable"),
        ({"retry_on": {ValueError: 3}}, "retry_on: 3 for ValueError is no verdict"),
        ({"retry_on": {"ValueError": True}}, "retry_on: 'ValueError' is no exception class"),
        ({"retry_on": {(OSError, ValueError): True}}, "is no exception class"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Policy(**rules)
