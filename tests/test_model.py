"""Whatever steps are taken in whatever order, the database comes to what a plain model comes to.

``make models`` takes many more steps. A failure prints the shortest steps that lead to it, and is
kept in ``.hypothesis`` to be tried first the next time.
"""

import psycopg
import pytest
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.models import database
from tests.models.effort import Effort
from tests.models.machine import QueueMachine


def test_the_database_does_as_the_model_does(
    dsn: str, effort: Effort, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        database.prepare(connection)
        monkeypatch.setattr(QueueMachine, "connection", connection, raising=False)
        machine = seed(effort.seed)(QueueMachine)
        run_state_machine_as_test(machine, settings=effort.settings())
