"""Link, the small interface to a broker: declare, publish, consume, ack, reject.

Three implementations: ``FrameLink`` on an AMQP socket, ``ChannelLink`` on kombu channels, ``MemoryLink`` on
the embedded broker. Everything above a Link is the same for all.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from rpcservice.errors import ConnectionLost

Properties = dict[str, Any]
"""AMQP basic properties by name (AMQP 0-9-1 section 1.8): content_type, content_encoding, headers, delivery_mode,
priority, correlation_id, reply_to, expiration (milliseconds, as text), message_id, timestamp (seconds),
type, user_id, app_id."""


class Message:
    """A message on its way out.

    Attributes:
        exchange: Where it goes; the empty name is the default exchange, which routes to the queue named by the key.
        routing_key: By what the exchange routes it.
        body: The encoded body.
        properties: AMQP basic properties.
        mandatory: The broker is to return it when no queue takes it.
        timeout: Seconds that the sender may wait; None is without end. Only for requests.
        channel: The channel to use; None leaves it to the sender.
        on_done: Called with None or the error when the broker has confirmed it.
    """

    __slots__ = ("body", "channel", "exchange", "mandatory", "on_done", "properties", "routing_key", "timeout")

    def __init__(
        self, exchange: str, routing_key: str, body: bytes, properties: Properties, mandatory: bool = False
    ) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.properties = properties
        self.mandatory = mandatory
        self.timeout: float | None = None
        self.channel: LinkChannel | None = None
        self.on_done: Callable[[Exception | None], None] | None = None

    @property
    def headers(self) -> dict[str, Any]:
        """The application headers, made on first use."""
        headers: dict[str, Any] = self.properties.setdefault("headers", {})
        return headers


class Delivery:
    """A message that came in, and where it came from."""

    __slots__ = (
        "body",
        "channel",
        "consumer_tag",
        "delivery_tag",
        "exchange",
        "properties",
        "redelivered",
        "routing_key",
    )

    is_local: ClassVar[bool] = False
    """Whether it came from within the process: then no broker waits for the ack."""

    def __init__(
        self,
        channel: "LinkChannel",
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Properties,
    ) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.properties = properties

    @property
    def headers(self) -> dict[str, Any]:
        """The application headers; empty where the sender set none."""
        return self.properties.get("headers") or {}

    def ack(self) -> None:
        """Tell the broker that the message is done with; without effect when its channel is gone."""
        self.channel.ack(self.delivery_tag)

    def reject(self, requeue: bool = False) -> None:
        """Give the message back: to its queue, or to the dead letters; without effect when its channel is gone."""
        self.channel.reject(self.delivery_tag, requeue)


class Returned(NamedTuple):
    """A mandatory message that no queue took (``basic.return``)."""

    code: int
    text: str
    exchange: str
    routing_key: str
    properties: Properties
    body: bytes


class QueueInfo(NamedTuple):
    """What the broker says of a queue when it is declared."""

    name: str
    messages: int
    consumers: int


class LinkChannel(Protocol):
    """One AMQP channel. Synchronous methods may be called from any greenlet or thread of the link's backend,
    but not from its callbacks, which must never wait.

    Raises, from every synchronous method: ChannelClosed where the broker refuses, ConnectionLost where the
    connection breaks, and NameTooLong, without asking the broker, where a name has more than 255 bytes.
    """

    on_confirm: Callable[[Sequence[int], bool, bool], None] | None
    """Called with (sequence numbers, multiple, taken) for confirms that came at once; only on a channel with confirms.
    With ``multiple`` there is one number, for all messages up to it that are not confirmed yet."""
    on_return: Callable[[Returned], None] | None
    """Called for each returned message; with confirms, before the confirm of that message."""
    on_closed: Callable[[Exception], None] | None
    """Called once when the channel ends other than by :meth:`close`: with ChannelClosed or ConnectionLost."""
    is_open: bool

    def declare_exchange(
        self,
        name: str,
        type: str = "direct",
        *,
        durable: bool = True,
        auto_delete: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Make an exchange, or check that an equal one exists (``passive``: that any exists)."""
        ...

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange with its bindings; one that does not exist is no error."""
        ...

    def declare_queue(
        self,
        name: str = "",
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> QueueInfo:
        """Make a queue, or check that an equal one exists; an empty name lets the broker choose."""
        ...

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; gives the number of messages that went with it. One that does not exist is no error."""
        ...

    def purge_queue(self, name: str) -> int:
        """Drop the messages of a queue that nobody holds; gives their number."""
        ...

    def bind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of an exchange reach a queue."""
        ...

    def unbind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Undo :meth:`bind_queue`."""
        ...

    def bind_exchange(
        self, destination: str, source: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of one exchange reach another (a RabbitMQ extension)."""
        ...

    def qos(self, prefetch_count: int) -> None:
        """Bound the unacknowledged messages of each consumer started afterwards; 0 is without bound."""
        ...

    def consume(
        self,
        queue: str,
        on_message: Callable[[Delivery], None],
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str = "",
        on_cancel: Callable[[], None] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Have messages of a queue handed to ``on_message``; gives the consumer tag.

        Args:
            queue: The queue's name.
            on_message: Called by the reader for each message; must not wait.
            no_ack: The broker takes each message as done with when it is sent.
            exclusive: Nobody else may consume from the queue.
            consumer_tag: A name of one's own for the consumer.
            on_cancel: Called when the broker ends the consumer, as when the queue is deleted.
            arguments: Further arguments of ``basic.consume``.
        """
        ...

    def cancel(self, consumer_tag: str) -> None:
        """End a consumer; what it was given stays to be acked."""
        ...

    def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message of a queue, or None when it is empty."""
        ...

    def publish(self, message: Message) -> int:
        """Hand one message to the broker without waiting; gives its sequence number (0 without confirms).

        Raises:
            MessageTooLarge: The header frame or a short string is too large; nothing was sent.
        """
        ...

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge; without effect on a channel that is gone."""
        ...

    def reject(self, delivery_tag: int, requeue: bool = False, multiple: bool = False) -> None:
        """Give back to the queue or drop; without effect on a channel that is gone."""
        ...

    def close(self) -> None:
        """Close the channel; unacknowledged messages go back to their queues."""
        ...

    def leave(self) -> None:
        """Do the same, and keep no other channel waiting until the broker has done with this one."""
        ...


class Link(Protocol):
    """A connection to a broker."""

    on_lost: Callable[[Exception], None] | None
    """Called once, with ConnectionLost, when the connection ends other than by :meth:`close`."""
    failure: ConnectionLost | None
    """Why it cannot be used; None while it can."""
    on_blocked: Callable[[str | None], None] | None
    """Called with the broker's reason when it stops reading from publishers, with None when it reads again."""
    has_quorum_queues: bool
    """Whether the broker has queues that give up no message before another queue has it; known once connected."""

    def connect(self) -> None:
        """Connect and log in.

        Raises:
            ConnectionLost: The broker cannot be reached, refuses the login or the virtual host.
        """
        ...

    def channel(self, *, confirms: bool = False) -> LinkChannel:
        """Open a channel; ``confirms`` has the broker confirm each message published on it."""
        ...

    def close(self) -> None:
        """Send what waits to be sent, say goodbye and disconnect."""
        ...

    def let_go(self) -> None:
        """Close the sockets without a word, in a process that has them from its parent, which goes on using them."""
        ...


def has_quorum_queues(server_properties: Mapping[str, Any]) -> bool:
    """Say whether a broker has quorum queues that dead-letter at least once: RabbitMQ does, from 3.10 on.

    Args:
        server_properties: What it says of itself in ``connection.start`` (AMQP 0-9-1 section 1.4.2.1).
    """
    version = re.match(r"(\d+)\.(\d+)", str(server_properties.get("version")))
    is_rabbitmq = server_properties.get("product") == "RabbitMQ"
    return is_rabbitmq and version is not None and (int(version[1]), int(version[2])) >= (3, 10)
