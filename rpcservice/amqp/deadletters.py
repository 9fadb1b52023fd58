"""Dead letters: what could not be handled, in a queue beside the one that it came from, with what is known of it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rpcservice.amqp.link import Delivery, LinkChannel, Message, Properties
from rpcservice.amqp.message import ORIGIN_EXCHANGE, ORIGIN_KEY, OWN_PREFIX, PERSISTENT
from rpcservice.amqp.waiting import travelling
from rpcservice.config import Settings
from rpcservice.core.faults import summary, traceback_text

SUFFIX = ".dead"
ATTEMPTS = f"{OWN_PREFIX}attempts"
"""How often a message was tried, as a table with the queue's name, for other queues count anew."""
QUEUE = f"{OWN_PREFIX}queue"
ERROR, TRACEBACK = f"{OWN_PREFIX}error", f"{OWN_PREFIX}traceback"
SERVICE, METHOD = f"{OWN_PREFIX}service", f"{OWN_PREFIX}method"
TIME = f"{OWN_PREFIX}failed-at"
WAY_BACK = f"{OWN_PREFIX}return"
_LONGEST_ERROR, _LONGEST_TRACEBACK = 2000, 16_000
"""Characters: all headers of a message have to fit into one frame, of which most brokers take 128 KiB."""
_SHORT_TEXT = 100
"""Characters of a text where a frame is small."""
_OF_REPLAYS = (WAY_BACK, ORIGIN_EXCHANGE, ORIGIN_KEY, QUEUE, ERROR)
_OF_READERS = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "message_id",
    "timestamp",
    "type",
)


class Route(NamedTuple):
    """Where something is published."""

    exchange: str
    routing_key: str


def dead_letter_queue(queue: str) -> str:
    """Give the name of the queue in which the dead letters of another one are."""
    return f"{queue}{SUFFIX}"


def declare_dead_letters(channel: LinkChannel, queue: str, config: Settings) -> None:
    """Declare the queue for the dead letters of another one."""
    channel.declare_queue(dead_letter_queue(queue), durable=True, arguments=resting_arguments(config))


def resting_arguments(config: Settings) -> dict[str, Any]:
    """Give the arguments of a queue from which no service consumes."""
    return {"x-queue-type": "quorum"} if config.queue_type == "quorum" else {}


def shared_arguments(config: Settings, queue: str) -> dict[str, Any]:
    """Give the arguments of a durable queue that the instances of a service share: none, as nameko declares it.

    A quorum queue gives a message up that has been delivered too often without being acknowledged. That has a place to
    go to, and leaves only when it is there. https://www.rabbitmq.com/docs/quorum-queues
    """
    if config.queue_type != "quorum":
        return {}
    return {
        **resting_arguments(config),
        "x-delivery-limit": config.delivery_limit,
        "x-overflow": "reject-publish",
        "x-dead-letter-strategy": "at-least-once",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letter_queue(queue),
    }


def attempts_of(headers: Mapping[str, Any], queue: str) -> int:
    """Give how often a message has been tried by the consumers of a queue, before now."""
    counts = headers.get(ATTEMPTS)
    count = counts.get(queue) if isinstance(counts, Mapping) else None
    return count if type(count) is int and count > 0 else 0


def origin(delivery: Delivery) -> Route:
    """Give where a message was published first."""
    headers = delivery.headers
    exchange, routing_key = headers.get(ORIGIN_EXCHANGE), headers.get(ORIGIN_KEY)
    if isinstance(exchange, str) and isinstance(routing_key, str):
        return Route(exchange, routing_key)
    return Route(delivery.exchange, delivery.routing_key)


def restore_origin(delivery: Delivery) -> None:
    """Have a message that has come back say the exchange and the routing key that it was published with first."""
    delivery.exchange, delivery.routing_key = origin(delivery)


def again(delivery: Delivery, queue: str, way_back: Route, attempts: int) -> Message:
    """Give a message that is to come back to the queue where it failed, with the count of its attempts."""
    exchange, routing_key = origin(delivery)
    headers = {ATTEMPTS: {queue: attempts}, ORIGIN_EXCHANGE: exchange, ORIGIN_KEY: routing_key}
    return Message(*way_back, delivery.body, _lasting(delivery, headers))


def dead_letter(
    delivery: Delivery, queue: str, way_back: Route, attempts: int, error: BaseException, service: str, method: str
) -> Message:
    """Give a message for the dead letters: its body as it came, and in its headers what happened to it."""
    exchange, routing_key = origin(delivery)
    headers = {
        ATTEMPTS: {queue: attempts},
        ORIGIN_EXCHANGE: exchange,
        ORIGIN_KEY: routing_key,
        QUEUE: queue,
        WAY_BACK: way_back._asdict(),
        ERROR: summary(error)[:_LONGEST_ERROR],
        TRACEBACK: traceback_text(error)[-_LONGEST_TRACEBACK:],
        SERVICE: service,
        METHOD: method,
        TIME: datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    properties = _lasting(delivery, headers)
    return Message("", dead_letter_queue(queue), delivery.body, properties, mandatory=True)


def _lasting(delivery: Delivery, headers: dict[str, Any]) -> Properties:
    """Give properties for a message that failed: it is to outlive the broker, whatever its sender had in mind."""
    return {**travelling(delivery.properties, headers), "delivery_mode": PERSISTENT}


def lighter(letter: Message) -> Iterator[Message]:
    """Give a dead letter whose headers do not fit into a frame anew, each time with less in them.

    First the traceback goes, then what its sender has put there, then the ends of texts. The last one has no more than
    is needed to read and to replay it: names, of 255 bytes at most, which fit into AMQP's smallest frame, 4096 bytes.
    """
    headers = {name: value for name, value in letter.headers.items() if name != TRACEBACK}
    yield _with_headers(letter, headers)
    ours = {name: value for name, value in headers.items() if name.startswith(OWN_PREFIX)}
    yield _with_headers(letter, ours)
    short = {**ours, **{name: ours[name][:_SHORT_TEXT] for name in (ERROR, SERVICE, METHOD)}}
    yield _with_headers(letter, short)
    bare = _with_headers(letter, {name: short[name] for name in _OF_REPLAYS})
    bare.properties = {name: bare.properties[name] for name in (*_OF_READERS, "headers") if name in bare.properties}
    yield bare


def _with_headers(letter: Message, headers: dict[str, Any]) -> Message:
    properties = {**letter.properties, "headers": headers}
    return Message(letter.exchange, letter.routing_key, letter.body, properties, mandatory=True)


def way_back_of(letter: Delivery) -> Route | None:
    """Give where a dead letter is to be published so that it reaches the queue where it failed.

    That is in its headers, or in what the broker notes of a message that a quorum queue has given up.
    """
    way_back, deaths = letter.headers.get(WAY_BACK), letter.headers.get("x-death")
    if isinstance(way_back, Mapping):
        exchange, routing_key = way_back.get("exchange"), way_back.get("routing_key")
    elif isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping):
        death, keys = deaths[0], deaths[0].get("routing-keys")
        if str(death.get("queue")).startswith("rpc-") and isinstance(keys, list) and keys:
            exchange, routing_key = death.get("exchange"), keys[0]
        else:
            exchange, routing_key = "", death.get("queue")
    else:
        return None
    return Route(exchange, routing_key) if isinstance(exchange, str) and isinstance(routing_key, str) else None


def revived(letter: Delivery) -> Message | None:
    """Give the message that a dead letter was, for the queue that it came from; None where that is not known."""
    way_back = way_back_of(letter)
    if way_back is None:
        return None
    was_origin = {name: letter.headers[name] for name in (ORIGIN_EXCHANGE, ORIGIN_KEY) if name in letter.headers}
    headers = {name: value for name, value in letter.headers.items() if not name.startswith(OWN_PREFIX)}
    properties = travelling({**letter.properties, "headers": headers}, was_origin)
    return Message(*way_back, letter.body, properties, mandatory=True)
