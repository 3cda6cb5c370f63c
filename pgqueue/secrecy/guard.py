"""The guard: no credentials in what a job is given.

A job waits in a table, in backups and on replicas: what it needs is a reference, and the right to
fetch the rest when it runs.
"""

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, NamedTuple

from pgqueue.errors import CredentialInPayload, CredentialWarning, InvalidOption, PersonalData
from pgqueue.secrecy.credentials import is_named_number, may_hold, named, shaped

Mode = Literal["strict", "warn", "off"]

_HARMLESS: Final = frozenset({"$enum", "$date", "$datetime", "$time", "$timedelta", "$int"})
_WRAPPERS: Final = frozenset({"$dict", "$uuid", "$bytes", "$decimal"})
_ROOTS: Final = ("args", "metadata", "result", "progress")
REDACTED: Final = "[redacted]"
_INDEX = re.compile(r"\[\d+\]")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}\.[\w-]")
_PHONE = re.compile(r"(?<![\w+])(?:\+\d[\d ()-]{7,16}\d|0\d{1,4}-\d{1,4}-\d{4})(?![\w-])")
_LOOKS: Final = 100
"""The first jobs of a task, in a process, are looked at for personal data: a hint needs no more."""

_LOOKED_AT: Final = 10_000
"""Characters of its arguments."""


class Finding(NamedTuple):
    """Where a credential is, and what kind of one. Never the value."""

    path: str
    kind: str


class Guard(NamedTuple):
    """How closely the jobs of a task are looked at. ``Guard()`` refuses credentials wherever they
    are."""

    mode: Mode = "strict"
    allow: frozenset[str] = frozenset()
    """Paths that may hold what looks like one (or like personal data), as errors show them:
    ``args.token``, ``metadata.session``, ``result.card``; ``[*]`` stands for any index. So may all
    that is below them."""

    def check(self, text: str, what: str) -> None:
        """Raise :class:`CredentialInPayload` if the JSON *text* holds a credential; in mode
        ``warn``, only warn."""
        if self.mode == "off" or not may_hold(text):
            return
        found = next(self.findings(text, what), None)
        if found is None:
            return
        if self.mode == "strict":
            raise CredentialInPayload(found.path, found.kind)
        warnings.warn(f"{found.path} looks like {found.kind}", CredentialWarning, stacklevel=4)

    def findings(self, text: str, what: str) -> Iterator[Finding]:
        """Yield what looks like a credential in the JSON *text*; *what* begins the paths."""
        try:
            holder = [json.loads(text)]
        except (ValueError, RecursionError):
            kind = shaped(text)
            if kind is not None:
                yield Finding(what, kind)
            return
        for leaf in leaves(holder, what):
            kind = leaf.kind
            if kind is not None and not self.allows(leaf.path):
                yield Finding(leaf.path, kind)

    def redact(self, text: str, what: str) -> str:
        """Return the JSON *text* with every credential in it replaced; in mode ``warn``, only warn.

        For what a job returns or says: an outcome must not be lost, so nothing is refused.
        """
        if self.mode == "off" or not may_hold(text):
            return text
        if self.mode == "warn":
            self.check(text, what)
            return text
        try:
            holder = [json.loads(text)]
        except (ValueError, RecursionError):
            return text  # it is no JSON, and will be refused as such
        found = [
            leaf
            for leaf in leaves(holder, what)
            if leaf.kind is not None and not self.allows(leaf.path)
        ]
        for leaf in found:
            leaf.holder[leaf.key] = REDACTED
        return json.dumps(holder[0], ensure_ascii=False) if found else text

    def allows(self, path: str) -> bool:
        """Whether what is at *path* may look like a credential."""
        if not self.allow:
            return False
        path = _INDEX.sub("[*]", path)
        return any(
            path == allowed or path.startswith((f"{allowed}.", f"{allowed}["))
            for allowed in self.allow
        )


USUAL: Final = Guard()


def guarding(mode: Mode, allow: Iterable[str], option: str = "credentials") -> Guard:
    """Return the guard of this *mode* that lets the paths in *allow* pass. Raises
    :class:`InvalidOption`."""
    if mode not in ("strict", "warn", "off"):
        raise InvalidOption(option, f"must be 'strict', 'warn' or 'off', not {mode!r:.80}")
    if isinstance(allow, str):
        raise InvalidOption("allow", f"must be a list of paths, not the text {allow!r:.80}")
    paths = frozenset(allow)
    for path in paths:
        if not isinstance(path, str) or not path.startswith(_ROOTS):
            raise InvalidOption(
                "allow", f"a path begins with {', '.join(_ROOTS)}, not {path!r:.80}"
            )
    return Guard(mode, frozenset(_INDEX.sub("[*]", path) for path in paths))


_seen: dict[str, int] = {}


def hint(task: str, text: str, guard: Guard = USUAL) -> None:
    """Warn, once a task and process, of an e-mail address or a phone number in the JSON *text*,
    but for what *guard* allows.

    Not refused: but an id would do, and would be right even when the address has changed since.
    """
    looks = _seen.get(task, 0)
    if looks >= _LOOKS or len(_seen) > 10_000 or guard.mode == "off":
        return
    _seen[task] = looks + 1
    for kind, shape in (("an e-mail address", _EMAIL), ("a phone number", _PHONE)):
        if shape.search(text, 0, _LOOKED_AT) and _is_hinted_at(shape, text, guard):
            _seen[task] = _LOOKS
            warnings.warn(
                f"a job of {task!r} carries {kind}; pass an id, and let the job look it up (or say "
                "allow=[...] with the path to it)",
                PersonalData,
                stacklevel=4,
            )
            return


def _is_hinted_at(shape: "re.Pattern[str]", text: str, guard: Guard) -> bool:
    """Whether something of this shape is where it is not allowed."""
    if not guard.allow:
        return True
    try:
        holder = [json.loads(text)]
    except (ValueError, RecursionError):
        return False
    return any(
        isinstance(leaf.value, str) and shape.search(leaf.value) and not guard.allows(leaf.path)
        for leaf in leaves(holder, "args")
    )


class Leaf(NamedTuple):
    """A plain value in a tree of JSON."""

    holder: Any
    key: Any
    path: str
    value: Any
    name: str | None
    """What the nearest telling name above it says that it is."""

    @property
    def kind(self) -> str | None:
        """What kind of credential it is; None: none."""
        if isinstance(self.value, str):
            return (self.name if self.value else None) or shaped(self.value)
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            return None
        if self.name is not None and is_named_number(self.name):
            return self.name
        return shaped(str(self.value)) if isinstance(self.value, int) else None


def leaves(holder: list[Any], path: str) -> Iterator[Leaf]:
    """Yield every plain value below the one element of *holder*, in order."""
    stack = [Leaf(holder, 0, path, holder[0], None)]
    while stack:
        leaf = stack.pop()
        tree, path, name = leaf.value, leaf.path, leaf.name
        if isinstance(tree, dict):
            if len(tree) == 1:
                ((tag, inner),) = tree.items()
                if tag in _HARMLESS:
                    continue
                if tag in _WRAPPERS:  # the encoder's own, and no step for a person
                    stack.append(Leaf(tree, tag, path, inner, name))
                    continue
                if tag == "$dataclass" and isinstance(inner, list):
                    stack += [Leaf(inner, n, path, each, name) for n, each in enumerate(inner) if n]
                    continue
            stack += [
                Leaf(tree, key, path + _step(key), value, named(key) or name)
                for key, value in reversed(tree.items())
            ]
        elif isinstance(tree, list):
            stack += [
                Leaf(tree, index, f"{path}[{index}]", value, name)
                for index, value in reversed(list(enumerate(tree)))
            ]
        else:
            yield leaf


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{key[:80]!a}]"
