"""AMQP 0-9-1 frames of the hot methods (publish, deliver, return, ack, nack) as pure functions on bytes.

Frame layout: AMQP 0-9-1 section 4.2.3; content: 4.2.6; basic properties: section 1.8.
"""

import logging
import re
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError
from typing import Any

from amqp.exceptions import FrameSyntaxError
from amqp.serialization import dumps as _dumps
from amqp.serialization import loads as _loads

from rpcservice.errors import MessageTooLarge, UnserializableValueError

FRAME_OVERHEAD = 8
"""Bytes of a frame beside its payload."""
FRAME_END = 0xCE
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
SHORT_STRING_LIMIT = 255

METHOD, HEADER, BODY = 1, 2, 3
"""Types of frames."""

_log = logging.getLogger(__name__)

FRAME_HEAD = Struct(">BHI")
"""Type, channel and payload size."""
_header_head = Struct(">HHQ")
_ack = Struct(">BHIHHQBB")
ULONGLONG = Struct(">Q")
_ULONG = Struct(">I")
_USHORT = Struct(">H")

_PUBLISH = b"\x00\x3c\x00\x28\x00\x00"  # class 60, method 40, ticket 0

# Wire order. The flag of the first is bit 15; kind "s" is a short string, "F" a table, "o" one octet, "L" 64 bits.
_FIELDS = (
    ("content_type", 0x8000, "s"),
    ("content_encoding", 0x4000, "s"),
    ("headers", 0x2000, "F"),
    ("delivery_mode", 0x1000, "o"),
    ("priority", 0x0800, "o"),
    ("correlation_id", 0x0400, "s"),
    ("reply_to", 0x0200, "s"),
    ("expiration", 0x0100, "s"),
    ("message_id", 0x0080, "s"),
    ("timestamp", 0x0040, "L"),
    ("type", 0x0020, "s"),
    ("user_id", 0x0010, "s"),
    ("app_id", 0x0008, "s"),
    ("cluster_id", 0x0004, "s"),
)
_LENIENT = "surrogateescape"
"""How bytes that are no UTF-8 become text. Some clients put raw bytes into a correlation id; failing would bring the
message back for ever, and replies need the same bytes."""
_OTHER_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_BYTES = tuple(bytes((number,)) for number in range(256))


def short_string(text: str, what: str) -> bytes:
    """Encode a short string: its length in one byte, then the text.

    Raises:
        MessageTooLarge: It has more than 255 bytes.
    """
    data = _text_bytes(text)
    if len(data) > SHORT_STRING_LIMIT:
        raise MessageTooLarge(
            what, len(data), SHORT_STRING_LIMIT, "use a shorter one (AMQP keeps its length in a byte)"
        )
    return _BYTES[len(data)] + data


def _text_bytes(text: str) -> bytes:
    """Encode text; what :data:`_LENIENT` made of raw bytes becomes those bytes again."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass_through = "surrogateescape" if not _OTHER_SURROGATE.search(text) else "surrogatepass"
        return text.encode("utf-8", pass_through)


def encode_table(table: Mapping[str, Any]) -> bytes:
    """Encode a field table (AMQP 0-9-1 section 4.2.5.5), byte for byte as py-amqp does.

    Raises:
        MessageTooLarge: A key has more than 255 bytes.
        UnserializableValueError: A value has a type that AMQP tables do not know, or a key is no text.
    """
    parts = []
    for key, value in table.items():
        if not isinstance(key, str):
            raise UnserializableValueError({key: value})
        parts.append(short_string(key, f"header name {key[:40]!r}"))
        if type(value) is str:
            data = value.encode("utf-8", "surrogatepass")
            parts.append(b"S" + _ULONG.pack(len(data)) + data)
        elif type(value) is list and all(type(item) is str for item in value):
            parts.append(_string_array(value))
        else:
            # Everything else is rare: py-amqp's own encoder, for a table of this one item, less its frame.
            try:
                parts.append(_dumps("F", ({"": value},))[5:])
            except (FrameSyntaxError, StructError, TypeError, RecursionError) as exc:
                raise UnserializableValueError({key: value}) from exc
    encoded = b"".join(parts)
    return _ULONG.pack(len(encoded)) + encoded


def _string_array(items: list[str]) -> bytes:
    parts = []
    for item in items:
        data = item.encode("utf-8", "surrogatepass")
        parts.append(b"S" + _ULONG.pack(len(data)) + data)
    encoded = b"".join(parts)
    return b"A" + _ULONG.pack(len(encoded)) + encoded


def encode_properties(properties: Mapping[str, Any]) -> bytes:
    """Encode basic properties: the flags and the values of those that are not None.

    Raises:
        MessageTooLarge: A short string has more than 255 bytes.
        UnserializableValueError: A value is not of its property's type.
    """
    flags = 0
    parts = [b""]
    get = properties.get
    for name, flag, kind in _FIELDS:
        value = get(name)
        if value is None:
            continue
        flags |= flag
        if kind == "s":
            text = str(value)
            data = text.encode() if text.isascii() else _text_bytes(text)
            if len(data) > SHORT_STRING_LIMIT:
                raise MessageTooLarge(f"property {name}", len(data), SHORT_STRING_LIMIT, "use a shorter one")
            parts.append(_BYTES[len(data)])
            parts.append(data)
        elif kind == "o":
            parts.append(_octet(name, value))
        elif kind == "F" and isinstance(value, Mapping):
            parts.append(encode_table(value))
        elif kind == "L" and isinstance(value, int) and 0 <= value < 1 << 64:
            parts.append(ULONGLONG.pack(value))
        else:
            raise UnserializableValueError({name: value})
    parts[0] = _USHORT.pack(flags)
    return b"".join(parts)


def _octet(name: str, value: Any) -> bytes:
    if not isinstance(value, int) or not 0 <= value <= 255:
        raise UnserializableValueError({name: value})
    return _BYTES[value]


def decode_properties(data: bytes, offset: int = 0) -> dict[str, Any]:
    """Decode basic properties into a mapping that has only those that were sent."""
    flags = _USHORT.unpack_from(data, offset)[0]
    offset += 2
    properties: dict[str, Any] = {}
    for name, flag, kind in _FIELDS:
        if not flags & flag:
            continue
        if kind == "s":
            stop = offset + 1 + data[offset]
            properties[name] = data[offset + 1 : stop].decode("utf-8", _LENIENT)
            offset = stop
        elif kind == "o":
            properties[name] = data[offset]
            offset += 1
        elif kind == "F":
            stop = offset + 4 + _ULONG.unpack_from(data, offset)[0]
            properties[name] = decode_table(data, offset, stop)
            offset = stop
        else:
            properties[name] = ULONGLONG.unpack_from(data, offset)[0]
            offset += 8
    return properties


def decode_table(data: bytes, offset: int, stop: int) -> dict[str, Any]:
    """Decode the field table that lies in ``data[offset:stop]``, its length first.

    An item that is well formed, but has no counterpart in Python (a timestamp in the year 20000), is left out.
    """
    table: dict[str, Any] = {}
    position = offset + 4
    while position < stop:
        start = position + 1
        position = start + data[position]
        kind = data[position]
        if kind == 0x53:  # S, a long string
            end = position + 5 + _ULONG.unpack_from(data, position + 1)[0]
            try:
                value: Any = data[position + 5 : end].decode()
            except UnicodeDecodeError:
                value = data[position + 5 : end]
            table[data[start:position].decode("utf-8", _LENIENT)] = value
            position = end
        elif kind == 0x41 and (strings := _read_strings(data, position)) is not None:  # A, an array: the call stack
            table[data[start:position].decode("utf-8", _LENIENT)] = strings
            position = _end_of_item(data, position)
        else:
            # py-amqp's decoder for the one item, as an array of its own.
            end = _end_of_item(data, position)
            item = data[position:end]
            try:
                value = _loads("A", _ULONG.pack(len(item)) + item, 0)[0][0][0]
                table[data[start:position].decode("utf-8", _LENIENT)] = value
            except (ValueError, OverflowError, OSError, RecursionError):
                _log.warning("a header that Python cannot hold is left out: %s", item[:40])
            position = end
    return table


def _read_strings(data: bytes, position: int) -> list[str] | None:
    """Decode an array that holds long strings alone; None for any other."""
    end = _end_of_item(data, position)
    position += 5
    strings = []
    while position < end:
        if data[position] != 0x53:
            return None
        stop = position + 5 + _ULONG.unpack_from(data, position + 1)[0]
        try:
            strings.append(data[position + 5 : stop].decode())
        except UnicodeDecodeError:
            return None
        position = stop
    return strings


_SIZES = {
    code: size
    for size, codes in ((0, "V"), (1, "tbB"), (2, "sUu"), (4, "Iif"), (5, "D"), (8, "LldT"))
    for code in codes
}


def _end_of_item(data: bytes, position: int) -> int:
    code = chr(data[position])
    if code in "SAFx":
        return position + 5 + int(_ULONG.unpack_from(data, position + 1)[0])
    try:
        return position + 1 + _SIZES[code]
    except KeyError:
        raise FrameSyntaxError(f"Unknown value in table: {code!r}") from None


def publish_head(channel: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    """Encode the method frame of ``basic.publish``; the same for every message of one kind.

    Raises:
        MessageTooLarge: The exchange's name or the routing key has more than 255 bytes.
    """
    payload = b"".join(
        (
            _PUBLISH,
            short_string(exchange, "exchange name"),
            short_string(routing_key, "routing key"),
            b"\x01" if mandatory else b"\x00",
        )
    )
    return FRAME_HEAD.pack(METHOD, channel, len(payload)) + payload + b"\xce"


def encode_content(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Encode the header frame and the body frames of a message.

    Args:
        channel: The channel's number.
        properties: What :func:`encode_properties` gave.
        body: The body.
        frame_max: The largest frame that the connection allows, in bytes.

    Raises:
        MessageTooLarge: The properties do not fit into one frame.
    """
    size = 12 + len(properties)
    room = frame_max - FRAME_OVERHEAD
    if size > room:
        raise MessageTooLarge(
            "headers",
            size,
            room,
            "send less in headers (AMQP wants them in one frame), or raise the broker's frame_max",
        )
    header = (FRAME_HEAD.pack(HEADER, channel, size), _header_head.pack(60, 0, len(body)), properties, b"\xce")
    if len(body) <= room:
        if not body:
            return b"".join(header)
        return b"".join((*header, FRAME_HEAD.pack(BODY, channel, len(body)), body, b"\xce"))
    parts = list(header)
    for start in range(0, len(body), room):
        piece = body[start : start + room]
        parts += (FRAME_HEAD.pack(BODY, channel, len(piece)), piece, b"\xce")
    return b"".join(parts)


def ack_frame(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """Encode ``basic.ack``."""
    return _ack.pack(METHOD, channel, 13, 60, 80, delivery_tag, multiple, FRAME_END)


def nack_frame(channel: int, delivery_tag: int, multiple: bool, requeue: bool) -> bytes:
    """Encode ``basic.nack`` (a RabbitMQ extension: ``basic.reject`` with ``multiple``)."""
    return _ack.pack(METHOD, channel, 13, 60, 120, delivery_tag, multiple | requeue << 1, FRAME_END)


def decode_deliver(method: bytes) -> tuple[str, int, bool, str, str]:
    """Decode ``basic.deliver``: consumer tag, delivery tag, redelivered, exchange, routing key."""
    stop = 5 + method[4]
    return method[5:stop].decode(), *_read_delivery(method, stop)


def decode_get_ok(method: bytes) -> tuple[int, bool, str, str]:
    """Decode ``basic.get-ok``: delivery tag, redelivered, exchange, routing key."""
    return _read_delivery(method, 4)


def _read_delivery(method: bytes, offset: int) -> tuple[int, bool, str, str]:
    exchange, end = _read_short(method, offset + 9)
    routing_key, _ = _read_short(method, end)
    return ULONGLONG.unpack_from(method, offset)[0], method[offset + 8] & 1 == 1, exchange, routing_key


def decode_return(method: bytes) -> tuple[int, str, str, str]:
    """Decode ``basic.return``: code, text, exchange, routing key."""
    code = _USHORT.unpack_from(method, 4)[0]
    text, offset = _read_short(method, 6)
    exchange, offset = _read_short(method, offset)
    routing_key, _ = _read_short(method, offset)
    return code, text, exchange, routing_key


def decode_close(method: bytes) -> tuple[int, str]:
    """Decode ``connection.close`` or ``channel.close``: code, text."""
    return _USHORT.unpack_from(method, 4)[0], _read_short(method, 6)[0]


def _read_short(data: bytes, offset: int) -> tuple[str, int]:
    stop = offset + 1 + data[offset]
    return data[offset + 1 : stop].decode("utf-8", _LENIENT), stop


GET_EMPTY = b"\x00\x3c\x00\x48\x00"
"""The method of ``basic.get-empty``."""


def channel_close_ok_frame(channel: int) -> bytes:
    """Encode ``channel.close-ok``."""
    return FRAME_HEAD.pack(METHOD, channel, 4) + b"\x00\x14\x00\x29\xce"


CONNECTION_CLOSE = FRAME_HEAD.pack(METHOD, 0, 11) + b"\x00\x0a\x00\x32" + b"\x00\xc8\x00" + b"\x00\x00\x00\x00\xce"
"""``connection.close`` with code 200: a goodbye without a complaint."""
CONNECTION_CLOSE_OK = FRAME_HEAD.pack(METHOD, 0, 4) + b"\x00\x0a\x00\x33\xce"
"""The answer to a ``connection.close``."""
