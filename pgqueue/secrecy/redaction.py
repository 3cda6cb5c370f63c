"""Text without the credentials in it: for errors that are kept, log lines, and every display."""

import json
import re
from typing import Any

from pgqueue.secrecy.credentials import CARD, SHAPES, is_card, may_hold
from pgqueue.secrecy.guard import REDACTED, Guard, leaves

SEALED = "$encrypted"
"""The key under which what is encrypted stands in JSON."""
ENCRYPTED = "[encrypted]"

_ENVELOPE = re.compile(r'\{"\$encrypted":.*?(?:\}\}|\Z)', re.S)
_STRICT = Guard()

# Every repetition below is bounded, or begins where a word does: a text that was made to be slow
# takes a second, not a day.

# password=…, "token": "…", X-Api-Key: …  What is in quotes is taken whole. Of the names that are
# words of prose and code as well, only what looks like a value.
_SURE = re.compile(
    r"""(?ix)(?P<name>(?<![\w-])[\w-]{0,40}(?:passw(?:or)?d|pwd|passphrase|secret(?!ar)|api[_-]?key|private[_-]?key
        |authorization|credential|set-cookie)[\w-]{0,40}["']?\ *[:=]\ *)
        (?!\[redacted)
        (?P<value>"[^"\n]*"|'[^'\n]*'|(?:(?:basic|bearer|digest)\ +)?[^\s"',;)\]}]+)"""
)
_LIKELY = re.compile(
    r"""(?ix)(?P<name>(?<![\w-])[\w-]{0,40}(?:token|cookie|session(?:[_-]?id)?|card(?:[_-]?number)?|cv[vc]2?)
        ["']?\ *[:=]\ *)
        (?!\[redacted)(?P<value>"[^"\n]{3,}"|'[^'\n]{3,}'|(?=[^\s"',;)\]}]{0,500}\d)[\w.~+/%=-]{3,})"""
)
_URL = re.compile(r"(?P<name>://[^\s/:@\"']{0,200}:)(?P<value>[^\s\"']{1,500})(?=@[^\s@])")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.S
)
# What Postgres and SQLAlchemy add to their messages: values of rows and of parameters.
_ROWS = re.compile(r"(?m)^(?P<name>[ |]*(?:DETAIL|CONTEXT): +)(?P<value>.+)$")
_PARAMETERS = re.compile(r"(?s)(?P<name>\[parameters: )(?P<value>.*?)(?=\](?:\n|$)|\Z)")


def redact(text: str) -> str:
    """Return *text* with whatever looks like a credential in it replaced."""
    if may_hold(text):
        text = redact_shapes(text)
        for pattern in (_URL, _SURE, _LIKELY):
            text = pattern.sub(_keep_name, text)
    return _without_rows(text)


def redact_shapes(text: str) -> str:
    """Return *text* without what has the shape of a credential: for lines of source code, in which
    ``token = …`` says nothing."""
    if not may_hold(text):
        return text
    for kind, shape in SHAPES:
        if kind == "a private key":
            text = _PRIVATE_KEY.sub(REDACTED, text)
        elif kind == "a URL with a password":
            text = _URL.sub(_keep_name, text)
        else:
            text = shape.sub(REDACTED, text)
    return CARD.sub(lambda match: REDACTED if is_card(match[0]) else match[0], text)


def redact_json(text: str) -> str:
    """Return JSON *text* fit to be shown: no credentials, and ``[encrypted]`` where it is so."""
    return redact_said(concealed(text), _STRICT, "")


def redact_said(text: str, guard: Guard, what: str) -> str:
    """Return JSON *text*, which is for people to read, without credentials: neither as values, nor
    within them. Of a guard that is not strict, as it is."""
    text = guard.redact(text, what)
    if guard.mode != "strict" or not may_hold(text):
        return text
    try:
        holder = [json.loads(text)]
    except (ValueError, RecursionError):
        return text
    for leaf in list(leaves(holder, what)):
        if isinstance(leaf.value, str) and not guard.allows(leaf.path):
            leaf.holder[leaf.key] = redact(leaf.value)
    return json.dumps(holder[0], ensure_ascii=False)


def shown(text: str) -> str:
    """Return *text*, a message or a traceback, fit to be shown."""
    if SEALED in text:
        text = _ENVELOPE.sub(ENCRYPTED, text)
    return redact(text)


def concealed(text: str) -> str:
    """Return JSON *text* with ``[encrypted]`` for what is encrypted in it, its envelope left
    out."""
    if f'"{SEALED}"' not in text:
        return text
    try:
        return json.dumps(_conceal(json.loads(text)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return json.dumps(ENCRYPTED)


def _conceal(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_conceal(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    rest = {key: _conceal(item) for key, item in tree.items() if key != SEALED}
    if SEALED not in tree:
        return rest
    envelope = tree[SEALED]
    fields = envelope.get("fields") if isinstance(envelope, dict) else None
    if isinstance(fields, dict):
        return {**rest, **dict.fromkeys(fields, ENCRYPTED)}
    return rest or ENCRYPTED


def _keep_name(match: "re.Match[str]") -> str:
    return match["name"] + REDACTED


def _without_rows(text: str) -> str:
    if "DETAIL:" in text or "CONTEXT:" in text:
        text = _ROWS.sub(_keep_name, text)
    if "[parameters: " in text:
        text = _PARAMETERS.sub(_keep_name, text)
    return text
