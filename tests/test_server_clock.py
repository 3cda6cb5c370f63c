"""The clock of the server is put forward or back, by an administrator or a virtual machine that
wakes up, while workers run. Leases and times are by that clock."""

import os
import shutil
import time
from collections.abc import Iterator
from glob import glob
from pathlib import Path

import psycopg
import pytest

from pgqueue import migrate
from tests.postgres import Server
from tests.process import Stage
from tests.worker_tasks import effect_for_a_while, work

LIBRARY = os.environ.get("PGQUEUE_FAKETIME") or next(
    iter(glob("/usr/lib/*/faketime/libfaketime.so.1")), None
)
"""libfaketime. Under it a server's statement_timeout no longer strikes after a step (measured with
0.9.10 and PostgreSQL 15), which is why no chaos run has it: every wait there must be bounded."""
HOUR = 3600

pytestmark = pytest.mark.skipif(
    LIBRARY is None,
    reason="NOT TESTED: there is no libfaketime (apt install libfaketime, or PGQUEUE_FAKETIME)",
)


class SteppedServer(Server):
    """Its clock is off by what a file says."""

    def initialize_database(self) -> None:
        shutil.copyfile(str(LIBRARY), self._library)  # to where its account can read it
        self._library.chmod(0o755)
        self.step(0)
        super().initialize_database()

    def step(self, seconds: int) -> None:
        clock = self._clock.with_suffix(".new")
        clock.write_text(f"{seconds:+d}\n")
        clock.chmod(0o644)
        clock.rename(self._clock)

    def get_server_commandline(self) -> list[str]:
        faked = {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": self._clock,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_RESET": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
        }
        settings = [f"{name}={value}" for name, value in faked.items()]
        words = super().get_server_commandline()
        # For the server alone, as its account: the library keeps something by the name of the pid.
        at = words.index(str(self.cluster.binaries.directory / "postgres"))
        return [*words[:at], "/usr/bin/env", *settings, *words[at:]]

    @property
    def _library(self) -> Path:
        return self.cluster.home.path / "faketime.so"

    @property
    def _clock(self) -> Path:
        return self.cluster.home.path / "clock"


@pytest.fixture
def stepped() -> Iterator[SteppedServer]:
    server = SteppedServer()
    yield server
    server.discard()


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_clock_that_is_put_forward_or_back_loses_no_job_and_repeats_no_effect(
    stepped: SteppedServer, tmp_path: Path, step: int
) -> None:
    dsn = stepped.dsn()
    migrate.upgrade(dsn)
    with Stage(dsn, tmp_path) as stage:
        stage.sql("CREATE TABLE effects (job_id bigint, attempt bigint)")
        stage.ready(*(stage.start(lease=3, rescue_every=0.5) for _ in range(2)))
        stage.enqueue(*(work.job(seconds=0.2) for _ in range(60)))
        long = stage.enqueue(*(effect_for_a_while.job(seconds=3) for _ in range(4)))
        stage.until_started(*long)
        stepped.step(step)
        with psycopg.connect(dsn) as connection:
            assert connection.execute(
                "SELECT abs(extract(epoch FROM clock_timestamp()) - %s - %s) < 60",
                [time.time(), step],
            ).fetchone() == (True,)
        late = stage.enqueue(*(work.job(seconds=0.1) for _ in range(20)))
        stage.until_drained(within=120)
        assert stage.states() == {"succeeded": 84}
        assert {stage.state(job) for job in late} == {"succeeded"}
        done = stage.sql("SELECT job_id, count(*) FROM effects GROUP BY 1")
        assert sorted(done) == [(job, 1) for job in sorted(long)]
