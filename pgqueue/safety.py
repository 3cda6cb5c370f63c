"""What a task says of safety: credentials in its jobs, who may have it run, what is encrypted."""

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace

from pgqueue import failure
from pgqueue.context import Context
from pgqueue.errors import InvalidOption, UndecodablePayload
from pgqueue.job import Job
from pgqueue.notes import Checkpoint, Line, Note
from pgqueue.options import Rules
from pgqueue.outcome import Failure
from pgqueue.secrecy.guard import Guard, Mode, guarding, leaves
from pgqueue.secrecy.keyring import KeyRing
from pgqueue.secrecy.redaction import redact, redact_said
from pgqueue.secrecy.sealing import Sealer, is_sealed

_SECRET = 4
"""Characters from which on a text is looked for: shorter ones are found everywhere."""

Authorize = Callable[[Context], bool | Awaitable[bool]]
"""Whether the context's job may run. May raise :class:`Unauthorized` to say why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Safety:
    """The settings, and what follows from them for what is stored."""

    guard: Guard = field(default_factory=Guard)
    authorize: Authorize | None = None
    actor_required: bool = False
    keys: KeyRing | None = None
    encrypts: bool = False
    fields: tuple[str, ...] = ()
    """Which arguments are encrypted; none: all, if it encrypts."""

    @classmethod
    def of(
        cls,
        credentials: Mode,
        allow: Iterable[str],
        authorize: Authorize | None,
        keys: KeyRing | None,
    ) -> "Safety":
        """Return what an application says of all its tasks. Raises :class:`InvalidOption`."""
        return cls(guard=guarding(credentials, allow), authorize=authorize, keys=keys)

    def of_task(
        self,
        credentials: Mode | None,
        allow: Iterable[str],
        authorize: Authorize | None,
        *,
        actor_required: bool,
        encrypt: bool | Iterable[str],
    ) -> "Safety":
        """Return what holds for one task. Raises :class:`InvalidOption`."""
        guard = guarding(credentials or self.guard.mode, allow)
        if isinstance(encrypt, str):
            raise InvalidOption("encrypt", f"must be a list of names, not the text {encrypt!r:.80}")
        fields = () if isinstance(encrypt, bool) else tuple(encrypt)
        encrypts = bool(fields) or encrypt is True
        if encrypts and self.keys is None:
            raise InvalidOption("encrypt", "needs keys: Tasks(keys=KeyRing(...))")
        # What is encrypted may be a secret: that is what it is for.
        hidden = {f"args.{name}" for name in fields} or ({"args"} if encrypts else set())
        return replace(
            self,
            guard=guard._replace(allow=self.guard.allow | guard.allow | hidden),
            authorize=authorize or self.authorize,
            actor_required=actor_required,
            encrypts=encrypts,
            fields=fields,
        )

    @property
    def asks(self) -> bool:
        """Whether a job must be let in before its handler is called."""
        return self.authorize is not None or self.actor_required

    @property
    def rules(self) -> Rules | None:
        """What jobs are held to when they are enqueued; None: the usual."""
        rules = Rules(self.guard, self.actor_required, self._sealer if self.encrypts else None)
        return None if rules == Rules() else rules

    def check_arguments(self, names: Iterable[str], *, takes_any: bool) -> None:
        """Raise :class:`InvalidOption` if arguments are to be encrypted that the function does not
        have."""
        for name in self.fields:
            if name not in names and not takes_any:
                raise InvalidOption("encrypt", f"the function has no argument {name!r:.80}")

    def stored_result(self, job: Job, text: str) -> str:
        """Return a result as it is stored."""
        if self.encrypts:
            return self._sealer.seal(text, job.task, job.id, "result")
        return self.guard.redact(text, "result")

    def stored_failure(self, job: Job, failed: Failure) -> Failure:
        """Return an error as it is stored. Of an encrypted one, the type and the place remain."""
        if not self.encrypts:
            return failed
        return failed._replace(
            message=self._sealed(job, failed.message, "error"),
            traceback=self.stored_text(job, failed.traceback, "traceback"),
            fingerprint=failure.without_message(failed),
        )

    def stored_text(self, job: Job, text: str | None, place: str) -> str | None:
        """Return a text of a job (*place* says what it is) as it is stored."""
        return text and self._sealed(job, text, place)

    def stored_note(self, job: Job, note: Note) -> Note:
        """Return what a running job says of itself as it is stored."""
        if isinstance(note, Checkpoint):
            # As it is: the next attempt is to go on with it.
            return Checkpoint(self._sealed(job, note.value, "checkpoint"))
        if isinstance(note, Line):
            fields = note.fields and redact_said(note.fields, self.guard, "progress")
            return note._replace(
                message=self._sealed(job, redact(note.message), "log"),
                fields=fields and self._sealed(job, fields, "log"),
            )
        detail = note.detail and redact_said(note.detail, self.guard, "progress")
        return note._replace(detail=detail and self._sealed(job, detail, "progress"))

    def opened_arguments(self, text: str, task: str, job_id: int) -> str:
        """Return stored arguments in the clear. Raises :class:`UndecodablePayload`."""
        return self._opener("args").open_arguments(text, task, job_id)

    def secrets_of(self, job: Job) -> tuple[str, ...]:
        """Return the texts that are encrypted among a job's arguments, the longest first: what no
        line of its log may show."""
        if not self.encrypts or not is_sealed(job.args):
            return ()
        opened = json.loads(self.opened_arguments(job.args, job.task, job.id))
        hidden = {name: opened[name] for name in self.fields or opened if name in opened}
        found = {leaf.value for leaf in leaves([hidden], "")}
        texts = {value for value in found if isinstance(value, str) and len(value) >= _SECRET}
        numbers = {str(value) for value in found if isinstance(value, int) and value >= 10**8}
        return tuple(sorted(texts | numbers, key=len, reverse=True))

    def opened(self, text: str, task: str, job_id: int, place: str) -> str:
        """Return a stored text in the clear. Raises :class:`UndecodablePayload`."""
        return self._opener(place).open(text, task, job_id, place) if is_sealed(text) else text

    def _sealed(self, job: Job, text: str, place: str) -> str:
        return self._sealer.seal(text, job.task, job.id, place) if self.encrypts else text

    @property
    def _sealer(self) -> Sealer:
        assert self.keys is not None
        return Sealer(self.keys, self.fields)

    def _opener(self, place: str) -> Sealer:
        if self.keys is None:
            raise UndecodablePayload(f"{place}: encrypted, and there are no keys: Tasks(keys=...)")
        return self._sealer
