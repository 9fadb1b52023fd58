"""AMQP 0-9-1 frames of the hot methods (publish, deliver, return, ack, nack) as pure functions on bytes.

Frame layout: AMQP 0-9-1 section 4.2.3; content: 4.2.6.
"""

from struct import Struct

from rpcservice.amqp.properties import LENIENT, ULONGLONG, short_string
from rpcservice.errors import MessageTooLarge

FRAME_OVERHEAD = 8
"""Bytes of a frame beside its payload."""
FRAME_END = 0xCE
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"

METHOD, HEADER, BODY = 1, 2, 3
"""Types of frames."""

FRAME_HEAD = Struct(">BHI")
"""Type, channel and payload size."""
_HEADER_HEAD = Struct(">BHIHHQ")
_END_AND_HEAD = Struct(">BBHI")
_ack = Struct(">BHIHHQBB")
_USHORT = Struct(">H")

_PUBLISH = b"\x00\x3c\x00\x28\x00\x00"  # class 60, method 40, ticket 0


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


def encode_content(channel: int, properties: bytes, body: bytes, frame_max: int, head: bytes = b"") -> bytes:
    """Encode the header frame and the body frames of a message.

    Args:
        channel: The channel's number.
        properties: What :func:`~rpcservice.amqp.properties.encode_properties` gave.
        body: The body.
        frame_max: The largest frame that the connection allows, in bytes.
        head: The method frame, to go before them.

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
    length = len(body)
    header = _HEADER_HEAD.pack(HEADER, channel, size, 60, 0, length)
    if 0 < length <= room:
        return b"".join((head, header, properties, _END_AND_HEAD.pack(FRAME_END, BODY, channel, length), body, b"\xce"))
    parts = [head, header, properties, b"\xce"]
    for start in range(0, length, room):
        piece = body[start : start + room]
        parts += (FRAME_HEAD.pack(BODY, channel, len(piece)), piece, b"\xce")
    return b"".join(parts)


def ack_frame(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """Encode ``basic.ack``."""
    return _ack.pack(METHOD, channel, 13, 60, 80, delivery_tag, multiple, FRAME_END)


def nack_frame(channel: int, delivery_tag: int, multiple: bool, requeue: bool) -> bytes:
    """Encode ``basic.nack`` (a RabbitMQ extension: ``basic.reject`` with ``multiple``)."""
    return _ack.pack(METHOD, channel, 13, 60, 120, delivery_tag, multiple | requeue << 1, FRAME_END)


def split_deliver(method: bytes) -> tuple[int, bytes]:
    """Give the delivery tag of ``basic.deliver``, and the rest, which is the same for many messages."""
    stop = 5 + method[4]
    return ULONGLONG.unpack_from(method, stop)[0], method[:stop] + method[stop + 8 :]


def decode_origin(rest: bytes) -> tuple[str, bool, str, str]:
    """Decode the rest that :func:`split_deliver` gives: consumer tag, redelivered, exchange, routing key."""
    stop = 5 + rest[4]
    exchange, end = _read_short(rest, stop + 1)
    routing_key, _ = _read_short(rest, end)
    return rest[5:stop].decode(), rest[stop] & 1 == 1, exchange, routing_key


def decode_get_ok(method: bytes) -> tuple[int, bool, str, str]:
    """Decode ``basic.get-ok``: delivery tag, redelivered, exchange, routing key."""
    exchange, end = _read_short(method, 13)
    routing_key, _ = _read_short(method, end)
    return ULONGLONG.unpack_from(method, 4)[0], method[12] & 1 == 1, exchange, routing_key


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
    return data[offset + 1 : stop].decode("utf-8", LENIENT), stop


GET_EMPTY = b"\x00\x3c\x00\x48\x00"
"""The method of ``basic.get-empty``."""


def channel_close_ok_frame(channel: int) -> bytes:
    """Encode ``channel.close-ok``."""
    return FRAME_HEAD.pack(METHOD, channel, 4) + b"\x00\x14\x00\x29\xce"


def channel_close_frame(channel: int) -> bytes:
    """Encode ``channel.close`` without a complaint."""
    return FRAME_HEAD.pack(METHOD, channel, 11) + b"\x00\x14\x00\x28" + b"\x00\x00\x00" + b"\x00\x00\x00\x00\xce"


CONNECTION_CLOSE = FRAME_HEAD.pack(METHOD, 0, 11) + b"\x00\x0a\x00\x32" + b"\x00\xc8\x00" + b"\x00\x00\x00\x00\xce"
"""``connection.close`` with code 200: a goodbye without a complaint."""
CONNECTION_CLOSE_OK = FRAME_HEAD.pack(METHOD, 0, 4) + b"\x00\x0a\x00\x33\xce"
"""The answer to a ``connection.close``."""
