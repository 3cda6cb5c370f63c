"""Find the tasks that a worker is told to run, by name: ``myapp.jobs:tasks``."""

import importlib
import os
import sys
from types import ModuleType
from typing import Any

from pgqueue.errors import PgqueueError
from pgqueue.tasks import Tasks


class TasksNotFound(PgqueueError):
    """A path such as ``myapp.jobs:tasks`` leads to no :class:`~pgqueue.tasks.Tasks`."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"no tasks at {path!r}: {problem}")


def load_tasks(path: str) -> Tasks:
    """Import and return the tasks at *path*, ``module:attribute``; both may have dots.

    The current directory becomes importable, as it is for a script. Raises
    :class:`TasksNotFound`; where importing the module raised, its error is the ``__cause__``.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise TasksNotFound(path, "write it as module:attribute, such as myapp.jobs:tasks")
    module = _import(path, module_name)
    found: Any = module
    for name in attribute.split("."):
        found = getattr(found, name, None)
    if isinstance(found, Tasks):
        return found
    wrong = f"{attribute} is a {type(found).__qualname__}, not a Tasks"
    if found is None:
        wrong = f"module {module_name} has no {attribute}"
    raise TasksNotFound(path, f"{wrong}; {_advice(module)}")


def _import(path: str, name: str) -> ModuleType:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise TasksNotFound(path, f"importing {name} failed: {error}") from error
        missing = f"there is no module {error.name}, neither in {here} nor on Python's path"
        raise TasksNotFound(path, missing) from None
    except Exception as error:
        problem = f"importing {name} failed: {type(error).__qualname__}: {error}"
        raise TasksNotFound(path, problem) from error


def _advice(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(value, Tasks))
    found = ", ".join(f"{module.__name__}:{name}" for name in names)
    return f"there is {found}" if found else "it holds no Tasks at all"
