"""RawCaller: requests and replies by py-amqp alone, for bytes that neither nameko's clients nor ours would send."""

import json
from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

import amqp
from kombu import Connection, serialization
from kombu.compression import decompress

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


def reply_value(reply: Any) -> Any:
    """Give the value of a reply in any serializer, compressed or not."""
    body, content_type = reply.body, reply.properties["content_type"]
    if "compression" in reply.headers:
        body = decompress(body, reply.headers["compression"])
    return serialization.loads(body, content_type, reply.properties["content_encoding"], force=True)


UNDECODABLE: dict[str, dict[str, Any]] = {
    "no_json": {"body": b"{not json"},
    "more_than_json": {"body": b'{"args": [1], "kwargs": {}} more'},
    "deeper_than_can_be": {"body": call_body().replace(b"[]", b"[" * 50_000 + b"]" * 50_000)},
    "too_many_digits": {"body": call_body().replace(b"[]", b"[" + b"1" * 5000 + b"]")},
    "no_date": {"body": b'{"args": [{"__type__": "date", "__value__": "never"}], "kwargs": {}}'},
    "no_type": {"body": b'{"args": [{"__type__": "strange", "__value__": "x"}], "kwargs": {}}'},
    "yaml_object": {"body": b"args: [!!python/object/apply:os.getcwd []]", "content_type": "application/x-yaml"},
    "no_utf_8": {"body": b'{"args": ["\xff"], "kwargs": {}}'},
    "no_pickle": {"body": b"nonsense", "content_type": "application/x-python-serialize", "content_encoding": "binary"},
    "strange_type": {"body": NO_ARGUMENTS, "content_type": "text/strange"},
    "unknown_compression": {"body": NO_ARGUMENTS, "application_headers": {"compression": "application/x-strange"}},
    "broken_compression": {"body": b"not packed", "application_headers": {"compression": "application/x-gzip"}},
}
"""Requests that no service can decode."""
