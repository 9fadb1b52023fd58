"""Consumer: hands the messages of one queue to a callback; ServiceChannel: the channel of one service for this."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from rpcservice.amqp.connection import AmqpConnection, ConnectionKey
from rpcservice.amqp.link import Delivery, LinkChannel
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.core.context import new_id
from rpcservice.core.resource import Resource
from rpcservice.errors import BrokerError, ConnectionLost

_log = logging.getLogger(__name__)


class Consumer:
    """Consumes from one queue, again after every reconnect, until it is stopped.

    Args:
        channel: The service's channel.
        declare: Declares the queue, with what it is bound to, and gives its name. Called before any service is
            started, so that nobody who starts earlier finds it missing.
        on_message: Called for each message; must not wait.
        prefetch: Unacknowledged messages at a time; 0 is without bound.
        no_ack: The broker takes each message as done with when it is sent.
        arguments: Further arguments of ``basic.consume``, such as ``x-priority``.
        tag_prefix: How the consumer tag begins; empty leaves it to the link.
    """

    def __init__(
        self,
        channel: "ServiceChannel",
        declare: Callable[[LinkChannel], str],
        on_message: Callable[[Delivery], None],
        prefetch: int,
        *,
        no_ack: bool = False,
        arguments: Mapping[str, Any] | None = None,
        tag_prefix: str = "",
    ) -> None:
        self._channel = channel
        self._declare = declare
        self._on_message = on_message
        self._prefetch = prefetch
        self._no_ack = no_ack
        self._arguments = arguments
        self._tag_prefix = tag_prefix
        self._queue = ""
        self._tag = ""
        self._consuming_on: LinkChannel | None = None
        self._is_deleted = False
        self.is_started = False
        channel.add(self)

    def declare(self, channel: LinkChannel) -> None:
        """Declare the queue."""
        self._is_deleted = False
        self._queue = self._declare(channel)

    @property
    def queue(self) -> str:
        """The name of the queue; empty before it is declared."""
        return self._queue

    def settle(self, channel: LinkChannel) -> bool:
        """Consume on a channel, or no more, as the state asks for; False when nothing had to be done."""
        # One consumer of a channel at a time, for each takes the prefetch that was set last.
        with self._channel.lock:
            if self._is_deleted:
                self.declare(channel)
            is_consuming = self._consuming_on is channel
            if self.is_started and not is_consuming:
                channel.qos(self._prefetch)
                self._consuming_on = channel
                self._tag = channel.consume(
                    self._queue,
                    self._on_message,
                    no_ack=self._no_ack,
                    consumer_tag=f"{self._tag_prefix}{new_id()}" if self._tag_prefix else "",
                    on_cancel=lambda: self._cancelled(channel),
                    arguments=self._arguments,
                )
            elif is_consuming and not self.is_started:
                self._consuming_on = None
                channel.cancel(self._tag)
            else:
                return False
            return True

    def _cancelled(self, channel: LinkChannel) -> None:
        if self._consuming_on is channel:
            self._consuming_on = None
            self._is_deleted = True
            _log.error("queue %s was deleted; it is declared again", self._queue)
            self._channel.resettle()

    def start(self) -> None:
        """Begin to consume; at once, or when the channel is back."""
        self.is_started = True
        self._settle_now()

    def stop(self) -> None:
        """Consume no more; what was taken stays to be acked."""
        self.is_started = False
        self._channel.connection.ask_last(self._settle_now)

    def kill(self) -> None:
        """Consume no more, without waiting; who is killed would only give back what comes, again and again."""
        self.is_started = False
        self._channel.resettle()

    def _settle_now(self) -> None:
        channel = self._channel.current
        if channel is None:
            return
        try:
            self.settle(channel)
        except ConnectionLost as exc:
            _log.warning("queue %s: %s", self._queue, exc)


class ServiceChannel(Resource):
    """The channel on which one service consumes and sends its transient replies: its errors stay with it.

    Its key is (key of the connection, name of the service).
    """

    key: tuple[ConnectionKey, str]

    def setup(self) -> None:
        """Ask for the connection and a channel on it."""
        connection_key, service_name = self.key
        self.connection = self.resources.get(AmqpConnection, connection_key)
        self.lock = self.backend.lock()
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
            consumer.declare(channel)
        self._settle(channel)

    def _settle(self, channel: LinkChannel) -> None:
        # Whoever starts, stops or loses its queue while others are waited for is found by looking again.
        while any(consumer.settle(channel) for consumer in self._consumers):
            continue

    def reopen(self) -> None:
        """Have the channel opened anew, with all consumers; does not wait."""
        self._managed.reopen()

    def resettle(self) -> None:
        """Have consumers started, ended and declared again as their state asks for; does not wait."""
        self.backend.spawn(self._resettle)

    def _resettle(self) -> None:
        channel = self.current
        if channel is None:
            return  # it is being opened, and settled then
        try:
            self._settle(channel)
        except BrokerError as exc:
            # The channel is lost with it, and everything is declared on the next one.
            _log.warning("the consumers wait for the next channel: %s", exc)
