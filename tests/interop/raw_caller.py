"""RawCaller: requests and replies by py-amqp alone, for bytes that neither nameko's clients nor ours would send."""

import json
from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

import amqp
from kombu import Connection

EXCHANGE = "nameko-rpc"
NO_ARGUMENTS = b'{"args": [], "kwargs": {}}'


class RawCaller:
    """One channel and one reply queue of its own; usable as a context manager."""

    def __init__(self, uri: str) -> None:
        self._connection = Connection(uri)
        self._channel = self._connection.channel()
        self.key = str(uuid4())
        self._replies: list[amqp.Message] = []
        self._channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        queue = f"rpc.reply-raw-{self.key}"
        self._channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-expires": 300_000})
        self._channel.queue_bind(queue, EXCHANGE, self.key)
        self._channel.basic_consume(queue, callback=self._replies.append, no_ack=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.release()

    def send(self, routing_key: str, body: bytes = NO_ARGUMENTS, **properties: Any) -> None:
        """Send a request with nameko's properties and these; one that is None is left out."""
        given = {
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "reply_to": self.key,
            "correlation_id": str(uuid4()),
            "delivery_mode": 2,
            "priority": 0,
            "application_headers": {},
            **properties,
        }
        kept = {name: value for name, value in given.items() if value is not None}
        self._channel.basic_publish(amqp.Message(body, **kept), EXCHANGE, routing_key)

    def publish(self, exchange: str, routing_key: str, body: bytes, **properties: Any) -> None:
        """Send any message to any exchange."""
        self._channel.basic_publish(amqp.Message(body, **properties), exchange, routing_key)

    def reply(self, timeout: float = 15) -> amqp.Message:
        """Wait for the next reply."""
        while not self._replies:
            self._connection.drain_events(timeout=timeout)
        return self._replies.pop(0)

    def ask(self, routing_key: str, body: bytes = NO_ARGUMENTS, **properties: Any) -> amqp.Message:
        """Send a request and wait for its reply."""
        self.send(routing_key, body, **properties)
        return self.reply()

    def ask_for_json(self, routing_key: str, body: bytes = NO_ARGUMENTS, **properties: Any) -> Any:
        """Send a request and give the value of its reply's body."""
        return json.loads(self.ask(routing_key, body, **properties).body)


def call_body(*args: Any, **kwargs: Any) -> bytes:
    """Give the body of a request."""
    body: Mapping[str, Any] = {"args": args, "kwargs": kwargs}
    return json.dumps(body).encode()
