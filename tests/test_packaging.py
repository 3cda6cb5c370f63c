"""What pip installs is whole: it migrates a database from anywhere, without the checkout."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from pgqueue import migrate

CHECKOUT = Path(__file__).parents[1]


def run(*command: object, where: Path, **environment: str) -> str:
    """Run a command with *where* as its directory, and nothing that would find the checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=where,
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout
    return answer.stdout


def build(source: Path, kind: str, where: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", where, where=source)
    return next(path for path in where.iterdir() if path.suffix in (".whl", ".gz"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CHECKOUT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel in it; other packages are this environment's."""
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    run(
        *(sys.executable, "-m", "pip", "--quiet", "--python", python),
        *("install", "--no-deps", "--no-index", wheel),
        where=directory,
    )
    packages = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", where=directory
    )
    Path(packages.strip(), "others.pth").write_text(sysconfig.get_path("purelib"))
    return python


def files_of(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_package_its_migrations_and_its_queries_and_nothing_else(wheel):
    files = files_of(wheel)
    assert {"pgqueue/py.typed", "pgqueue/_migrations/env.py"} <= files
    expected = {
        f"pgqueue/{place}/{path.relative_to(CHECKOUT / source)}"
        for source, place in (("migrations", "_migrations"), ("sql", "_sql"))
        for path in (CHECKOUT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected |= {
        f"pgqueue/statements/{path.name}"
        for path in (CHECKOUT / "pgqueue/statements").glob("*.sql")
    }
    assert expected <= files
    assert all(name.startswith(("pgqueue/", "pgqueue-")) for name in files)
    assert not any("__pycache__" in name for name in files)


def test_the_sdist_builds_the_same_wheel(wheel, tmp_path):
    sdist = build(CHECKOUT, "sdist", tmp_path)
    run("tar", "xzf", sdist, where=tmp_path)
    (tmp_path / "again").mkdir()
    again = build(tmp_path / sdist.name.removesuffix(".tar.gz"), "wheel", tmp_path / "again")
    assert files_of(again) == files_of(wheel)


def test_the_installed_package_migrates_without_the_checkout(python, empty_dsn, tmp_path):
    code = """
import sys
from pathlib import Path
import pgqueue
from pgqueue import migrate
assert Path(pgqueue.__file__).is_relative_to(sys.prefix), pgqueue.__file__
assert migrate.location().is_relative_to(sys.prefix), migrate.location()
print(migrate.upgrade(sys.argv[1]))
"""
    assert run(python, "-c", code, empty_dsn, where=tmp_path).strip() == migrate.head()
    assert migrate.check(empty_dsn).state is migrate.SchemaState.CURRENT


def test_the_installed_command_migrates(python, empty_dsn, tmp_path):
    run(python.with_name("pgqueue"), "migrate", where=tmp_path, PGQUEUE_DSN=empty_dsn)
    assert migrate.check(empty_dsn).state is migrate.SchemaState.CURRENT


def test_an_applications_alembic_finds_our_versions_in_the_package_by_name(python, tmp_path):
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    (tmp_path / "alembic.ini").write_text(
        "[alembic]\n"
        "script_location = %(here)s/alembic\n"
        "path_separator = newline\n"
        "version_locations = %(here)s/alembic/versions\n"
        "    pgqueue:_migrations/versions\n"
    )
    heads = run(python, "-m", "alembic.config", "heads", where=tmp_path)
    assert heads.strip() == f"{migrate.head()} (pgqueue) (head)"
