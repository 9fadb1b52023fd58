"""What tests see of messages themselves: a raw client of a broker, and a place where what arrives is waited for."""

from collections import deque
from time import monotonic
from typing import Any

from rpcservice.amqp.connection import connection_key, make_link
from rpcservice.amqp.link import Delivery, Message
from rpcservice.concurrency import Backend
from rpcservice.config import make_settings

LIMIT = 10.0
"""Seconds that anything may take before a test fails."""


class Inbox:
    """Collects what it is called with; waits for it with a limit."""

    def __init__(self, backend: Backend) -> None:
        self._items: deque[Any] = deque()
        self._arrived = backend.event()

    def __call__(self, item: Any = None) -> None:
        self._items.append(item)
        self._arrived.set()

    def take(self, limit: float = LIMIT) -> Any:
        deadline = monotonic() + limit
        while not self._items:
            self._arrived.clear()
            assert self._arrived.wait(max(0, deadline - monotonic())), f"nothing arrived within {limit:g} s"
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class Wire:
    """A connection of the test's own: publishes raw messages, and sees those of others."""

    def __init__(self, uri: str, backend: Backend) -> None:
        settings = make_settings({"AMQP_URI": uri})
        self.backend = backend
        self.link = make_link(connection_key(settings), uri, settings, backend)
        self.link.connect()
        self.channel = self.link.channel()
        self._publisher = self.link.channel(confirms=True)
        self._confirms = Inbox(backend)
        self._publisher.on_confirm = lambda sequences, multiple, taken: self._confirms(sequences[-1])

    def tap(self, exchange: str, routing_key: str = "#") -> Inbox:
        """See what goes to a topic exchange from now on."""
        self.channel.declare_exchange(exchange, "topic")
        queue = self.channel.declare_queue("", exclusive=True, durable=False).name
        self.channel.bind_queue(queue, exchange, routing_key)
        received = Inbox(self.backend)
        self.channel.consume(queue, received, no_ack=True)
        return received

    def publish(self, exchange: str, routing_key: str, body: bytes, **properties: Any) -> None:
        """Publish and see the broker take it."""
        sequence = self._publisher.publish(Message(exchange, routing_key, body, properties))
        while self._confirms.take() < sequence:
            continue

    def request(self, routing_key: str, body: bytes = b'{"args": [], "kwargs": {}}', **properties: Any) -> Delivery:
        """Send a request as any client may; gives the reply."""
        reply_to = f"wire-{id(body)}-{monotonic()}"
        replies = self.tap("nameko-rpc", reply_to)
        given = {"content_type": "application/json", "correlation_id": "id", "reply_to": reply_to, **properties}
        self.publish("nameko-rpc", routing_key, body, **given)
        reply: Delivery = replies.take()
        return reply
