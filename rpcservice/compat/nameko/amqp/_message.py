"""Message: a delivery as kombu's messages look, which is what extensions of nameko's are handed."""

from collections.abc import Callable
from typing import Any

from kombu.message import Message as KombuMessage

from rpcservice.amqp.link import Delivery


class ChannelView:
    """What extensions look for in a message's channel.

    Args:
        message: The message.
    """

    no_ack_consumers = None

    def __init__(self, message: "Message") -> None:
        self._channel = message.delivery.channel

    @property
    def connection(self) -> Any:
        """The channel itself while it is open, then None: a message of a lost connection cannot be acked."""
        return self._channel if self._channel.is_open else None

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge a delivery."""
        self._channel.ack(delivery_tag, multiple)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Give a delivery back, or drop it."""
        self._channel.reject(delivery_tag, requeue)


class Message(KombuMessage):  # type: ignore[misc]  # kombu has no types
    """A message that came in.

    Args:
        delivery: What the link has handed over.
        decode: Decodes its body.
        no_ack: The broker has taken it as done with when it sent it.
    """

    def __init__(self, delivery: Delivery, decode: Callable[[Any, Any], Any], *, no_ack: bool = False) -> None:
        # Not kombu's constructor: it takes more time than all the rest, and would decompress the body.
        properties = delivery.properties
        headers = properties.get("headers")
        if headers is None:
            headers = properties["headers"] = {}
        self.delivery = delivery
        self.headers = headers
        self.delivery_tag = delivery.delivery_tag
        self.content_type = properties.get("content_type")
        self.content_encoding = properties.get("content_encoding")
        self.accept = None
        self.errors: list[Any] = []
        self._decoder = decode
        self._no_ack = no_ack
        self._state = "RECEIVED"
        self._decoded_cache: Any = None

    @property
    def body(self) -> Any:
        """The body as it was sent: a text where its encoding says so, else bytes."""
        encoded = self.delivery.body
        if not self.content_encoding:
            return encoded
        try:
            return encoded.decode(self.content_encoding)
        except (LookupError, UnicodeDecodeError):
            return encoded  # "binary" is no encoding of texts, and a compressed body is no text

    @property
    def payload(self) -> Any:
        """The decoded body.

        Raises:
            MalformedRequest: It cannot be decoded.
        """
        if self._decoded_cache is None:
            self._decoded_cache = (self._decoder(self.delivery.body, self.delivery.properties),)
        return self._decoded_cache[0]

    def decode(self) -> Any:
        """Give the decoded body."""
        return self.payload

    @property
    def properties(self) -> dict[str, Any]:
        """The AMQP properties; ``application_headers`` are the same mapping as ``headers``."""
        properties: dict[str, Any] | None = self.__dict__.get("_properties")
        if properties is None:
            properties = self.__dict__["_properties"] = {
                **self.delivery.properties,
                "application_headers": self.headers,
            }
            del properties["headers"]
        return properties

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it came from."""
        info: dict[str, Any] | None = self.__dict__.get("_delivery_info")
        if info is None:
            delivery = self.delivery
            info = self.__dict__["_delivery_info"] = {
                "consumer_tag": delivery.consumer_tag,
                "delivery_tag": delivery.delivery_tag,
                "redelivered": delivery.redelivered,
                "exchange": delivery.exchange,
                "routing_key": delivery.routing_key,
            }
        return info

    @property
    def channel(self) -> ChannelView:
        """The channel that it came on."""
        return ChannelView(self)

    def ack(self, multiple: bool = False) -> None:
        """Tell the broker that it is done with.

        Raises:
            MessageStateError: It is acknowledged or given back already.
        """
        self.mark("ACK")
        if not self._no_ack:
            self.delivery.channel.ack(self.delivery_tag, multiple)

    def reject(self, requeue: bool = False) -> None:
        """Drop it, or give it back.

        Raises:
            MessageStateError: It is acknowledged or given back already.
        """
        self.mark("REQUEUED" if requeue else "REJECTED")
        if not self._no_ack:
            self.delivery.reject(requeue)

    def requeue(self) -> None:
        """Give it back to its queue.

        Raises:
            MessageStateError: It is acknowledged or given back already.
        """
        self.reject(requeue=True)

    def go_on_by(self, delivery: Delivery) -> None:
        """Be settled by another delivery of the same message, for the channel of the first one is gone."""
        self.delivery = delivery
        self.delivery_tag = delivery.delivery_tag
        self.__dict__.pop("_delivery_info", None)

    def mark(self, state: str) -> None:
        """Note what becomes of it.

        Raises:
            MessageStateError: That was decided before.
        """
        if self.acknowledged:
            raise self.MessageStateError(f"Message already acknowledged with state: {self._state}")
        self._state = state
