"""The keys that data keys are wrapped with. Needs the ``cryptography`` package:
``pgqueue[crypto]``."""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from typing import Any

from pgqueue.errors import InvalidOption, PgqueueError, UndecodablePayload

KEY_BYTES = 32
_NONCE_BYTES = 12
_NAME = re.compile(r"[A-Za-z0-9._-]{1,50}")


class KeyRing:
    """AES-256 keys by name, and which of them encrypts; the others only decrypt.

    ``KeyRing({"2026": new, "2025": old}, current="2026")``: each is 32 bytes, as
    :meth:`new_key` makes them. A key's name stands beside what it encrypts; a name is never given
    to another key. To change keys: add the new one beside the old one everywhere, then make it
    current, then ``pgqueue keys rotate``, then take the old one away.
    """

    def __init__(self, keys: Mapping[str, bytes], current: str | None = None) -> None:
        if current is None and len(keys) == 1:
            (current,) = keys
        if current is None or current not in keys:
            raise InvalidOption("current", f"must be one of the keys ({_listed(keys)})")
        for name, key in keys.items():
            if _NAME.fullmatch(name) is None:
                raise InvalidOption(
                    "keys", f"a name has 1 to 50 letters, digits and ._-, not {name!r:.80}"
                )
            if not isinstance(key, bytes) or len(key) != KEY_BYTES:
                raise InvalidOption("keys", f"{name} must be {KEY_BYTES} bytes")
        self.current = current
        aesgcm = _aesgcm()
        self._ciphers = {name: aesgcm(key) for name, key in keys.items()}

    @classmethod
    def from_environment(cls, variable: str = "PGQUEUE_KEYS") -> "KeyRing":
        """Read ``NAME:BASE64`` pairs, apart by spaces, the first current. Raises
        :class:`InvalidOption`; no key is ever quoted."""
        keys: dict[str, bytes] = {}
        for pair in os.environ.get(variable, "").split():
            name, _, text = pair.partition(":")
            try:
                keys[name] = base64.b64decode(text, validate=True)
            except binascii.Error:
                raise InvalidOption(variable, f"key {len(keys) + 1} is not NAME:BASE64") from None
        if not keys:
            raise InvalidOption(
                variable, "is empty; set it to NAME:KEY, and have KEY made by: pgqueue keys new"
            )
        return cls(keys, next(iter(keys)))

    @staticmethod
    def new_key() -> bytes:
        """Return a new key."""
        return os.urandom(KEY_BYTES)

    @property
    def names(self) -> list[str]:
        """The names of all keys, sorted."""
        return sorted(self._ciphers)

    def wrap(self, key: bytes, context: bytes) -> str:
        """Return a data key, encrypted under the current key and bound to *context*, as text."""
        return encrypt(self._ciphers[self.current], key, self._bound(self.current, context))

    def unwrap(self, name: str, wrapped: str, context: bytes, what: str) -> bytes:
        """Return the data key that was wrapped under the key of this *name*.

        Raises :class:`UndecodablePayload`, which says of *what*, if the ring does not have that
        key, or it does not fit.
        """
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise UndecodablePayload(
                f"{what}: encrypted under key {name!r:.60}, and this key ring has only "
                f"{_listed(self._ciphers)}; give it that key, restart the worker, and retry the job"
            )
        return decrypt(cipher, wrapped, self._bound(name, context), what)

    def _bound(self, name: str, context: bytes) -> bytes:
        return name.encode() + b"\0" + context

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self.names)}; current {self.current}>"


def cipher_of(key: bytes) -> Any:
    """Return what encrypts under *key*."""
    return _aesgcm()(key)


def encrypt(cipher: Any, data: bytes, context: bytes) -> str:
    """Return *data* encrypted, as text; *context* is not in it, and must be the same later."""
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + cipher.encrypt(nonce, data, context)).decode("ascii")


def decrypt(cipher: Any, text: str, context: bytes, what: str) -> bytes:
    """Return what was encrypted. Raises :class:`UndecodablePayload`."""
    try:
        data = base64.b64decode(text, validate=True)
        plain: bytes = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context)
    except Exception:  # noqa: BLE001  what a damaged text makes of it differs with the damage
        # Nothing of the cause: it is said once, in words that hold for all of them.
        raise UndecodablePayload(
            f"{what}: cannot be decrypted: it was altered, or belongs to another job, or its key's "
            "name was given to another key"
        ) from None
    return plain


def _aesgcm() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise PgqueueError(
            "encryption needs the package cryptography; install it: pip install 'pgqueue[crypto]'"
        ) from None
    return AESGCM


def _listed(keys: Mapping[str, Any]) -> str:
    return ", ".join(sorted(keys)) or "none"
