"""No connection of ours goes over a network in the clear, unless a person has said so.

Against a real server, with a certificate of its own making, on an address of this machine that is
not a loopback one: to the policy that is another machine. Needs server programs that were built
with TLS, which those of the wheels were not; without them, or without such an address, the tests
that need it are skipped, and say so.
"""

import asyncio
import fcntl
import ipaddress
import logging
import os
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgqueue import InsecureConnection, Waiter, WaitFailed, migrate
from pgqueue.embedded.account import server_account
from pgqueue.embedded.binaries import Binaries
from pgqueue.embedded.cluster import Cluster, dies_with_us
from pgqueue.embedded.home import Home
from pgqueue.storage import tls
from pgqueue.storage.connect import connect, connect_async, prepare_conninfo
from tests.command import run_process
from tests.postgres import memory

_SIOCGIFADDR = 0x8915


def own_address() -> str:
    """An address of this machine that others would use; "" if it has none, or does not say."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asker, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an address, or another system than Linux
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not ipaddress.ip_address(address).is_loopback:
                return address
    return ""


def with_tls() -> list[Path]:
    """Places of server programs that may have been built with TLS."""
    chosen = os.environ.get("PGQUEUE_PG_BIN")
    places = [Path(chosen)] if chosen else []
    return [*places, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]


def certificate(address: str) -> tuple[bytes, bytes]:
    """A certificate for *address* that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pgqueue test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    return (
        made.public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
    )


class Networked:
    """A server on the network, if only on our own address."""

    def __init__(self, directory: Path, address: str, *, encrypted: bool) -> None:
        account = server_account()
        self.address = address
        self.cluster = Cluster(
            Home.throw_away(account, memory()), account, Binaries(directory, major_of(directory))
        )
        self.cluster.create(durable=False)
        data = self.cluster.data
        with socket.socket() as probe:
            probe.bind((address, 0))
            self.port = probe.getsockname()[1]
        (data / "pg_hba.conf").write_text(f"local all all trust\nhost all all {address}/32 trust\n")
        self.authority = data.parent / "authority.pem"
        settings = {"listen_addresses": address, "port": str(self.port), "fsync": "off"}
        if encrypted:
            public, private = certificate(address)
            for name, text in (("server.crt", public), ("server.key", private)):
                (data / name).write_bytes(text)
                (data / name).chmod(0o600)
                if account.uid is not None and account.gid is not None:
                    os.chown(data / name, account.uid, account.gid)
            self.authority.write_bytes(public)
            settings["ssl"] = "on"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = account.command(
            directory / "postgres",
            *("-D", str(data), "-k", str(self.cluster.sockets), *options),
            tied=dies_with_us(),
        )
        with self.cluster.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def local(self) -> str:
        """The DSN through the socket."""
        return f"host={self.cluster.sockets} port={self.port} user=postgres dbname=postgres"

    def dsn(self, **more: str) -> str:
        """The DSN over the network."""
        return make_conninfo(
            host=self.address, port=self.port, user="postgres", dbname="postgres", **more
        )

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            return False
        try:
            psycopg.connect(self.local).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self.cluster.close()


def major_of(directory: Path) -> int:
    said = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    return int(said.split()[2].partition(".")[0])


def start(*, encrypted: bool) -> Networked:
    address = own_address()
    if not address:
        pytest.skip("SKIPPED LOUDLY: this machine has no address but loopback ones")
    for directory in with_tls():
        server = Networked(directory, address, encrypted=encrypted)
        deadline = time.monotonic() + 60
        while server.process.poll() is None and time.monotonic() < deadline:
            if server.is_ready():
                return server
            time.sleep(0.05)
        server.stop()
    pytest.skip("SKIPPED LOUDLY: no server programs here that were built with TLS")


@pytest.fixture(scope="module")
def secure() -> Iterator[Networked]:
    server = start(encrypted=True)
    migrate.upgrade(server.local)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def insecure() -> Iterator[Networked]:
    server = start(encrypted=False)
    migrate.upgrade(server.local)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _not_warned_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "_warned", set())
    for name in ("PGHOST", "PGHOSTADDR", "PGSSLMODE", "PGSERVICE", tls.VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("", True),
        ("/var/run/postgresql", True),
        ("@abstract", True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::1%lo", True),
        ("db.example.org", False),
        ("localhost.example.org", False),
        ("10.0.0.5", False),
        ("0.0.0.0", False),
        ("fe80::1%eth0", False),
    ],
)
def test_only_this_machine_is_this_machine(host: str, local: bool) -> None:
    assert tls.is_local(host) is local


def test_tls_is_demanded_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def mode(dsn: str) -> Any:
        return conninfo_to_dict(prepare_conninfo(dsn, "test")).get("sslmode")

    assert mode("host=db") == "require"
    assert mode("host=db sslmode=prefer") == "require"
    assert mode("host=/tmp,db") == "require"
    assert mode("hostaddr=10.0.0.1") == "require"
    assert mode("host=db sslmode=verify-full") == "verify-full"
    assert mode("host=/tmp") is None
    assert mode("dbname=x") is None
    with pytest.raises(InsecureConnection, match="connection to db"):
        mode("host=db sslmode=disable")
    monkeypatch.setenv("PGHOST", "db.example.org")
    assert mode("dbname=x") == "require"
    monkeypatch.setenv("PGSSLMODE", "disable")
    with pytest.raises(InsecureConnection, match=r"db\.example\.org"):
        mode("dbname=x")
    monkeypatch.setenv(tls.VARIABLE, "0")
    assert mode("host=db sslmode=disable") == "disable"
    assert mode("host=db") is None


def test_acceptance_25_a_server_without_tls_is_refused_in_one_sentence(
    insecure: Networked,
) -> None:
    dsn = insecure.dsn()
    for attempt in (
        lambda: connect(dsn, "test"),
        lambda: asyncio.run(connect_async(dsn, "test")),
        lambda: migrate.upgrade(dsn),
        lambda: migrate.check(dsn),
    ):
        with pytest.raises(InsecureConnection) as raised:
            attempt()
        assert insecure.address in str(raised.value)
        assert "PGQUEUE_REQUIRE_TLS=0" in str(raised.value)
        assert "sslmode=verify-full" in str(raised.value)


@pytest.mark.parametrize("words", [("worker", "tests.worker_tasks:tasks"), ("status",)])
def test_acceptance_25_worker_and_commands_end_with_a_configuration_to_mend(
    insecure: Networked, words: tuple[str, ...]
) -> None:
    result = run_process(*words, dsn=insecure.dsn())
    assert result.returncode == 3
    assert "in the clear" in result.stderr
    assert "Traceback" not in result.stderr
    allowed = run_process("status", dsn=insecure.dsn(), more={tls.VARIABLE: "0"})
    assert allowed.returncode == 0, allowed.stderr


def test_a_waiter_is_held_to_it_as_well(insecure: Networked) -> None:
    with Waiter(insecure.dsn()) as waiter, pytest.raises(WaitFailed, match="in the clear"):
        waiter.wait(1, timeout=2)


def test_a_service_that_leads_elsewhere_is_caught_by_what_came_of_it(
    insecure: Networked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "services"
    file.write_text(f"[there]\nhost={insecure.address}\nport={insecure.port}\nuser=postgres\n")
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    with pytest.raises(InsecureConnection):
        connect("service=there dbname=postgres", "test")


def test_the_socket_of_a_server_without_tls_is_used_as_ever(insecure: Networked) -> None:
    connect(insecure.local, "test").close()


def test_a_server_that_is_encrypted_but_not_verified_is_warned_of_once(
    secure: Networked, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "pgqueue"):
        for _ in range(3):
            with connect(secure.dsn(), "test") as connection:
                row = connection.execute(
                    "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                ).fetchone()
                assert row == (True,)
    (record,) = caplog.records
    assert "not verified" in record.getMessage()
    assert "sslmode=verify-full" in record.getMessage()


def test_a_verified_server_needs_no_words(
    secure: Networked, caplog: pytest.LogCaptureFixture
) -> None:
    dsn = secure.dsn(sslmode="verify-full", sslrootcert=str(secure.authority))
    connect(dsn, "test").close()
    assert caplog.records == []
    assert run_process("status", dsn=dsn).returncode == 0


def test_a_server_that_is_another_is_refused_by_its_certificate(
    secure: Networked, tmp_path: Path
) -> None:
    public, _ = certificate(secure.address)
    other = tmp_path / "other.pem"
    other.write_bytes(public)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(secure.dsn(sslmode="verify-full", sslrootcert=str(other)), "test")
