"""One JSON object a line, whatever is logged."""

import json
import logging
import math
import sys
from typing import Any

import pytest

from pgqueue.worker.logs import JsonFormatter

MARK = "hunter2-in-clear"


def line_of(message: object = "said", *args: Any, **extra: Any) -> str:
    record = logging.LogRecord("shop", logging.INFO, "", 0, message, args, None)
    record.__dict__.update(extra)
    return JsonFormatter().format(record)


def told(message: object = "said", *args: Any, **extra: Any) -> dict[str, Any]:
    line = line_of(message, *args, **extra)
    assert line.isprintable(), line
    found: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    assert line.encode()
    return found


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\r\nb",
        "\x1b[2J\x1b[31mred",
        "\x9b31m",
        "next\x85line",
        "\u2028\u2029",
        'quote " and \\',
        "\x00\x07\x7f",
        "\ud800 half a pair",
        '", "level": "CRITICAL',
    ],
)
def test_no_text_ends_the_line_or_moves_the_cursor(text: str) -> None:
    found = told(text, field=text, nested={"in": [text]})
    assert found["message"] == found["field"] == found["nested"]["in"][0] == text
    assert found["level"] == "INFO"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, {(1, 2): 3}, CIRCLE, Broken(), [Broken()], {1, 2}, b"\xff", 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_no_value_loses_the_line(value: Any) -> None:
    found = told(field=value)
    assert found["message"] == "said"
    assert "field" in found


def test_arguments_that_do_not_fit_lose_neither_the_line_nor_what_they_are() -> None:
    found = told("%d of %d", "one")
    assert found["message"] == "%d of %d (its arguments do not fit it)"


def test_a_field_cannot_pass_for_one_of_the_lines_own() -> None:
    found = told(level="CRITICAL", at="never", logger="root")
    assert (found["level"], found["logger"]) == ("INFO", "shop")
    assert (found["level_"], found["at_"], found["logger_"]) == ("CRITICAL", "never", "root")


def test_an_exception_is_an_object() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError(f"two\nlines; password={MARK}") from inner
    except ValueError:
        found = told("went wrong", exc_info=sys.exc_info())
    exception = found["exception"]
    assert exception["type"] == "ValueError"
    assert exception["message"] == "two\nlines; password=[redacted]"
    assert exception["traceback"].startswith("Traceback")
    assert "KeyError: 'inner'" in exception["traceback"]
    assert "exception" not in told("nothing went wrong", exc_info=(None, None, None))


def test_an_exception_that_was_formatted_elsewhere_is_an_object_too() -> None:
    text = f"Traceback ...\nValueError: token={MARK}9"
    found = told(exc_text=text, exc_type="ValueError", exception=text)
    assert found["exception"] == {
        "type": "ValueError",
        "traceback": "Traceback ...\nValueError: token=[redacted]",
    }
    assert "exception_" not in found


def test_where_it_was_logged_is_told_on_request() -> None:
    assert told(stack_info="Stack:\n  here")["stack"] == "Stack:\n  here"


@pytest.mark.parametrize(
    "extra",
    [
        {"password": MARK},
        {"nested": {"api_key": MARK}},
        {"said": f"Authorization: Bearer {MARK}"},
        {"error": ValueError(f"duplicate\nDETAIL:  Key (name)=({MARK}) exists.")},
        {"url": f"postgresql://ann:{MARK}@db/shop"},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_no_credential_is_told(extra: dict[str, Any]) -> None:
    assert MARK not in line_of("said", **extra)
    assert MARK not in line_of(f"password={MARK}")


def test_the_id_of_a_span_is_never_taken_for_the_number_of_a_card() -> None:
    card = "4111111111111111"
    found = told(span_id=card, trace_id=card * 2, paid_with=card)
    assert (found["span_id"], found["trace_id"]) == (card, card * 2)
    assert found["paid_with"] == "[redacted]"
    assert told(span_id=f"{card[:-1]}x")["span_id"] == f"{card[:-1]}x"
