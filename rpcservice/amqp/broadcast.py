"""AmqpBroadcastBus, the BroadcastBus over a broker: a queue of its own for each process."""

import logging
from typing import ClassVar

from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.drops import Drops
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.amqp.message import APP_ID, TRANSIENT, check_size
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.broadcast import BroadcastBus
from rpcservice.core.context import new_id

EXCHANGE = "rpcservice.broadcast"
ORIGIN = "rpcservice-origin"
"""The header that says which process sent a message, so that it does not hear itself."""
_PREFETCH = 100

_log = logging.getLogger(__name__)


class AmqpBroadcastBus(BroadcastBus):
    """Reaches the processes that are connected now; who is away misses the message."""

    is_alone: ClassVar[bool] = False

    def setup(self) -> None:
        """Ask for a channel to consume on and a sender with confirms."""
        super().setup()
        self._origin = new_id()
        channel = self.resources.get(ServiceChannel, (connection_key(self.config), EXCHANGE))
        self._consumer = Consumer(channel, self._declare, self._receive, _PREFETCH)
        self._sender = self.resources.get(ConfirmedSender, connection_key(self.config, publishes=True))
        self._sender.declare(_declare_exchange)
        self._drops = self.resources.get(Drops)

    def _declare(self, channel: LinkChannel) -> str:
        _declare_exchange(channel)
        # Another name each time: the broker may still hold the last one for a connection that it does not know dead.
        queue = f"{EXCHANGE}-{new_id()}"
        channel.declare_queue(queue, durable=False, exclusive=True, auto_delete=True)
        for topic in self._listeners:
            channel.bind_queue(queue, EXCHANGE, topic)
        return queue

    def publish(self, topic: str, body: bytes) -> None:
        """Publish with a confirm; the broker drops what no other process has asked for."""
        properties = {
            "content_type": "application/octet-stream",
            "delivery_mode": TRANSIENT,
            "app_id": APP_ID,
            "message_id": new_id(),
            "headers": {ORIGIN: self._origin},
        }
        self._sender.publish(Message(EXCHANGE, topic, check_size(body, self.config.max_message_size), properties))

    def _receive(self, delivery: Delivery) -> None:
        try:
            if delivery.headers.get(ORIGIN) != self._origin:
                for listener in self._listeners.get(delivery.routing_key, ()):
                    listener(delivery.body)
        except Exception as exc:
            _log.exception("a broadcast for %s could not be handed on", delivery.routing_key)
            self._drops.note(delivery, EXCHANGE, exc)
        finally:
            delivery.ack()

    def start(self) -> None:
        """Take messages of others in."""
        self._consumer.start()

    def stop(self) -> None:
        """Take no more messages in."""
        self._consumer.stop()

    def kill(self) -> None:
        """Take no more messages in, without waiting."""
        self._consumer.kill()


def _declare_exchange(channel: LinkChannel) -> None:
    channel.declare_exchange(EXCHANGE, "direct", durable=True)
