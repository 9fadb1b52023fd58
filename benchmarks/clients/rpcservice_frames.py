"""Encodes and decodes messages for ``python -m benchmarks.compiled``: reports what a message costs, with no socket."""

import sys
import time

import load
from amqp.serialization import dumps

from rpcservice.amqp import frameparser, frames, properties

LIKE_A_BROKERS = 131072
"""The largest frame, in bytes, as RabbitMQ has it."""
BATCH = 100
"""So many messages are one read of the socket."""

seconds = float(sys.argv[1])
HEAD = frames.publish_head(1, "nameko-rpc", "orders.place", True)
BODY = b'{"args": ["world"], "kwargs": {}}'
REQUESTS = [
    {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"nameko.call_id_stack": [f"web.get.{number}", f"orders.place.{number}"], "nameko.language": "en"},
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": f"6ba7b810-9dad-11d1-80b4-{number:012}",
        "reply_to": "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
        "timestamp": 1_700_000_000 + number,
    }
    for number in range(BATCH)
]


def encode():
    for request in REQUESTS:
        frames.encode_content(1, properties.encode_properties(request), BODY, LIKE_A_BROKERS, HEAD)


def delivered(method, header, body):
    frames.split_deliver(method)
    properties.decode_properties(header, 12)


def deliveries():
    """Give what one read of the socket holds."""
    parts = []
    for number, request in enumerate(REQUESTS):
        method = b"\x00\x3c\x00\x3c" + dumps("sLbss", ("ctag-1", number, False, "nameko-rpc", "orders.place"))
        parts.append(frames.FRAME_HEAD.pack(frames.METHOD, 1, len(method)) + method + b"\xce")
        parts.append(frames.encode_content(1, properties.encode_properties(request), BODY, LIKE_A_BROKERS))
    return b"".join(parts)


def microseconds(call, *args):
    """Give the processor time of a message, over half of the time that there is."""
    end, count, cpu = time.perf_counter() + seconds / 2, 0, time.process_time()
    while time.perf_counter() < end:
        call(*args)
        count += BATCH
    return (time.process_time() - cpu) / count * 1e6


parser = frameparser.FrameParser(lambda kind, channel, payload: None)
parser.add_channel(1, delivered, delivered, delivered, lambda tag, multiple, taken: None)
stream = deliveries()
load.tell("end", encode=microseconds(encode), decode=microseconds(parser.feed, stream))
