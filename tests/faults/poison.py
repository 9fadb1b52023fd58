"""Messages that no well-meaning client sends, drawn by hypothesis: the same ones in each run."""

import base64
import json
import pickle
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

T = TypeVar("T")

SEED = 20
MEBIBYTE = 2**20
LARGE = 20 * MEBIBYTE
DEPTH = 100_000


def draw(strategy: st.SearchStrategy[T], count: int) -> list[T]:
    """Give so many examples."""
    drawn: list[T] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        drawn.append(example)

    collect()
    return drawn[:count]


def _cut(text: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, len(text)).map(lambda end: text[:end])


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
# Arguments and names that fit as often as not.
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "args": st.lists(VALUES, max_size=3) | VALUES,
        "kwargs": st.dictionaries(st.sampled_from(["value", "other", "self", ""]), VALUES, max_size=2) | VALUES,
        "method": st.sampled_from(["take_frame", "nothere", None, 7, []]),
        "data": st.fixed_dictionaries({}, optional={"value": VALUES, "other": VALUES}) | VALUES,
        "correlation_id": VALUES,
        "__type__": VALUES,
    },
)
GOOD = b'{"args": ["x"], "kwargs": {}}'
TEXTS = st.one_of(
    (REQUESTS | VALUES).map(json.dumps), st.sampled_from(["", " ", "{", "NaN", "\\ud800", '"\\ud800"', "1e999"])
)
BODIES: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=200),
    TEXTS.map(str.encode),
    TEXTS.flatmap(lambda text: _cut(text.encode())),
    TEXTS.flatmap(
        lambda text: st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "cp500"]).map(lambda e: text.encode(e))
    ),
    st.sampled_from(
        [GOOD, pickle.dumps({"args": [], "kwargs": {}}), b"\x1f\x8b" + GOOD, b"\x80" * 9, b"1" * 10_000, b"\x00" * 1000]
    ),
)
NAMES = st.sampled_from(
    [
        b"",
        b" ",
        b"\xff\xfe",
        b"a\r\nb: c",
        b"x" * 200,
        b"application/json",
        b"application/json; charset=utf-16",
        b"application/x-python-serialize",
        b"application/x-msgpack",
        b"application/x-yaml",
        b"application/data",
        b"text/plain",
        b"rpcservice",
        b"utf-8",
        b"utf-16",
        b"binary",
        b"punycode",
        b"no-such-encoding",
    ]
)
HEADER_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        # RabbitMQ closes the connection over the others, which Erlang does not know.
        st.floats(allow_nan=False, allow_infinity=False),
        st.binary(max_size=20),
        st.text(max_size=20),
        st.decimals(-1000, 1000, places=3, allow_nan=False).map(Decimal),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=8), inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.dictionaries(
    # RabbitMQ itself refuses what is no list of texts in these.
    st.text(min_size=1, max_size=10).filter(lambda name: name not in ("CC", "BCC"))
    | st.sampled_from(
        [
            "nameko.call_id_stack",
            "nameko.language",
            "nameko.rpcservice-deadline",
            "rpcservice-deadline",
            "rpcservice-attempts",
            "rpcservice-exchange",
            "rpcservice-routing-key",
            "rpcservice-return",
            "rpcservice-queue",
            "x-death",
            "compression",
        ]
    ),
    HEADER_VALUES | st.sampled_from(["application/x-gzip", "application/zstd", "application/x-bz2", "elsewhere"]),
    max_size=4,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": NAMES | st.just(b"application/json"),
        "content_encoding": NAMES,
        "application_headers": HEADERS,
        "app_id": NAMES,
        "type": NAMES,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "timestamp": st.sampled_from([0, 1, 2**63, 2**64 - 1]),
        "reply_to": st.just(b"poison-replies") | NAMES,
    },
)
MESSAGES = st.tuples(BODIES, PROPERTIES)

JSON = {"content_type": b"application/json"}
NESTED: dict[str, Any] = {}
for _ in range(400):
    NESTED = {"n": NESTED}
EXTREMES: list[tuple[bytes, dict[str, Any]]] = [
    (b'"' + b"x" * LARGE + b'"', JSON),
    (b"\xff" * LARGE, JSON),
    (b"[" * DEPTH, JSON),
    (b"[" * DEPTH + b"]" * DEPTH, JSON),
    (b'{"args": [' + b"[" * DEPTH + b"]" * DEPTH + b'], "kwargs": {}}', JSON),
    (b'{"a":' * DEPTH, JSON),
    (GOOD, {**JSON, "application_headers": NESTED}),
    (GOOD, {**JSON, "application_headers": {"big": "x" * 60_000}}),
]
"""What is drawn too seldom."""
ASKS = {"reply_to": b"poison-replies"}


def messages(count: int) -> list[tuple[bytes, dict[str, Any]]]:
    """Give the body and the properties of so many messages, as py-amqp takes them."""
    extremes = [(body, properties | asks) for body, properties in EXTREMES for asks in ({}, ASKS)]
    # Once is enough for the large ones.
    return extremes[1:3] + extremes[4:] + draw(MESSAGES, count - len(extremes) + 2)


_LINES = st.sampled_from(
    [
        b"Content-Type: application/json",
        b"Content-Type: \xff",
        b"Host: ",
        b"Host: a\x00b",
        b"Expect: 100-continue",
        b"Transfer-Encoding: gzip",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 1, 2",
        b"Connection: upgrade",
        b"Upgrade: websocket",
        b"Cookie: " + b"x" * 10_000,
        b"X-Request-ID: \r\n folded",
        b"no colon",
        b": no name",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: !",
    ]
) | st.binary(max_size=40)


def http_requests(count: int) -> list[bytes]:
    """Give what so many clients send, each of whom then ends its side; each has the head of a request at least."""

    def render(method: bytes, target: bytes, version: bytes, lines: list[bytes], body: bytes) -> bytes:
        head = b"%b %b %b\r\nHost: x\r\n%b" % (method, target, version, b"".join(line + b"\r\n" for line in lines))
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    drawn = draw(
        st.builds(
            render,
            st.sampled_from([b"POST"] * 5 + [b"GET", b"post", b"", b"\xff", b"X" * 9000]),
            st.sampled_from(
                [b"/take"] * 5 + [b"/take?a=%ff", b"/nothere", b"//", b"*", b"http://x/take", b"/%00", b"/" * 9000]
            )
            | st.binary(max_size=20),
            st.sampled_from([b"HTTP/1.1"] * 5 + [b"HTTP/1.0", b"HTTP/2.0", b"", b"HTTP/1.1 x"]),
            st.lists(_LINES, max_size=1),
            BODIES,
        )
        | st.binary(min_size=1, max_size=100).map(lambda junk: b"x" + junk + b"\r\n\r\n"),
        count - 3,
    )
    host = b"POST /take HTTP/1.1\r\nHost: x\r\n"
    return [
        *drawn,
        host + b"Content-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE,
        host + b"Content-Length: %d\r\n\r\n" % DEPTH + b"[" * DEPTH,
        host + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ]


def frames(count: int) -> Iterator[tuple[bool, bytes]]:
    """Give so many messages for websockets: whether each is sent as a text, and its bytes."""
    yield from draw(st.tuples(st.booleans(), BODIES | TEXTS.map(str.encode)), count - 4)
    yield True, b"x" * LARGE
    yield True, b"[" * DEPTH
    yield True, b'{"method": "take", "data": ' + b"[" * DEPTH + b"]" * DEPTH + b"}"
    yield False, base64.b64encode(b"x" * MEBIBYTE)
