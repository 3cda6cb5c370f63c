"""Values as JSON text and back, exactly; and text that is fit to be stored."""

import json
import warnings
from collections.abc import Callable, Iterable
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from json.scanner import make_scanner
from typing import Any

from pgqueue.coding.decoder import Decoder
from pgqueue.coding.encoder import Encoder
from pgqueue.coding.named_types import NamedTypes
from pgqueue.coding.scalars import Refused
from pgqueue.errors import InvalidPayload, LargePayload, UndecodablePayload

LIMIT = 1024 * 1024
"""Bytes of UTF-8 that a payload may have."""
WARN_FROM = 64 * 1024

# What is circular was refused as too deep.
_TO_JSON = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


def _dump() -> Callable[[Any], str]:
    """Return what ``_TO_JSON.encode`` does. It makes its encoder of C anew at each call, and that
    takes as long as the encoding; not every Python has one."""
    if c_make_encoder is None:
        return _TO_JSON.encode
    encode = c_make_encoder(
        None, _TO_JSON.default, encode_basestring, None, ":", ",", False, False, False
    )
    return lambda tree: "".join(encode(tree, 0))


_to_json = _dump()


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_FROM_JSON = json.JSONDecoder(parse_constant=_refuse_constant)
_scan: Callable[[str, int], tuple[Any, int]] = make_scanner(_FROM_JSON)  # type: ignore[arg-type]


class Codec:
    """Turns values into JSON text and back. *types*: the Enums and dataclasses it may meet.

    Tuples become lists, and a time zone that is no ZoneInfo its offset. Everything else comes back
    as it was, or is refused by ``dumps``.
    """

    def __init__(self, types: Iterable[type] = ()) -> None:
        named = NamedTypes(types)
        self._encoder = Encoder(named)
        self._decoder = Decoder(named)

    def dumps(self, value: Any, *, what: str, limit: int = LIMIT) -> str:
        """Return *value* as JSON text. *what* begins the path in errors, such as ``"args"``.

        Raises :class:`InvalidPayload` for what cannot be stored exactly or is larger than *limit*
        bytes; warns with :class:`LargePayload` from 64 KiB.
        """
        try:
            text = self._text_of(value)
        except Refused as refused:
            path = what + _cut("".join(reversed(refused.steps)), 200)
            raise InvalidPayload(path, refused.problem, refused.advice) from None
        except RecursionError:
            problem = "nested deeper than the caller's own stack leaves room for"
            raise InvalidPayload(what, problem, "flatten it, or enqueue further out") from None
        size = len(text) if text.isascii() else len(text.encode())
        if size > limit:
            raise InvalidPayload(
                what,
                f"{size} bytes of JSON are more than the {limit} allowed",
                "store the data elsewhere and pass a reference to it",
            )
        if size >= WARN_FROM:
            warnings.warn(
                f"{what}: {size} bytes of JSON make a slow job; pass a reference instead",
                LargePayload,
                stacklevel=3,
            )
        return text

    def loads(self, text: str) -> Any:
        """Return the value that ``dumps`` made *text* of; raise :class:`UndecodablePayload`."""
        try:
            tree = _tree_of(text)
            return self._decoder.decode(tree) if '"$' in text else tree
        except (ValueError, TypeError) as error:
            raise UndecodablePayload(f"stored text is not JSON: {error}") from error
        except RecursionError as error:
            raise UndecodablePayload("stored JSON is nested too deeply to be read") from error

    def _text_of(self, value: Any) -> str:
        try:
            text = _to_json(self._encoder.encode(value))
            if "\\u0000" not in text and (text.isascii() or text.encode()):
                return text
        except ValueError:
            pass
        # Text with a NUL or a lone surrogate, and the careful pass says where; or only an int that
        # is too long for Python to print, or harmless text that shows the six characters \u0000.
        return _to_json(self._encoder.encode(value, careful=True))


def _tree_of(text: str) -> Any:
    """Parse JSON. The decoder's own way costs three times as much as its scanner, which stops at
    white space in front and behind the value's end."""
    try:
        tree, end = _scan(text, 0)
    except StopIteration:
        return _FROM_JSON.decode(text)
    return tree if end == len(text) else _FROM_JSON.decode(text)


def sanitise(text: str, limit: int) -> str:
    """Return *text* fit for a text column: without NUL and lone surrogates.

    Its middle is cut out if it has more than *limit* bytes. Never raises.
    """
    # A character has at least a byte; cutting first keeps a message of a gigabyte cheap.
    text = _cut(text, limit + 16)
    data = text.replace("\0", "\N{SYMBOL FOR NULL}").encode("utf-8", "replace")
    if len(data) > limit:
        half = max((limit - 5) // 2, 0)
        data = (data[:half] + b" ... " + data[len(data) - half :])[: max(limit, 0)]
    return data.decode("utf-8", "ignore")


def _cut(text: str, length: int) -> str:
    """Return *text*, its middle left out if it has more than *length* characters."""
    if len(text) <= length:
        return text
    half = max((length - 5) // 2, 0)
    return f"{text[:half]} ... {text[len(text) - half :]}"
