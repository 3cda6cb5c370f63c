import contextlib
import json
import math
import sys
import uuid
import warnings
from collections import OrderedDict, namedtuple
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum, auto
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgqueue.coding.codec import LIMIT, Codec, sanitise
from pgqueue.errors import InvalidPayload, LargePayload, PgqueueError, UndecodablePayload


class Colour(Enum):
    RED = 1
    CRIMSON = 1
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    GLAD = "glad"


class Right(Flag):
    READ = auto()
    WRITE = auto()


class Mode(IntFlag):
    X = 1
    Y = 2


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    price: Decimal


@dataclass
class Order:
    id: int
    items: list[Item] = field(default_factory=list)
    parent: "Order | None" = None
    more: Any = None


@dataclass(kw_only=True)
class Counter:
    """Its constructor changes what it is given, and not every field comes from there."""

    start: int
    seen: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.start += 1


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise LookupError("not positive")


@dataclass
class Sealed:
    name: str
    secret: InitVar[str]


@dataclass(init=False)
class Handmade:
    n: int

    def __init__(self, text: str) -> None:
        self.n = int(text)


@dataclass
class Box:
    content: Any


class NoOffset(tzinfo):
    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> None:
        return None


NAMED = (Colour, Size, Mood, Right, Mode, Item, Order, Counter, Positive, Sealed, Handmade, Box)
CODEC = Codec(NAMED)


def dumps(value: Any) -> str:
    return CODEC.dumps(value, what="args")


def there_and_back(value: Any) -> Any:
    return CODEC.loads(dumps(value))


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down; 0.0 is not -0.0, and 1 is not True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (Item, Order, Counter)):
        names = type(one).__dataclass_fields__
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, (datetime, time)):
        zones = (one.tzinfo, other.tzinfo)
        naive = (one.replace(tzinfo=None), other.replace(tzinfo=None))
        return bool(naive[0] == naive[1] and one.fold == other.fold and zones[0] == zones[1])
    if isinstance(one, (float, Decimal)):
        return repr(one) == repr(other)
    return bool(one == other)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone),
    st.sampled_from(["Europe/Paris", "America/New_York", "Asia/Kathmandu"]).map(ZoneInfo),
)
FOLDS = st.sampled_from([0, 1])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 3).map(lambda n: -(7**n) * 10**5000 + n),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.builds(lambda t, z, f: t.replace(tzinfo=z, fold=f), st.datetimes(), ZONES, FOLDS),
    st.builds(lambda t, z, f: t.replace(tzinfo=z, fold=f), st.times(), ZONES, FOLDS),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.binary(),
    st.sampled_from([*Colour, *Size, *Mood, *Right, *Mode]),
    st.sampled_from([Right(0), Right.READ | Right.WRITE, Mode(0), Mode.X | Mode.Y, Mode(8)]),
)
KEYS = st.one_of(
    TEXT, st.sampled_from(["$", "$$", "$date", "$datetime", "$dict", "$enum", "$dataclass", "$int"])
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(st.builds(Item, TEXT, st.decimals(allow_nan=False)), max_size=2)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.dictionaries(KEYS, inner, min_size=1, max_size=1),
        st.builds(Order, st.integers(), items, st.none() | st.builds(Order, st.just(1)), inner),
    )


VALUES = st.recursive(SCALARS, _containers, max_leaves=12)


# There and back


@given(VALUES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(there_and_back(value), value)


@given(VALUES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_stored_is_compact_and_strict_json(value: Any) -> None:
    text = dumps(value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    tree = json.loads(text, parse_constant=refuse)
    assert json.dumps(tree, ensure_ascii=False, separators=(",", ":")) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"user_id": 123, "name": "Zoë"}, '{"user_id":123,"name":"Zoë"}'),
        (datetime(2026, 3, 1, 12, tzinfo=UTC), '{"$datetime":"2026-03-01T12:00:00+00:00"}'),
        (date(2026, 3, 1), '{"$date":"2026-03-01"}'),
        (time(12, 30), '{"$time":"12:30:00"}'),
        (timedelta(days=-1, microseconds=1), '{"$timedelta":[-1,0,1]}'),
        (Decimal("1.10"), '{"$decimal":"1.10"}'),
        (uuid.UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
        (b"\xff\0", '{"$bytes":"/wA="}'),
        (Colour.BLUE, '{"$enum":["Colour","BLUE"]}'),
        (Size.LARGE, '{"$enum":["Size","LARGE"]}'),
        (Mood.GLAD, '{"$enum":["Mood","GLAD"]}'),
        (Right.READ | Right.WRITE, '{"$enum":["Right",null,3]}'),
        (
            Item("tea", Decimal(3)),
            '{"$dataclass":["Item",{"name":"tea","price":{"$decimal":"3"}}]}',
        ),
        ({"$date": 1}, '{"$dict":{"$date":1}}'),
        ({"$dict": {"$date": 1}}, '{"$dict":{"$dict":{"$dict":{"$date":1}}}}'),
        ({"$date": 1, "b": 2}, '{"$date":1,"b":2}'),
    ],
)
def test_the_stored_form_stays_as_it_is(value: Any, text: str) -> None:
    """Jobs in databases are written like this: a change here makes them undecodable."""
    assert dumps(value) == text
    assert same(CODEC.loads(text), value)


def test_the_hour_that_a_zone_repeats_keeps_its_zone_and_its_fold() -> None:
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Paris"), fold=1)
    back = there_and_back(moment)

    assert (back.fold, back.tzinfo, back.utcoffset()) == (1, moment.tzinfo, timedelta(hours=1))


def test_a_zone_of_another_make_becomes_its_offset() -> None:
    class Odd(NoOffset):
        def utcoffset(self, moment: datetime | None) -> timedelta:
            return timedelta(hours=3, seconds=7)

    moment = datetime(2026, 3, 1, tzinfo=Odd())
    back = there_and_back(moment)

    assert back == moment
    assert back.tzinfo == timezone(timedelta(hours=3, seconds=7))


@pytest.mark.parametrize("microseconds", [1, -1, 999_999, 1_000_001])
@pytest.mark.parametrize("fold", [0, 1])
def test_an_offset_of_less_than_a_second_is_kept(microseconds: int, fold: int) -> None:
    zone = timezone(timedelta(microseconds=microseconds))

    assert same(there_and_back(time(1, tzinfo=zone, fold=fold)), time(1, tzinfo=zone, fold=fold))
    moment = datetime(2026, 3, 1, tzinfo=zone, fold=fold)
    assert same(there_and_back(moment), moment)


def test_a_tuple_comes_back_as_a_list() -> None:
    assert there_and_back({"pair": (1, (2, ()))}) == {"pair": [1, [2, []]]}


def test_an_alias_comes_back_as_its_member() -> None:
    assert there_and_back(Colour.CRIMSON) is Colour.RED


def test_what_a_constructor_does_is_not_done_twice() -> None:
    counter = Counter(start=1)
    counter.seen = 9
    back = there_and_back(counter)

    assert (back.start, back.seen) == (2, 9)


def test_a_backslash_and_u0000_in_the_users_own_text_are_fine() -> None:
    assert there_and_back({"regex": r"\u0000"}) == {"regex": r"\u0000"}


def test_an_int_may_be_longer_than_python_prints() -> None:
    huge = 10 ** (sys.get_int_max_str_digits() + 1)

    assert there_and_back([huge, -huge, 1]) == [huge, -huge, 1]


# What is refused


class Text(str):
    __slots__ = ()


class Unreadable:
    def __repr__(self) -> str:
        raise LookupError("no repr")


class Stranger(Enum):
    ONE = 1


@dataclass
class Alien:
    n: int


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "path", "problem"),
    [
        (math.nan, "args", "nan is no JSON number"),
        ({"a": [1.0, -math.inf]}, "args.a[1]", "-inf is no JSON number"),
        ("a\0b", "args", "NUL"),
        ({"user": {"tags": ["a", "b", "c", "\0"]}}, "args.user.tags[3]", "NUL"),
        ({"a": {"b\0": 1}}, r"args.a['b\x00']", "NUL"),
        ({"order": Order(1, more={"x": "\0"})}, "args.order.more.x", "NUL"),
        ({"a": {"$x": "\0"}}, "args.a['$x']", "NUL"),
        (["ok", "\ud800"], "args[1]", "lone surrogate"),
        ({"\udfff": 1}, r"args['\udfff']", "lone surrogate"),
        ({"two words": {1, 2}}, "args['two words']", "builtins.set is not JSON; use sorted"),
        (frozenset(), "args", "use sorted"),
        (bytearray(), "args", "use bytes"),
        (OrderedDict(a=1), "args", "collections.OrderedDict is not JSON; use dict"),
        (Pair(1, 2), "args", "use tuple"),
        (Text("a"), "args", "use str"),
        (Unreadable(), "args", "Unreadable is not JSON; pass a plain value"),
        (Order, "args", "type"),
        ({"a": {1: 2}}, "args.a", "the key 1 (int) is no text"),
        ({None: 1}, "args", "the key of type NoneType is no text"),
        ({Mood.GLAD: 1}, "args", "the key of type Mood is no text"),
        ({10**5000: 1}, "args", "the key of type int is no text"),
        ({(Unreadable(),): 1}, "args", "the key of type tuple is no text"),
        (1j, "args", "builtins.complex is not JSON"),
        ([Stranger.ONE], "args[0]", "Stranger is a type that the task's annotations do not name"),
        ([Alien(1)], "args[0]", "Alien is a type that the task's annotations do not name"),
        (Sealed("a", "b"), "args", "Sealed(...) wants more than its fields"),
        (Handmade("1"), "args", "Handmade(...) wants more than its fields"),
        (Order.__new__(Order), "args", "a Order whose field id is not set"),
        (datetime(2026, 3, 1, tzinfo=NoOffset()), "args", "time zone without an offset"),
        (time(1, tzinfo=NoOffset()), "args", "time zone without an offset"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else ascii(value)[:40],
)
def test_what_cannot_be_stored_is_refused_by_its_path(value: Any, path: str, problem: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        dumps(value)

    assert refused.value.path == path
    assert problem in str(refused.value)


def wrap_list(value: Any) -> Any:
    return [value]


def wrap_tag(value: Any) -> Any:
    return {"$dict": value}


def nested(levels: int, wrap: Any) -> Any:
    value = None
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [wrap_list, wrap_tag])
def test_two_hundred_levels_come_back(wrap: Any) -> None:
    assert there_and_back(nested(200, wrap)) == nested(200, wrap)


def test_a_dataclass_counts_as_one_level() -> None:
    back = there_and_back(nested(200, Box))
    levels = 0
    while back is not None:
        back, levels = back.content, levels + 1

    assert levels == 200


@pytest.mark.parametrize("wrap", [wrap_list, wrap_tag, Box])
@pytest.mark.parametrize("levels", [201, 5000])
def test_deeper_values_are_refused_in_a_short_sentence(levels: int, wrap: Any) -> None:
    with pytest.raises(InvalidPayload, match="nested deeper than 200 levels") as refused:
        dumps(nested(levels, wrap))

    assert len(str(refused.value)) < 300


def test_what_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)

    with pytest.raises(InvalidPayload, match="nested deeper"):
        dumps(ring)


def test_a_caller_at_the_end_of_its_stack_is_told_so() -> None:
    def descend(errors: list[Exception]) -> None:
        try:
            descend(errors)
        except RecursionError:
            try:
                dumps(nested(150, wrap_list))
            except InvalidPayload as error:
                errors.append(error)
            else:
                raise

    refused: list[Exception] = []
    descend(refused)

    assert "the caller's own stack" in str(refused[0])


# Size


def test_the_limit_counts_bytes_not_characters() -> None:
    text = "é" * 10

    assert CODEC.dumps(text, what="args", limit=22) == f'"{text}"'
    with pytest.raises(InvalidPayload, match="args: 22 bytes of JSON are more than the 21 allowed"):
        CODEC.dumps(text, what="args", limit=21)


def test_a_mebibyte_is_the_limit() -> None:
    with pytest.warns(LargePayload):
        assert len(dumps("a" * (LIMIT - 2))) == LIMIT
    with pytest.raises(InvalidPayload, match="pass a reference to it"):
        dumps("a" * (LIMIT - 1))


def test_from_64_kib_there_is_one_warning() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dumps("a" * (64 * 1024 - 3))
        assert caught == []
        dumps(["a" * (64 * 1024 - 4)])

    assert [each.category for each in caught] == [LargePayload]


# What cannot be read


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "stored text is not JSON"),
        ("{", "stored text is not JSON"),
        ("NaN", "NaN is no JSON"),
        ("[-Infinity]", "-Infinity is no JSON"),
        ("1" * 5000, "stored text is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"$nothing":1}', "unknown tag '$nothing'"),
        ('{"$":1}', "unknown tag '$'"),
        ('{"$dict":[1]}', "damaged $dict"),
        ('{"$dict":null}', "damaged $dict"),
        ('{"$datetime":"yesterday"}', "damaged $datetime"),
        ('{"$datetime":["2026-03-01T00:00:00","Mars/Olympus",0]}', "damaged $datetime"),
        ('{"$datetime":["2026-03-01T00:00:00","../../etc/passwd",0]}', "damaged $datetime"),
        ('{"$datetime":["2026-03-01T00:00:00",null,7]}', "damaged $datetime"),
        ('{"$date":20260301}', "damaged $date"),
        ('{"$time":"25:00"}', "damaged $time"),
        ('{"$timedelta":[1,2]}', "damaged $timedelta"),
        ('{"$timedelta":[1e300,0,0]}', "damaged $timedelta"),
        ('{"$decimal":1.5}', "damaged $decimal"),
        ('{"$decimal":"much"}', "damaged $decimal"),
        ('{"$uuid":{}}', "damaged $uuid"),
        ('{"$bytes":"!!!"}', "damaged $bytes"),
        ('{"$int":"xyz"}', "damaged $int"),
        ('{"$enum":"Colour"}', "damaged $enum"),
        ('{"$enum":["Colour","GREEN"]}', "Colour has no member 'GREEN'"),
        ('{"$enum":["Colour",null,1]}', "Colour has no member None"),
        ('{"$enum":["Right",null,64]}', "damaged $enum"),
        ('{"$enum":["Stranger","ONE"]}', "Enum 'Stranger', which the task's annotations do not"),
        ('{"$enum":["Item","name"]}', "Enum 'Item', which"),
        ('{"$enum":[["Colour"],"RED"]}', "damaged $enum"),
        ('{"$dataclass":["Alien",{"n":1}]}', "dataclass 'Alien', which"),
        ('{"$dataclass":["Colour",{}]}', "dataclass 'Colour', which"),
        ('{"$dataclass":["os.system",{"command":"true"}]}', "dataclass 'os.system', which"),
        ('{"$dataclass":["Item",["name","price"]]}', "damaged $dataclass"),
        ('{"$dataclass":["Item",{"name":"tea"}]}', "missing fields: price; unknown fields: none"),
        (
            '{"$dataclass":["Item",{"name":"tea","cost":1,"tax":2}]}',
            "the stored Item does not fit the class: missing fields: price; "
            "unknown fields: cost, tax",
        ),
        ('{"$dataclass":["Positive",{"n":0}]}', "Positive refuses its stored fields: LookupError"),
        ('{"$dataclass":["Handmade",{"n":0}]}', "Handmade refuses its stored fields: TypeError"),
    ],
    ids=lambda value: value[:50],
)
def test_what_cannot_be_read_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(UndecodablePayload) as undecodable:
        CODEC.loads(text)

    assert problem in str(undecodable.value)


JSON_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.builds(lambda tag, body: {tag: body}, KEYS, inner)
        | st.builds(
            lambda tag, name, rest: {tag: [name, *rest]},
            st.sampled_from(["$enum", "$dataclass"]),
            st.sampled_from([cls.__qualname__ for cls in NAMED]),
            st.lists(inner, max_size=2),
        )
    ),
    max_leaves=10,
)


@given(JSON_TREES.map(json.dumps) | st.text())
@settings(deadline=None, max_examples=500)
def test_whatever_is_stored_is_read_or_is_undecodable(text: str) -> None:
    with contextlib.suppress(UndecodablePayload):
        CODEC.loads(text)


def test_two_types_of_one_name_are_refused() -> None:
    def another() -> type:
        return Enum(Colour.__qualname__, {"RED": 1}, module="elsewhere")  # type: ignore[return-value]

    with pytest.raises(PgqueueError, match="have the same name"):
        Codec([Colour, another()])


# Text that must be stored, whatever it is


@given(st.text(st.characters()), st.integers(0, 60))
def test_sanitised_text_always_fits(text: str, limit: int) -> None:
    data = sanitise(text, limit).encode()

    assert len(data) <= limit
    assert b"\0" not in data


@given(TEXT, st.integers(0, 1000))
def test_text_that_fits_is_left_alone(text: str, more: int) -> None:
    assert sanitise(text, len(text.encode()) + more) == text


def test_sanitised_text_keeps_its_head_and_its_tail() -> None:
    cut = sanitise("first " + "é" * 1000 + " last", 40)

    assert cut.startswith("first é")
    assert cut.endswith("é last")
    assert " ... " in cut


def test_nul_and_lone_surrogates_are_made_visible() -> None:
    assert sanitise("a\0b\ud800c", 100) == "a\N{SYMBOL FOR NULL}b?c"
