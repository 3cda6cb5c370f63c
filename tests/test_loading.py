"""Finding tasks by name, and what is said when they are not there."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgqueue.tasks import Tasks
from pgqueue.worker.loading import TasksNotFound, load_tasks


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory to be in, with an application of its own name in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "loaded_app").mkdir()
    (tmp_path / "loaded_app/__init__.py").touch()
    (tmp_path / "loaded_app/jobs.py").write_text(
        "from pgqueue.tasks import Tasks\ntasks = Tasks()\nclass Box: inner = tasks\nname = 'x'\n"
    )
    (tmp_path / "loaded_app/broken.py").write_text("1 / 0\n")
    (tmp_path / "loaded_app/needy.py").write_text("import no_such_library\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "loaded_app"]:
        del sys.modules[name]


@pytest.mark.parametrize("path", ["loaded_app.jobs:tasks", "loaded_app.jobs:Box.inner"])
def test_tasks_are_found_below_the_current_directory(app: Path, path: str) -> None:
    assert isinstance(load_tasks(path), Tasks)
    assert sys.path[0] == os.getcwd()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("loaded_app.jobs", "write it as module:attribute"),
        (":tasks", "write it as module:attribute"),
        ("no_such_app.jobs:tasks", "there is no module no_such_app, neither in"),
        ("loaded_app.none:tasks", "there is no module loaded_app.none, neither in"),
        ("loaded_app.needy:tasks", "loaded_app.needy failed: No module named 'no_such_library'"),
        ("loaded_app.broken:tasks", "loaded_app.broken failed: ZeroDivisionError: division by"),
        ("loaded_app.jobs:task", "has no task; there is loaded_app.jobs:tasks"),
        ("loaded_app.jobs:name", "name is a str, not a Tasks; there is loaded_app.jobs:tasks"),
        ("loaded_app:tasks", "has no tasks; it holds no Tasks at all"),
        ("..jobs:tasks", "importing ..jobs failed"),
    ],
)
def test_what_is_not_there_is_said_clearly(app: Path, path: str, said: str) -> None:
    with pytest.raises(TasksNotFound) as raised:
        load_tasks(path)
    assert said in str(raised.value)


def test_the_error_of_a_module_stays_in_sight(app: Path) -> None:
    with pytest.raises(TasksNotFound) as raised:
        load_tasks("loaded_app.broken:tasks")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
