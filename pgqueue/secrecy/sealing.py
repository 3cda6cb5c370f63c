"""Envelopes: what of a job is encrypted, and how it is bound to that job.

Each text that is sealed has a data key of its own, wrapped by a key of the ring. Both are bound to
the task, the job's id and what the text is (arguments, one of them, result, error), so that nothing
can be moved to another job, or to another place in the same one. The id of a job that is put aside
to be enqueued later (a batch's callback) is not known: its arguments are bound to the task alone.
"""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

from pgqueue.errors import InvalidOption, UndecodablePayload
from pgqueue.secrecy.keyring import KEY_BYTES, KeyRing, cipher_of, decrypt, encrypt
from pgqueue.secrecy.redaction import SEALED

_KID = re.compile(r'\\?"kid\\?": ?\\?"([A-Za-z0-9._-]+)')
_BEGINNING = f'{{"{SEALED}":'


def is_sealed(text: str) -> bool:
    """Whether *text* is an envelope, or arguments some of which are in one."""
    return text.startswith(_BEGINNING)


def kid_of(text: object) -> str | None:
    """The name of the key that *text* (or a job to be, that holds such a text) is encrypted under,
    if it is."""
    found = _KID.search(text) if isinstance(text, str) and SEALED in text else None
    return found[1] if found else None


class Sealer:
    """Seals and opens for one key ring. *fields*: which arguments are sealed; none: all are."""

    def __init__(self, ring: KeyRing, fields: Sequence[str] = ()) -> None:
        self.ring = ring
        self._fields = tuple(fields)

    def seal_arguments(self, args: str, task: str, job_id: int | None) -> str:
        """Return a job's arguments with those that are to be, encrypted. *job_id*: None for a job
        that is put aside."""
        if not self._fields:
            return self.seal(args, task, job_id, "args")
        arguments = json.loads(args)
        if not isinstance(arguments, dict) or SEALED in arguments:
            raise InvalidOption("args", f"must be a JSON object without {SEALED}")
        secret = {name: arguments.pop(name) for name in self._fields if name in arguments}
        parts = {name: json.dumps(value, ensure_ascii=False) for name, value in secret.items()}
        envelope = self._envelope(parts, task, job_id, "args.")
        return json.dumps({SEALED: envelope, **arguments}, ensure_ascii=False)

    def open_arguments(self, args: str, task: str, job_id: int) -> str:
        """Return what ``seal_arguments`` made *args* of; what is not sealed as it is."""
        if not is_sealed(args):
            return args
        envelope, rest = _parse(args, "args")
        if "fields" not in envelope:
            return self._opened(envelope, task, job_id, "args")[""]
        opened = self._opened(envelope, task, job_id, "args.")
        return json.dumps(
            {**rest, **{name: json.loads(text) for name, text in opened.items()}},
            ensure_ascii=False,
        )

    def seal(self, text: str, task: str, job_id: int | None, place: str) -> str:
        """Return *text* in an envelope, itself a JSON object; *place* says what it is of the
        job."""
        return json.dumps({SEALED: self._envelope({"": text}, task, job_id, place)})

    def open(self, text: str, task: str, job_id: int, place: str) -> str:
        """Return what ``seal`` made *text* of; what is not sealed as it is. Raises
        :class:`UndecodablePayload`."""
        if not is_sealed(text):
            return text
        envelope, _ = _parse(text, place)
        return self._opened(envelope, task, job_id, place)[""]

    def rewrap(self, text: str, task: str, job_id: int, place: str) -> str | None:
        """Return *text* with its data key wrapped by the current key; None if it is so already, or
        not sealed. Raises :class:`UndecodablePayload` if the ring lacks the key."""
        if not is_sealed(text):
            return None
        envelope, rest = _parse(text, place)
        if envelope.get("kid") == self.ring.current:
            return None
        place = f"{place}." if "fields" in envelope else place
        context = _context(task, _owner(envelope, job_id, place), place)
        key = self.ring.unwrap(str(envelope.get("kid")), str(envelope.get("key")), context, place)
        envelope |= {"kid": self.ring.current, "key": self.ring.wrap(key, context)}
        return json.dumps({SEALED: envelope, **rest}, ensure_ascii=False)

    def _envelope(
        self, parts: dict[str, str], task: str, job_id: int | None, place: str
    ) -> dict[str, Any]:
        key = os.urandom(KEY_BYTES)
        cipher = cipher_of(key)
        sealed = {
            name: encrypt(cipher, text.encode(), _context(task, job_id, place + name))
            for name, text in parts.items()
        }
        return {
            "kid": self.ring.current,
            "key": self.ring.wrap(key, _context(task, job_id, place)),
            "job": job_id,
            **({"data": sealed[""]} if "" in sealed else {"fields": sealed}),
        }

    def _opened(
        self, envelope: dict[str, Any], task: str, job_id: int, place: str
    ) -> dict[str, str]:
        owner = _owner(envelope, job_id, place)
        context = _context(task, owner, place)
        kid, wrapped = str(envelope.get("kid")), str(envelope.get("key"))
        cipher = cipher_of(self.ring.unwrap(kid, wrapped, context, place.rstrip(".")))
        parts = envelope.get("fields", {"": envelope.get("data")})
        return {
            name: decrypt(
                cipher, str(data), _context(task, owner, place + name), place + name
            ).decode()
            for name, data in parts.items()
        }


def _context(task: str, job_id: int | None, place: str) -> bytes:
    """What a ciphertext is bound to. As JSON, so that no two of these can be the same bytes."""
    return json.dumps(["pgqueue", 1, task, job_id, place]).encode()


def _owner(envelope: dict[str, Any], job_id: int, place: str) -> int | None:
    owner = envelope.get("job")
    if owner is not None and owner != job_id:
        raise UndecodablePayload(
            f"{place.rstrip('.')}: encrypted for job {owner!r:.30}, and found in job {job_id}"
        )
    return None if owner is None else job_id


def _parse(text: str, place: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split arguments (or whatever it is) into the envelope and what is in the clear."""
    try:
        rest = json.loads(text)
        envelope = rest.pop(SEALED)
        if isinstance(envelope, dict) and isinstance(envelope.get("fields", {}), dict):
            return envelope, rest
    except (ValueError, RecursionError):
        pass
    raise UndecodablePayload(f"{place}: its envelope is damaged")
