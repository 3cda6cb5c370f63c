"""Every statement in pgqueue/statements fits the schema, says what it is for, and moves jobs only
where they may go."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.pq import ExecStatus

from pgqueue import statements
from pgqueue.job import FINAL_STATES, TRANSITIONS, State

pytestmark = pytest.mark.smoke

FOLDER = Path(statements.__file__).parent
NAMES = statements.names()

STATE_SET = re.compile(r"SET\s+state\s*=\s*(CASE.*?END|'\w+')", re.DOTALL)
STATE_ASKED = re.compile(r"(?<!SET )state\s*(?:=\s*('\w+')|IN\s*\(([^)]*)\))")
QUOTED = re.compile(r"'(\w+)'")


def sources(sql: str) -> set[State]:
    """The states that a statement takes jobs from."""
    parts = [part for part in re.split(r"\n\)", STATE_SET.sub("", sql)) if "pgqueue.jobs" in part]
    return {
        State(word)
        for part in parts
        for match in STATE_ASKED.findall(part)
        for word in QUOTED.findall("".join(match))
    }


def targets(sql: str) -> set[State]:
    """The states that a statement gives to jobs, be it by leaving the table of the living."""
    found = {
        State(word)
        for expression in STATE_SET.findall(sql)
        for word in re.findall(r"(?:THEN|ELSE|^)\s*'(\w+)'", expression)
    }
    if "INSERT INTO pgqueue.finished_jobs" in sql:
        found |= {State(word) for word in QUOTED.findall(sql) if word in FINAL_STATES}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_prepares_on_the_migrated_schema(connection: psycopg.Connection[Any], name: str) -> None:
    numbers: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return numbers.setdefault(match[1], f"${len(numbers) + 1}")

    sql = re.sub(r"%\((\w+)\)s", number, statements.load(name)).replace("%%", "%")
    result = connection.pgconn.prepare(name.encode(), sql.encode())

    assert result.status == ExecStatus.COMMAND_OK, result.error_message.decode()


@pytest.mark.parametrize("name", NAMES)
def test_it_begins_with_a_comment_that_says_what_it_does(name: str) -> None:
    first, *rest = (FOLDER / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    assert re.match(r"-- [A-Z].{20,}", first)
    assert any(not line.startswith("--") for line in rest)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_the_type_of_every_parameter(name: str) -> None:
    """Without one the server guesses, and text meets a bigint."""
    untyped = re.findall(r"%\(\w+\)s(?!::\w+)", statements.load(name))
    assert untyped == []


@pytest.mark.parametrize("name", NAMES)
def test_it_writes_every_table_out_in_full(name: str) -> None:
    sql = statements.load(name)
    ours = re.findall(
        r"(?:FROM|JOIN|INTO|UPDATE|USING)\s+(?:ONLY\s+)?"
        r"(jobs|finished_jobs|attempts|job_keys|tasks|queues|workers|audit|home|progress"
        r"|job_logs)\b",
        sql,
    )
    assert ours == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_one_statement(name: str) -> None:
    assert ";" not in statements.load(name)


@pytest.mark.parametrize("name", [name for name in NAMES if targets(statements.load(name))])
def test_every_move_it_makes_is_a_legal_one(name: str) -> None:
    sql = statements.load(name)
    assert sources(sql), "it does not say which jobs it moves"
    for source in sources(sql):
        assert targets(sql) <= TRANSITIONS[source]


def test_the_statements_that_move_jobs_are_these() -> None:
    """What the test above reads out of the text is what is meant."""
    moves = {name: (sources(sql), targets(sql)) for name, sql in _texts() if targets(sql)}
    running, available = State.RUNNING, State.AVAILABLE
    assert moves == {
        "claim_beyond": ({available}, {running}),
        "claim_jobs": ({available}, {running}),
        "claim_suspects": ({available}, {running}),
        "expire_jobs": ({available}, {State.DEAD}),
        "finish_cancelled": ({running}, {State.CANCELLED}),
        "finish_crashed": ({running}, {available, State.DEAD}),
        "finish_dead": ({running}, {State.DEAD}),
        "finish_postponed": ({running}, {State.SCHEDULED, available}),
        "finish_retried": ({running}, {State.SCHEDULED, available}),
        "finish_succeeded": ({running}, {State.SUCCEEDED}),
        "release_strays": ({running}, {available}),
        "rescue_jobs": ({running}, {available, State.DEAD, State.CANCELLED}),
        "stage_jobs": ({State.SCHEDULED}, {available}),
    }


def test_every_state_is_spelled_as_in_the_code() -> None:
    spelled = {
        word
        for _, sql in _texts()
        for match in STATE_ASKED.findall(sql) + [(e, "") for e in STATE_SET.findall(sql)]
        for word in QUOTED.findall("".join(match))
    }
    assert spelled - set(State) == set()


def _texts() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        yield name, statements.load(name)
