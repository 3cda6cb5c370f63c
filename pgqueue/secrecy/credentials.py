"""What looks like a credential: by the name it goes under, or by its own shape.

Names are read word by word (``apiKey``, ``api_key`` and ``api-key`` are the same two), so that
``discard`` is no ``card``. What is found is described, never quoted.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import Final

# A text as it is looked at first: small letters, all digits alike, neither what may stand within a
# name nor what is around one. A colon or a comma always stands between two.
_FOLDED = bytes(
    ord("0") if 48 <= byte < 58 else ord(chr(byte).lower()) if byte < 128 else 0
    for byte in range(256)
)
_LEFT_OUT = b' _-"{}[]'
_MANY_DIGITS = "0" * 13

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NAMES: Final = (
    ("a password", re.compile(r"\S*passw(or)?d\S*|pwd|passphrase")),
    ("a secret", re.compile(r"\S*secret(?!ar)\S*")),
    ("a token", re.compile(r"\S*tokens?")),
    ("an API key", re.compile(r"\S*api ?keys?")),
    ("an authorization header", re.compile(r"authorization")),
    ("a cookie", re.compile(r"\S*cookies?")),
    ("a session", re.compile(r"session(id)?")),
    ("a private key", re.compile(r"\S*private ?key")),
    ("a credential", re.compile(r"\S*credentials?")),
    ("a payment card", re.compile(r"(credit|debit)?card")),
    ("a card's security code", re.compile(r"cv[vc]2?")),
)
_ALSO_NUMBERS: Final = frozenset({"a payment card", "a card's security code"})
_REFERENCES: Final = frozenset(
    {"id", "ids", "ref", "name", "names", "arn", "type", "kind", "count", "length", "at", "expiry"}
)
"""``secret_name`` and ``token_id`` say where it is kept, and that is what a job should be given."""

SHAPES: Final = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("a JSON web token", re.compile(r"\beyJ[\w-]{8,4000}\.[\w-]{8,4000}\.[\w-]*")),
    ("a bearer token", re.compile(r"\b[Bb](?:earer|EARER) +(?=\S{0,500}\d)[\w.~+/=-]{8,}")),
    ("an AWS access key", re.compile(r"\bAKIA[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\bghp_\w{20,}")),
    ("a URL with a password", re.compile(r"://[^\s/:@?#\"']{0,200}:[^\s/@?#\"']{1,500}@[^\s@]")),
)
"""What it is, and how it looks in a text; the whole match is the credential."""

CARD = re.compile(
    r"(?<![\w.-])"
    r"(?:\d{14,16}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5})"
    r"(?![\w-]|\.\d)"
)
"""What may be the number of a payment card, if :func:`is_card` agrees. Not a part of a UUID."""
_CARD_PREFIX = re.compile(
    r"4\d{15}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|6(?:011|[245])\d+"
)


def may_hold(text: str) -> bool:
    """Whether *text* may hold a credential: quick, and wrong only by being too careful.

    Whatever this module finds leaves one of these traces. To look for each takes less than a
    microsecond in all; the regular expression that says the same takes six.
    """
    data = text.encode("utf-8", "replace").translate(_FOLDED, _LEFT_OUT)
    folded = data.decode("latin-1")  # str searches faster than bytes
    return (
        "passw" in folded
        or "passph" in folded
        or "pwd" in folded
        or "secret" in folded
        or "token" in folded
        or "apikey" in folded
        or "authorization" in folded
        or "cookie" in folded
        or "session" in folded
        or "privatekey" in folded
        or "credential" in folded
        or "card" in folded
        or "cv" in folded
        or "bearer" in folded
        or "eyj" in folded
        or "akia" in folded
        or "ghp" in folded
        or _MANY_DIGITS in folded
        or "\\u" in folded  # an escape, which our encoder does not write, may hide any of them
        or ("://" in folded and "@" in folded)
    )


@lru_cache(maxsize=4096)
def named(key: str) -> str | None:
    """What the name *key* says its value is; None: nothing special."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if words and words[-1] in _REFERENCES and "session" not in words:
        return None
    names = [*words, *map(" ".join, pairwise(words))]
    for kind, pattern in _NAMES:
        if any(map(pattern.fullmatch, names)):
            return kind
    return None


def is_named_number(kind: str) -> bool:
    """Whether numbers, too, are credentials of this *kind*: a card's, but not ``max_tokens``."""
    return kind in _ALSO_NUMBERS


def shaped(text: str) -> str | None:
    """What *text* has the shape of, or has in it; None: nothing special."""
    for kind, shape in SHAPES:
        if shape.search(text):
            return kind
    if any(is_card(match[0]) for match in CARD.finditer(text)):
        return "the number of a payment card"
    return None


def is_card(text: str) -> bool:
    """Whether *text* is a card's number: an issuer's prefix and length, and a right check digit."""
    digits = re.sub(r"\D", "", text)
    if _CARD_PREFIX.fullmatch(digits) is None:
        return False
    doubled = (int(digit) * (1 + n % 2) for n, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
