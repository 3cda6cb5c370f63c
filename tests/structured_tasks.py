"""Tasks of a worker whose every line is structlog's, set up as the README shows it."""

import logging
import re
from pathlib import Path

import structlog
from structlog.contextvars import merge_contextvars
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level

from pgqueue import JobFields, Tasks, log_fields

README = Path(__file__).parents[1] / "README.md"

tasks = Tasks()
found = re.search(r"```python\n# shop/logs.py.*?\n(.*?)```", README.read_text(), re.DOTALL)
assert found is not None
NAMES = {
    "ExtraAdder": ExtraAdder,
    "JobFields": JobFields,
    "ProcessorFormatter": ProcessorFormatter,
    "add_log_level": add_log_level,
    "log_fields": log_fields,
    "logging": logging,
    "merge_contextvars": merge_contextvars,
    "structlog": structlog,
    "tasks": tasks,
}
exec(found[1], NAMES)

log = logging.getLogger("shop")
slog = structlog.get_logger("shop.structured")


def speak() -> None:
    log.info("by the\nstandard library")
    slog.info("by structlog", books=3)
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("caught")


@tasks.task("on-loop")
async def on_loop() -> None:
    speak()


@tasks.task("in-thread")
def in_thread() -> None:
    speak()


@tasks.task("in-child", executor="process")
def in_child() -> None:
    speak()
