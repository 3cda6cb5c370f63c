"""What a handler does outside of the database and must not repeat: ``ctx.once(key)``.

Knows no database: a :class:`Registrar` writes down what is begun and what is done.
"""

import asyncio
import inspect
import logging
from collections.abc import Generator
from enum import Enum
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from pgqueue.errors import InvalidOption, LeaseLost, PgqueueError, UnknownOutcome
from pgqueue.job import Job
from pgqueue.options import Seconds, check_text, milliseconds
from pgqueue.signals import Snooze

log = logging.getLogger("pgqueue.job")

KEEP = 90 * 86400.0
"""Seconds for which it is known that something was done, unless said otherwise."""
_SHORTLY = 5.0
"""Seconds after which a job comes again whose effect is being done by another."""


class Word(Enum):
    """What is to be written down of an effect."""

    BEGIN = "it is about to be done"
    ANEW = "it was not done, and is about to be"
    HAPPENED = "it was done by the call that nobody knew about"
    DONE = "it is done"
    UNDONE = "nothing was done"


class Found(Enum):
    """What is known of an effect."""

    FIRST = "nobody did it: it is yours"
    DONE = "it is done"
    RUNNING = "another attempt is at it"
    UNKNOWN = "a call was begun and nobody knows how it ended"
    LOST = "the asking attempt is over"


class Entry(NamedTuple):
    """Something to be written down."""

    word: Word
    key: str
    call: str
    """A uuid, which is this entering's own."""
    keep_ms: int
    over: str | None = None
    """The call that is taken over, with ANEW and HAPPENED."""
    anyway: bool = False
    """Whether it counts though the attempt is over, with DONE and UNDONE."""

    @property
    def withdrawn(self) -> "Entry":
        """What takes back a beginning that nobody went on with."""
        return self._replace(word=Word.UNDONE, over=None, anyway=True)


class Answer(NamedTuple):
    """What is known after an entry; whose call it is, if it is somebody else's."""

    found: Found
    call: str | None = None
    job_id: int = 0
    attempt: int = 0


class Registrar(Protocol):
    """Writes down, for running jobs, what they do outside."""

    def ask(self, job: Job, entry: Entry) -> Answer:
        """Write down *entry*, and wait until that is committed. In a thread, not on the loop."""

    async def ask_async(self, job: Job, entry: Entry) -> Answer:
        """The same, on an event loop."""


class _Judge(NamedTuple):
    """To be asked of the application."""

    answer: Answer


Steps = Generator[Entry | _Judge, Any, Any]


class Once:
    """``with`` or ``async with``; gives whether the body is to do it. See :meth:`Context.once`."""

    def __init__(self, context: Any, key: str, undone_by: Any, keep: Seconds) -> None:
        check_text("key", "" if key is None else key, 500)
        kinds = (undone_by,) if isinstance(undone_by, type) else tuple(undone_by)
        for kind in kinds:
            if not isinstance(kind, type) or not issubclass(kind, BaseException):
                raise InvalidOption("undone_by", f"{kind!r} is no exception class")
        self._context = context
        self._key = key
        self._undone_by = kinds
        self._keep_ms = milliseconds(keep, "keep")
        self._call = ""
        """Ours while the body runs, if it is to do something."""

    def __enter__(self) -> bool:
        if _is_on_loop():
            raise PgqueueError("on an event loop, say: async with ctx.once(...)")
        return bool(self._run(self._enter()))

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._run(self._leave(error))

    async def __aenter__(self) -> bool:
        return bool(await self._run_async(self._enter()))

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        await self._run_async(self._leave(error))

    def _enter(self) -> Steps:
        """Ask whether it is ours to do. Raises Snooze, UnknownOutcome or LeaseLost."""
        if self._key in self._context.effects:
            raise PgqueueError(f"once({self._key!r}): this job is inside of it already")
        if self._context.registrar is None:
            return True
        call = str(uuid4())
        answer = yield Entry(Word.BEGIN, self._key, call, self._keep_ms)
        while answer.found is Found.UNKNOWN:
            happened = yield _Judge(answer)
            if not isinstance(happened, bool):
                raise UnknownOutcome(
                    self._context.task, self._key, job_id=answer.job_id, attempt=answer.attempt
                )
            said = "it happened" if happened else "it did not happen"
            self._context.log("once: on_unknown says that " + said, key=self._key)
            word = Word.HAPPENED if happened else Word.ANEW
            answer = yield Entry(word, self._key, call, self._keep_ms, over=answer.call)
        if answer.found is Found.RUNNING:
            raise Snooze(_SHORTLY)
        if answer.found is Found.LOST:
            raise LeaseLost(self._context.id, self._context.attempt)
        if answer.found is Found.FIRST:
            self._call = call
            self._context.effects.add(self._key)
        return answer.found is Found.FIRST

    def _leave(self, error: BaseException | None) -> Steps:
        """Write down what became of it. After an error that says nothing about that: nothing."""
        call, self._call = self._call, ""
        if not call:
            return
        self._context.effects.discard(self._key)
        # Whoever has finished the job in a transaction inside of this has not lost it.
        finished = self._context.outcome is not None
        entry = Entry(Word.DONE, self._key, call, self._keep_ms, anyway=finished)
        if error is None:
            answer = yield entry
            if answer.found is Found.LOST:
                raise LeaseLost(self._context.id, self._context.attempt)
        elif isinstance(error, self._undone_by):
            try:
                yield entry._replace(word=Word.UNDONE)
            except Exception as problem:  # noqa: BLE001  the body's own error matters more
                log.warning("once: that nothing was done could not be written down: %s", problem)

    def _run(self, steps: Steps) -> Any:
        """Do what *steps* want, in this thread."""
        answer: Any = None
        problem: Exception | None = None
        while True:
            try:
                step = steps.send(answer) if problem is None else steps.throw(problem)
            except StopIteration as end:
                return end.value
            answer, problem = None, None
            try:
                if isinstance(step, Entry):
                    answer = self._context.registrar.ask(self._context.job, step)
                else:
                    answer = self._judge()
                    if inspect.isawaitable(answer):
                        answer = asyncio.run(_awaited(answer))
            except Exception as error:  # noqa: BLE001  raised where it was asked
                problem = error

    async def _run_async(self, steps: Steps) -> Any:
        """Do what *steps* want, on this event loop."""
        answer: Any = None
        problem: Exception | None = None
        while True:
            try:
                step = steps.send(answer) if problem is None else steps.throw(problem)
            except StopIteration as end:
                return end.value
            answer, problem = None, None
            try:
                if isinstance(step, Entry):
                    answer = await self._context.registrar.ask_async(self._context.job, step)
                else:
                    answer = await self._judge_async()
            except Exception as error:  # noqa: BLE001  raised where it was asked
                problem = error

    def _judge(self) -> Any:
        judge = self._context.on_unknown
        return None if judge is None else judge(self._context, self._key)

    async def _judge_async(self) -> Any:
        """A question that is no coroutine is asked in a thread: the loop is everybody's."""
        if inspect.iscoroutinefunction(self._context.on_unknown):
            return await self._judge()
        answer = await asyncio.to_thread(self._judge)
        return await answer if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Any:
    return await answer


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
