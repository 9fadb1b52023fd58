"""Messages of the embedded broker: how they are kept, copied, and marked when they die."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rpcservice.amqp import frames
from rpcservice.amqp.link import Message, Properties
from rpcservice.amqp.properties import OCTETS, TEXTS, decode_properties, encode_properties

if TYPE_CHECKING:
    from rpcservice.amqp.memory_consumer import Consumer
    from rpcservice.amqp.memory_queue import Queue

FRAME_MAX = 131_072
"""Properties must fit into one frame of this size, as on RabbitMQ."""

_SAFE_TEXT = 63
"""So many characters never make more than the 255 bytes of a short string."""
_SAFE_HEADERS = 20_000
"""So many characters of headers never make a frame that is too large."""
_INT64 = 2**63


class Stored:
    """A message in a queue, or on its way from there to an ack."""

    __slots__ = (
        "body",
        "consumer",
        "exchange",
        "expires_at",
        "is_shared",
        "position",
        "properties",
        "queue",
        "redelivered",
        "routing_key",
    )

    queue: "Queue"

    def __init__(
        self,
        body: bytes,
        properties: Properties,
        exchange: str,
        routing_key: str,
        expires_at: float | None = None,
        is_shared: bool = False,
    ) -> None:
        self.body = body
        self.properties = properties
        self.exchange = exchange
        self.routing_key = routing_key
        self.expires_at = expires_at
        self.is_shared = is_shared
        self.position = 0
        self.redelivered = False
        self.consumer: Consumer | None = None


def snapshot(message: Message) -> Properties:
    """Copy a message's properties as they would come out of an AMQP frame: later changes do not show.

    Raises:
        MessageTooLarge: The header frame or a short string is too large.
        UnserializableValueError: A value has a type that AMQP does not know.
    """
    if len(message.exchange) > _SAFE_TEXT or len(message.routing_key) > _SAFE_TEXT:
        frames.publish_head(0, message.exchange, message.routing_key, message.mandatory)
    properties: Properties = {}
    for name, value in message.properties.items():
        kind = type(value)
        if (kind is str and len(value) <= _SAFE_TEXT and name in TEXTS) or (
            kind is int and 0 <= value <= 255 and name in OCTETS
        ):
            properties[name] = value
        elif kind is dict and name == "headers" and (headers := copy_simple(value)) is not None:
            properties[name] = headers
        else:
            return _by_the_wire(message.properties)
    return properties


def copy_simple(headers: dict[str, Any]) -> dict[str, Any] | None:
    """Copy headers of plain kinds and moderate size, which come out of a frame as they are; None for all others."""
    copied = {}
    room = _SAFE_HEADERS
    for key, value in headers.items():
        kind = type(value)
        if kind is str:
            if not (value.isascii() or _is_whole(value)):
                return None
            room -= len(value)
        elif kind is list and all(type(item) is str for item in value):
            value = value[:]
            room -= sum(map(len, value))
        elif kind is not bool and not (kind is int and -_INT64 <= value < _INT64):
            return None
        if len(key) > _SAFE_TEXT or not (key.isascii() or _is_whole(key)):
            return None
        copied[key] = value
    return copied if room > 0 else None


def _is_whole(text: str) -> bool:
    """Say whether a text has no half of a surrogate pair: a frame turns such a text into something else."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_the_wire(properties: Properties) -> Properties:
    encoded = encode_properties(properties)
    frames.encode_content(0, encoded, b"", FRAME_MAX)
    return decode_properties(encoded)


def copy_properties(properties: Properties) -> Properties:
    """Copy properties so deep that nobody else's change shows."""
    copied = properties.copy()
    headers = copied.get("headers")
    if headers:
        copied["headers"] = {key: value if type(value) is str else copy_value(value) for key, value in headers.items()}
    return copied


def copy_value(value: Any) -> Any:
    """Copy a value of a header."""
    if isinstance(value, list):
        return [copy_value(item) for item in value]
    if isinstance(value, dict):
        return {key: copy_value(item) for key, item in value.items()}
    return value


def with_death(stored: Stored, reason: str) -> Properties:
    """Give a message's properties with its death noted in ``x-death``, newest first, as RabbitMQ does."""
    properties = copy_properties(stored.properties)
    headers = properties.setdefault("headers", {})
    deaths = headers.get("x-death")
    deaths = [death for death in deaths if isinstance(death, dict)] if isinstance(deaths, list) else []
    queue = stored.queue.name
    death = next((one for one in deaths if (one.get("queue"), one.get("reason")) == (queue, reason)), None)
    if death is None:
        death = {
            "count": 0,
            "reason": reason,
            "queue": queue,
            "time": datetime.now(UTC).replace(microsecond=0, tzinfo=None),
            "exchange": stored.exchange,
            "routing-keys": [stored.routing_key],
        }
        if "expiration" in properties:
            death["original-expiration"] = properties["expiration"]
    else:
        deaths.remove(death)
    death["count"] += 1
    headers["x-death"] = [death, *deaths]
    headers.setdefault("x-first-death-exchange", stored.exchange)
    headers.setdefault("x-first-death-queue", queue)
    headers.setdefault("x-first-death-reason", reason)
    properties.pop("expiration", None)
    return properties


def is_cycle(properties: Properties, queue: str) -> bool:
    """Say whether a message has been in that queue before, and nobody rejected it since."""
    reasons = []
    for death in properties["headers"]["x-death"]:
        reasons.append(death.get("reason"))
        if death.get("queue") == queue:
            return "rejected" not in reasons
    return False
