"""The frame codec against py-amqp's own encoder and decoder, byte for byte, and against what other clients may send."""

import datetime
import re
import struct
import types
from decimal import Decimal
from typing import Any

import amqp
import pytest
from amqp.method_framing import frame_writer
from amqp.serialization import decode_properties_basic, dumps, loads
from hypothesis import example, given
from hypothesis import strategies as st

from rpcservice.amqp import frames
from rpcservice.amqp.properties import decode_properties, decode_table, encode_properties, encode_table
from rpcservice.errors import MessageTooLarge, UnserializableValueError

SHORT_FIELDS = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)

short_texts = st.text(max_size=60)
keys = st.text(min_size=1, max_size=30)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=100)
    | st.builds(
        lambda number, places: Decimal(number).scaleb(-places), st.integers(-(2**31), 2**31 - 1), st.integers(0, 9)
    )
    | st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(9999, 12, 31)).map(
        lambda moment: moment.replace(microsecond=0)
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(keys, values, max_size=6)
properties = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(SHORT_FIELDS, short_texts),
        "headers": tables,
        "delivery_mode": st.integers(0, 255),
        "priority": st.integers(0, 255),
        "timestamp": st.integers(0, 2**64 - 1),
    },
)


def py_amqp_properties(given: dict[str, Any]) -> bytes:
    renamed = {("application_headers" if name == "headers" else name): value for name, value in given.items()}
    return amqp.Message(**renamed)._serialize_properties()


def py_amqp_publish(
    channel: int, exchange: str, key: str, mandatory: bool, given: dict[str, Any], body: bytes, frame_max: int
) -> bytes:
    """Give what py-amqp writes to its socket for ``basic.publish``."""
    written: list[bytes] = []
    connection = types.SimpleNamespace(frame_max=frame_max, bytes_sent=0)
    transport = types.SimpleNamespace(write=lambda data: written.append(bytes(data)))
    renamed = {("application_headers" if name == "headers" else name): value for name, value in given.items()}
    arguments = dumps("Bssbb", (0, exchange, key, mandatory, False))
    frame_writer(connection, transport)(1, channel, amqp.spec.Basic.Publish, arguments, amqp.Message(body, **renamed))
    return b"".join(written)


def our_publish(
    channel: int, exchange: str, key: str, mandatory: bool, given: dict[str, Any], body: bytes, frame_max: int
) -> bytes:
    head = frames.publish_head(channel, exchange, key, mandatory)
    return head + frames.encode_content(channel, encode_properties(given), body, frame_max)


def table_with(key: bytes, kind: bytes, value: bytes) -> bytes:
    """Give the bytes of a table of one item, its length first."""
    item = bytes((len(key),)) + key + kind + value
    return struct.pack(">I", len(item)) + item


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


# Encoding


@given(tables)
@example({"a": ["x", "y"], "b": [], "c": {}, "d": None, "e": True, "f": 2**31, "g": -(2**31), "h": 1.5, "i": b"\xff"})
def test_a_table_is_encoded_as_by_py_amqp(table: dict[str, Any]) -> None:
    assert encode_table(table) == dumps("F", (table,))


@given(properties)
def test_properties_are_encoded_as_by_py_amqp(given: dict[str, Any]) -> None:
    assert encode_properties(given) == py_amqp_properties(given)


@given(st.integers(1, 65535), short_texts, short_texts, st.booleans(), properties, st.binary(max_size=500))
def test_a_publish_is_encoded_as_by_py_amqp(
    channel: int, exchange: str, key: str, mandatory: bool, given: dict[str, Any], body: bytes
) -> None:
    arguments = (channel, exchange, key, mandatory, given, body, 131072)
    assert our_publish(*arguments) == py_amqp_publish(*arguments)


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 8176, 8177, 100_000])
def test_a_body_is_split_at_frame_max_as_by_py_amqp(size: int) -> None:
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    arguments = (1, "exchange", "key", True, {"app_id": "a"}, body, 4096)
    assert our_publish(*arguments) == py_amqp_publish(*arguments)


def test_no_frame_is_larger_than_frame_max() -> None:
    encoded = frames.encode_content(1, encode_properties({}), b"x" * 10_000, 4096)
    sizes = []
    while encoded:
        size = struct.unpack_from(">I", encoded, 3)[0] + 8
        sizes.append(size)
        encoded = encoded[size:]
    assert sizes == [22, 4096, 4096, 1832]


def test_absent_and_none_properties_are_not_sent() -> None:
    assert encode_properties({"app_id": None, "unknown": 1}) == b"\x00\x00"


def test_empty_headers_are_sent_as_an_empty_table() -> None:
    assert encode_properties({"headers": {}}) == b"\x20\x00\x00\x00\x00\x00"


@pytest.mark.parametrize("multiple", [False, True])
def test_ack_is_encoded_as_by_py_amqp(multiple: bool) -> None:
    arguments = b"\x00\x3c\x00\x50" + dumps("Lb", (2**40, multiple))
    assert frames.ack_frame(7, 2**40, multiple) == frame(1, 7, arguments)


@pytest.mark.parametrize("multiple", [False, True])
@pytest.mark.parametrize("requeue", [False, True])
def test_nack_is_encoded_as_by_the_extension(multiple: bool, requeue: bool) -> None:
    arguments = b"\x00\x3c\x00\x78" + dumps("Lbb", (5, multiple, requeue))
    assert frames.nack_frame(7, 5, multiple, requeue) == frame(1, 7, arguments)


def test_channel_close_ok_is_an_empty_method() -> None:
    assert frames.channel_close_ok_frame(3) == frame(1, 3, b"\x00\x14\x00\x29")


def test_the_goodbye_is_connection_close_with_code_200() -> None:
    assert frame(1, 0, b"\x00\x0a\x00\x32" + dumps("BsBB", (200, "", 0, 0))) == frames.CONNECTION_CLOSE


def test_the_answer_to_a_goodbye_is_an_empty_method() -> None:
    assert frame(1, 0, b"\x00\x0a\x00\x33") == frames.CONNECTION_CLOSE_OK


# Limits


@pytest.mark.parametrize("name", SHORT_FIELDS)
def test_a_short_property_may_have_255_bytes_and_no_more(name: str) -> None:
    assert decode_properties(encode_properties({name: "x" * 255})) == {name: "x" * 255}
    with pytest.raises(MessageTooLarge, match=f"property {name} has 256 bytes, at most 255"):
        encode_properties({name: "x" * 256})


def test_short_strings_are_measured_in_bytes() -> None:
    with pytest.raises(MessageTooLarge) as caught:
        encode_properties({"app_id": "ü" * 128})
    assert (caught.value.part, caught.value.size, caught.value.limit) == ("property app_id", 256, 255)


def test_routing_key_and_exchange_may_have_255_bytes_and_no_more() -> None:
    frames.publish_head(1, "e" * 255, "k" * 255, False)
    with pytest.raises(MessageTooLarge, match="routing key"):
        frames.publish_head(1, "", "k" * 256, False)
    with pytest.raises(MessageTooLarge, match="exchange name"):
        frames.publish_head(1, "e" * 256, "", False)


def test_a_header_name_may_have_255_bytes_and_no_more() -> None:
    encode_table({"n" * 255: 1})
    with pytest.raises(MessageTooLarge, match="header name 'nnn"):
        encode_table({"n" * 256: 1})


def test_the_header_frame_may_fill_frame_max_and_no_more() -> None:
    fits = encode_properties({"headers": {"h": "x" * (4096 - 8 - 12 - 2 - 4 - 2 - 5)}})
    assert frames.encode_content(1, fits, b"", 4096)[:7] == struct.pack(">BHI", 2, 1, 4088)
    with pytest.raises(MessageTooLarge) as caught:
        frames.encode_content(1, fits + b"x", b"", 4096)
    assert (caught.value.part, caught.value.size, caught.value.limit) == ("headers", 4089, 4088)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        [object()],
        {"inner": object()},
        2**63,
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+5"),
        Decimal(2**31),
        datetime.datetime(1969, 12, 31),
        datetime.date(2020, 1, 1),
        {"k" * 256: 1},
        {1: "key is no text"},
    ],
    ids=repr,
)
def test_a_value_that_tables_do_not_know_is_unserializable(value: object) -> None:
    with pytest.raises(UnserializableValueError, match="header"):
        encode_table({"header": value})


def test_a_header_whose_name_is_no_text_is_unserializable() -> None:
    table: Any = {1: "x"}
    with pytest.raises(UnserializableValueError, match="1: 'x'"):
        encode_table(table)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", 256),
        ("priority", -1),
        ("delivery_mode", "2"),
        ("timestamp", "soon"),
        ("timestamp", -1),
        ("timestamp", 2**64),
        ("headers", ["no mapping"]),
    ],
)
def test_a_property_of_the_wrong_kind_is_unserializable(name: str, value: object) -> None:
    with pytest.raises(UnserializableValueError, match=name):
        encode_properties({name: value})


# Decoding


@given(tables)
def test_a_table_is_decoded_as_by_py_amqp(table: dict[str, Any]) -> None:
    encoded = dumps("F", (table,))
    assert decode_table(encoded, 0, len(encoded)) == loads("F", encoded, 0)[0][0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (b"t", b"\x01"),
        (b"b", b"\xff"),
        (b"B", b"\xff"),
        (b"s", b"\xff\xfe"),
        (b"U", b"\xff\xfe"),
        (b"u", b"\xff\xfe"),
        (b"I", b"\xff\xff\xff\xfe"),
        (b"i", b"\xff\xff\xff\xfe"),
        (b"l", b"\xff" * 8),
        (b"L", b"\xff" * 8),
        (b"f", struct.pack(">f", 1.5)),
        (b"d", struct.pack(">d", 1.5)),
        (b"D", b"\x02\x00\x00\x00\x7b"),
        (b"T", struct.pack(">Q", 1_700_000_000)),
        (b"V", b""),
        (b"x", b"\x00\x00\x00\x02\xff\x00"),
        (b"S", b"\x00\x00\x00\x02\xff\x00"),
        (b"S", b"\x00\x00\x00\x02\xc3\xbc"),
        (b"A", b"\x00\x00\x00\x04t\x01t\x00"),
        (b"F", table_with(b"inner", b"t", b"\x01")),
    ],
)
def test_every_type_that_tables_know_is_decoded_as_by_py_amqp(kind: bytes, value: bytes) -> None:
    encoded = table_with(b"first", kind, value)
    both = encoded[4:] + table_with(b"next", b"t", b"\x01")[4:]
    both = struct.pack(">I", len(both)) + both
    decoded = decode_table(both, 0, len(both))
    assert decoded == loads("F", both, 0)[0][0]
    assert decoded["next"] is True


@given(properties)
def test_properties_come_back_as_they_were_sent(given: dict[str, Any]) -> None:
    encoded = encode_properties(given)
    expected, _ = decode_properties_basic(encoded, 0)
    if "application_headers" in expected:
        expected["headers"] = expected.pop("application_headers")
    assert decode_properties(b"\x00" * 12 + encoded, 12) == expected
    assert {name: value for name, value in expected.items() if name != "headers"} == {
        name: value for name, value in given.items() if name != "headers"
    }


@given(short_texts, st.integers(0, 2**64 - 1), st.booleans(), short_texts, short_texts)
def test_a_deliver_method_is_decoded(tag: str, delivery_tag: int, redelivered: bool, exchange: str, key: str) -> None:
    method = b"\x00\x3c\x00\x3c" + dumps("sLbss", (tag, delivery_tag, redelivered, exchange, key))
    found, rest = frames.split_deliver(method)
    assert found == delivery_tag
    assert frames.decode_origin(rest) == (tag, redelivered, exchange, key)


def test_what_two_delivers_have_in_common_does_not_depend_on_the_delivery_tag() -> None:
    first, second = (b"\x00\x3c\x00\x3c" + dumps("sLbss", ("tag", number, False, "", "key")) for number in (1, 2**63))
    assert frames.split_deliver(first)[1] == frames.split_deliver(second)[1]


@given(st.integers(0, 2**64 - 1), st.booleans(), short_texts, short_texts)
def test_a_get_ok_method_is_decoded(delivery_tag: int, redelivered: bool, exchange: str, key: str) -> None:
    method = b"\x00\x3c\x00\x47" + dumps("Lbssl", (delivery_tag, redelivered, exchange, key, 3))
    assert frames.decode_get_ok(method) == (delivery_tag, redelivered, exchange, key)


@given(st.integers(0, 65535), short_texts, short_texts, short_texts)
def test_a_return_method_is_decoded(code: int, text: str, exchange: str, key: str) -> None:
    method = b"\x00\x3c\x00\x32" + dumps("Bsss", (code, text, exchange, key))
    assert frames.decode_return(method) == (code, text, exchange, key)


@given(st.integers(0, 65535), short_texts)
def test_a_close_method_is_decoded(code: int, text: str) -> None:
    assert frames.decode_close(b"\x00\x14\x00\x28" + dumps("BsBB", (code, text, 60, 40))) == (code, text)


# What other clients may send, and no decoder may stumble over: the message would come back for ever.


@given(st.binary(min_size=1, max_size=100))
def test_a_short_string_that_is_no_utf_8_goes_back_as_it_came(raw: bytes) -> None:
    encoded = b"\x04\x00" + bytes((len(raw),)) + raw
    decoded = decode_properties(encoded)
    assert encode_properties(decoded) == encoded


def test_a_header_name_that_is_no_utf_8_goes_back_as_it_came() -> None:
    encoded = table_with(b"\xff\xfe", b"S", b"\x00\x00\x00\x01x")
    assert encode_table(decode_table(encoded, 0, len(encoded))) == encoded
    encoded = table_with(b"\xff\xfe", b"t", b"\x01")
    assert encode_table(decode_table(encoded, 0, len(encoded))) == encoded


def test_a_timestamp_that_no_datetime_holds_is_left_out_and_the_rest_is_kept() -> None:
    items = table_with(b"when", b"T", b"\xff" * 8)[4:] + table_with(b"next", b"t", b"\x01")[4:]
    encoded = struct.pack(">I", len(items)) + items
    assert decode_table(encoded, 0, len(encoded)) == {"next": True}


def test_tables_in_tables_without_end_are_left_out() -> None:
    nested = b""
    for _ in range(5000):
        nested = table_with(b"k", b"F", nested or b"\x00\x00\x00\x00")
    assert decode_properties(b"\x20\x08" + nested + b"\x03app") == {"headers": {}, "app_id": "app"}


def test_a_type_that_nobody_knows_is_an_error_that_names_it() -> None:
    encoded = table_with(b"odd", b"?", b"1234")
    with pytest.raises(amqp.FrameSyntaxError, match=re.escape("'?'")):
        decode_table(encoded, 0, len(encoded))
