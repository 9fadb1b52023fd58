"""Consumer: hands the messages of one queue to a callback; ServiceChannel: the channel of one service for this."""

import logging
from collections.abc import Callable

from rpcservice.amqp.connection import AmqpConnection, ConnectionKey, ManagedChannel
from rpcservice.amqp.link import Delivery, LinkChannel
from rpcservice.core.resource import Resource
from rpcservice.errors import BrokerError

_log = logging.getLogger(__name__)


class Consumer:
    """Consumes from one queue, again after every reconnect, until it is stopped.

    Args:
        channel: The service's channel.
        declare: Declares the queue, with what it is bound to, and gives its name. Called before any service is
            started, so that nobody who starts earlier finds it missing.
        on_message: Called for each message; must not wait.
        prefetch: Unacknowledged messages at a time; 0 is without bound.
    """

    def __init__(
        self,
        channel: "ServiceChannel",
        declare: Callable[[LinkChannel], str],
        on_message: Callable[[Delivery], None],
        prefetch: int,
    ) -> None:
        self._channel = channel
        self._declare = declare
        self._on_message = on_message
        self._prefetch = prefetch
        self._queue = ""
        self._tag = ""
        self.is_started = False
        channel.add(self)

    def open(self, channel: LinkChannel) -> None:
        """Declare the queue and, when started, consume from it."""
        self._queue = self._declare(channel)
        if self.is_started:
            self._consume(channel)

    def _consume(self, channel: LinkChannel) -> None:
        channel.qos(self._prefetch)
        self._tag = channel.consume(self._queue, self._on_message, on_cancel=self._cancelled)

    def _cancelled(self) -> None:
        _log.error("queue %s was deleted; it is declared again", self._queue)
        self._channel.reopen()

    def start(self) -> None:
        """Begin to consume; at once, or when the channel is back."""
        if self.is_started:
            return
        self.is_started = True
        channel = self._channel.current
        if channel is not None:
            self._consume(channel)

    def stop(self) -> None:
        """Consume no more; what was taken stays to be acked."""
        if not self.is_started:
            return
        self.is_started = False
        channel = self._channel.current
        if channel is not None:
            try:
                channel.cancel(self._tag)
            except BrokerError as exc:
                _log.warning("queue %s: the consumer ended with its channel: %s", self._queue, exc)


class ServiceChannel(Resource):
    """The channel on which one service consumes and sends its transient replies: its errors stay with it.

    Its key is (key of the connection, name of the service).
    """

    key: tuple[ConnectionKey, str]

    def setup(self) -> None:
        """Ask for the connection and a channel on it."""
        connection_key, service_name = self.key
        self.connection = self.resources.get(AmqpConnection, connection_key)
        self._consumers: list[Consumer] = []
        self._managed = self.connection.add_channel(
            ManagedChannel(self.connection, f"service {service_name}", on_open=self._open)
        )

    @property
    def current(self) -> LinkChannel | None:
        """The channel, when it is open."""
        return self._managed.current

    def add(self, consumer: Consumer) -> None:
        """Take in a consumer; call it in ``setup``."""
        self._consumers.append(consumer)

    def _open(self, channel: LinkChannel) -> None:
        for consumer in self._consumers:
            consumer.open(channel)

    def reopen(self) -> None:
        """Close the channel and set everything on it up anew; what is unacknowledged is delivered again."""
        self._managed.reopen()
