"""JSON by orjson and msgspec: what comes of a value, or of a body, is what comes of it without them."""

import dataclasses
import datetime
import enum
import json
import math
import sys
import uuid
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rpcservice.amqp.codec import Codec, Codecs
from rpcservice.amqp.fastjson import quicken
from rpcservice.errors import MissingExtra
from rpcservice.testing import FakeHost

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Order:
    sku: str


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Letter(bytes, enum.Enum):
    """marshal takes its members for bytes."""

    A = b"a"

    def __init__(self, letter: bytes) -> None:
        self._value_ = "another"

    def __repr__(self) -> str:
        return "Letter.A"


class Name(str):
    __slots__ = ()


class Sized(dict[str, Any]):
    def __len__(self) -> int:
        return 0


class OwnJson:
    def __json__(self) -> dict[str, int]:
        return {"own": 1}


def json_codec(fast: bool | None) -> Codec:
    return FakeHost(config={"fast_json": fast}).resource(Codecs).default


SLOW, FAST = json_codec(False), json_codec(True)


def outcome(function: Callable[[Any], Any], subject: Any) -> str:
    """Give what comes of a call, with the order of keys, the signs of zeros, and what is NaN."""
    try:
        return repr(function(subject))
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"


def read_back(dumps: Callable[[Any], bytes], *loads: Callable[[bytes], Any]) -> Callable[[Any], Any]:
    """Give what encodes a value, and decodes that in each of these ways."""

    def through(value: Any) -> Any:
        encoded = dumps(value)
        assert type(encoded) is bytes
        return [load(encoded) for load in loads]

    return through


def assert_same_when_encoded(value: object) -> None:
    loads = (SLOW.loads, FAST.loads)
    assert outcome(read_back(FAST.dumps, *loads), value) == outcome(read_back(SLOW.dumps, *loads), value)


def assert_same_when_decoded(body: bytes) -> None:
    assert outcome(FAST.loads, body) == outcome(SLOW.loads, body)


# Writing

PLAIN = {"args": ["a", 1, -1.5, True, None, {"b": []}], "kwargs": {"ü": "€\n\x7f"}}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "L"]))
    | st.sampled_from([127, 255, -1, 2**63, -(2**63) - 1, 2**64, 1e308, -1e308, 1e16, 1e-7, -0.0, math.inf, math.nan])
)
ODD = (
    st.binary()
    | st.decimals(allow_nan=False)
    | st.datetimes()
    | st.dates()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from([Colour.RED, Level.HIGH, Order("tea"), Name("ü"), Point(1, 2), OwnJson(), Counter("ab"), ...])
)
KEYS = st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.sampled_from([Name("n"), Level.HIGH])


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner), max_leaves=15
    )


@settings(max_examples=500)
@given(nested(SCALARS, st.text()))
@example([math.nan])
@example({"error": math.nan})
@example(["g", math.nan, "g", math.inf] * 3)
@example([[math.nan] * 2, -math.inf])
def test_what_json_has_is_written_the_same(value: object) -> None:
    """White space, escapes and exponents aside: what is read is the same, and so is the kind of every number."""
    assert_same_when_encoded(value)


@settings(max_examples=500)
@given(nested(SCALARS | ODD | st.sets(st.integers()), KEYS))
def test_whatever_else_there_is_ends_the_same(value: object) -> None:
    assert_same_when_encoded(value)


@pytest.mark.parametrize(
    "value",
    [
        Order("tea"),
        Colour.RED,
        Level.HIGH,
        {Level.HIGH: 1},
        Letter.A,
        Name("x"),
        {Name("x"): 1},
        Point(1, 2),
        OrderedDict(b=1, a=2),
        Counter("abba"),
        Sized(a=1),
        SimpleNamespace(a=1),
        OwnJson(),
        uuid.UUID(int=7),
        Decimal("1.10"),
        datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
        datetime.timedelta(1),
        b"bytes",
        b"\xff",
        bytearray(b"x"),
        memoryview(b"x"),
        frozenset((1,)),
        range(3),
        iter([1]),
        {"a": 1}.keys(),
        {1: "a", "1": "b"},
        {None: 1, True: 2, 1.5: 3, math.inf: 4},
        {(1, 2): 3},
        "\ud800",
        {"\udfff": 1},
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**400,
        Ellipsis,
        1j,
        compile("1", "here", "eval"),
    ],
    ids=repr,
)
def test_what_only_one_of_the_encoders_knows_ends_the_same(value: object) -> None:
    """orjson writes dataclasses, enumerations and UUIDs by itself, and refuses keys that json makes texts of."""
    assert_same_when_encoded(value)
    assert_same_when_encoded({"result": [value], "error": None})


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [100, 250, 260, 800, 5000])
def test_depth_ends_the_same(depth: int) -> None:
    """orjson gives up at 254 levels."""
    assert_same_when_encoded(nest(depth))


def test_a_value_that_holds_itself_ends_the_same() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = [endless]
    assert_same_when_encoded(endless)


def test_the_error_of_a_value_that_cannot_be_written_has_no_other_before_it() -> None:
    with pytest.raises(TypeError) as caught:
        FAST.dumps({"a": 1j})
    assert caught.value.__context__ is None


# Reading

WORDS = [
    "null",
    "true",
    "false",
    "nul",
    "tru",
    "NaN",
    "Infinity",
    "-Infinity",
    "0",
    "-0",
    "1",
    "01",
    "1.",
    ".5",
    "-",
    "1e",
]
NUMBERS = ["1e5", "1E+5", "1e400", "-1e400", "1e-400", "0.1", "-0.0", "0.10000000000000000555"]
LARGE = ["9223372036854775808", "18446744073709551616", "-9223372036854775809", "123456789012345678901234567890.5"]
TEXTS = [
    '""',
    '"a"',
    '"é"',
    '"\\u00e9"',
    '"\\ud83e\\udd54"',
    '"\\ud83e"',
    '"\\udd54\\ud83e"',
    '"\\u00zz"',
    '"\\x"',
    '"\\/"',
]
TOKENS = st.sampled_from([*WORDS, *NUMBERS, *LARGE, *TEXTS, '"\\u0000"', '"\\""', '"', '"__type__"'])
NAMES = st.sampled_from(['"a"', '"b"', '"\\u0061"', '"ü"', '"\\ud800"', "1", "a", '"__type__"', '"__value__"'])
SEPARATORS = st.sampled_from([",", ", ", " ,\n", ",,", ""])


def bodies() -> st.SearchStrategy[bytes]:
    """Give bodies that are JSON, or nearly."""
    texts = st.recursive(
        TOKENS,
        lambda inner: (
            st.tuples(st.lists(inner), SEPARATORS).map(lambda parts: f"[{parts[1].join(parts[0])}]")
            | st.tuples(st.lists(st.tuples(NAMES, inner)), SEPARATORS).map(
                lambda parts: f"{{{parts[1].join(f'{name}: {value}' for name, value in parts[0])}}}"
            )
        ),
        max_leaves=12,
    )
    return texts.map(str.encode)


@settings(max_examples=500)
@given(bodies())
def test_json_and_what_looks_like_it_are_read_the_same(body: bytes) -> None:
    assert_same_when_decoded(body)


@settings(max_examples=300)
@given(nested(SCALARS, KEYS).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")))
def test_json_of_other_libraries_is_read_the_same(body: bytes) -> None:
    assert_same_when_decoded(body)


@settings(max_examples=300)
@given(st.binary() | st.text('[]{}",:\\u0dD8eE+-. \n\t\x01\x7faftnrlsbNI\ufeff').map(str.encode))
def test_any_bytes_are_read_the_same(body: bytes) -> None:
    assert_same_when_decoded(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \r\n\t[1] \n",
        b"\x0c[1]",
        b"[1] 2",
        b"[1,]",
        b'{"a": 1,}',
        b'{"a": 1, "b": 2, "a": 3}',
        b"\xef\xbb\xbf[1]",
        "[1]".encode("utf-16"),
        "[1]".encode("utf-32-le"),
        b'"\xff"',
        b'{"\xff": 1}',
        b'"\xed\xa0\x80"',
        b'"\x01"',
        b'"\x7f"',
        b"[1]\x00",
        b"9" * 4300,
        b"9" * 4301,
        b"1." + b"3" * 5000,
        b"2.2250738585072011e-308",
        b"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587.5e200",
        b'{"__type__": "date", "__value__": "2024-02-29"}',
        b'{"\\u005f_type__": "date", "__value__": "2024-02-29"}',
        b'{"__type__": "strange", "__value__": 1}',
        b"[" * 400 + b"]" * 400,
        b"[" * 5000 + b"]" * 5000,
        b"[" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_bodies_that_libraries_read_in_different_ways_are_read_the_same(body: bytes) -> None:
    assert_same_when_decoded(body)


# When


def test_plain_values_take_the_fast_way() -> None:
    """Otherwise all of the above would say nothing."""
    assert FAST.dumps(PLAIN) == json.dumps(PLAIN, separators=(",", ":"), ensure_ascii=False).encode()
    assert FAST.dumps([127, 255, -1, 1.5]) == b"[127,255,-1,1.5]"

    def refuse(body: bytes) -> Any:
        raise AssertionError(body)

    assert quicken(SLOW.dumps, refuse)[1](FAST.dumps(PLAIN)) == PLAIN


def test_without_it_the_bytes_are_namekos() -> None:
    assert SLOW.dumps(PLAIN) == json.dumps(PLAIN).encode()


def test_it_is_used_where_it_is_installed() -> None:
    assert json_codec(None).dumps([1, 2]) == b"[1,2]"


@pytest.mark.parametrize("library", ["orjson", "msgspec"])
def test_where_it_is_not_installed_the_standard_library_does_all(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert json_codec(None).dumps([1, 2]) == b"[1, 2]"


@pytest.mark.parametrize("library", ["orjson", "msgspec"])
def test_what_is_asked_for_and_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf'fast_json: true .*{library}.*; run: pip install "rpcservice\[fast\]"'):
        json_codec(True)


def test_a_msgspec_that_makes_floats_of_large_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(json=SimpleNamespace(Decoder=lambda: SimpleNamespace(decode=float)))
    monkeypatch.setitem(sys.modules, "msgspec", old)
    assert json_codec(None).dumps([1, 2]) == b"[1, 2]"
