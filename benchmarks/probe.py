"""A bare AMQP client, the same for all peers: first answered calls, floods of events, queues to publish into."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import amqp

from benchmarks.clients.pyamqp_wire import connect
from benchmarks.peers import Peer, Request

_RETRY_PAUSE = 0.005
_RPC_EXCHANGE = "nameko-rpc"


class ProbeFailed(Exception):
    """Raised when a service did not answer in time, or answered something else."""


class Probe:
    """One connection to the broker; usable as a context manager."""

    def __init__(self, uri: str) -> None:
        self._connection = connect(uri)
        self.channel = self._connection.channel()
        self.broker = str(self._connection.server_properties.get("version", "unknown"))

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()

    def first_answers(
        self, calls: list[Request], expected: str, *, limit: float, is_running: Callable[[], bool]
    ) -> None:
        """Send each call, again where nobody listens yet, until all are answered.

        Args:
            calls: The calls.
            expected: What each answer must hold.
            limit: Seconds to wait at most.
            is_running: Whether there is still somebody to wait for.

        Raises:
            ProbeFailed: An answer is missing or wrong.
        """
        answers: dict[str, str] = {}
        returned: list[str] = []
        queue = self._reply_queue(answers)
        pending = {str(uuid.uuid4()): call for call in calls}
        self.channel.events["basic_return"].add(lambda *args: returned.append(args[-1].properties["correlation_id"]))
        for correlation_id, call in pending.items():
            self._send(call, correlation_id, queue)
        deadline = time.monotonic() + limit
        while len(answers) < len(pending):
            if time.monotonic() > deadline or not is_running():
                missing = [call.routing_key for key, call in pending.items() if key not in answers]
                why = f"within {limit:g} s" if is_running() else "for its process has ended"
                raise ProbeFailed(f"no answer from {', '.join(missing[:3])} {why}")
            self._drain(_RETRY_PAUSE)
            while returned:
                time.sleep(_RETRY_PAUSE)
                correlation_id = returned.pop()
                self._send(pending[correlation_id], correlation_id, queue)
        wrong = [answer for answer in answers.values() if expected not in answer]
        if wrong:
            raise ProbeFailed(f"expected {expected!r}, got {wrong[0][:500]}")

    def wait_for_consumers(self, queue: str, count: int, limit: float) -> None:
        """Wait until a queue has that many consumers.

        Raises:
            ProbeFailed: It has not within the limit, in seconds.
        """
        deadline = time.monotonic() + limit
        while (found := self._count_consumers(queue)) < count:
            if time.monotonic() > deadline:
                raise ProbeFailed(f"{queue} has {found} of {count} consumers after {limit:g} s")
            time.sleep(_RETRY_PAUSE)

    def flood(self, peer: Peer, count: int) -> None:
        """Publish that many persistent events for a peer's service."""
        exchange = f"bench_source_{peer.name}.events"
        for number in range(count):
            # Each with an id of its own, as the peers send them.
            message = _message(
                json.dumps({"number": number, "of": count, "sku": "sku-1", "customer": "somebody"}).encode(),
                headers={"nameko.call_id_stack": [f"bench_source.flood.{number}"]},
                correlation_id=str(number),
            )
            self.channel.basic_publish(message, exchange, "counted")

    def make_source(self, peer: Peer) -> str:
        """Make the event exchange of a peer's client; gives its name."""
        exchange = f"bench_client_{peer.name}.events"
        self.channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
        return exchange

    def make_sink(self, peer: Peer) -> str:
        """Make a durable queue for what a peer's client publishes; gives its name."""
        queue = f"bench-sink-{peer.name}"
        self.channel.queue_declare(queue, durable=True, auto_delete=False)
        self.channel.queue_bind(queue, self.make_source(peer), "published")
        return queue

    def drop_queue(self, queue: str) -> int:
        """Delete a queue; gives the number of messages that were in it."""
        return int(self.channel.queue_delete(queue) or 0)

    def _count_consumers(self, queue: str) -> int:
        # A channel of its own, for the broker closes the one that asks for a queue which is not there.
        with self._connection.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).consumer_count)
            except amqp.NotFound:
                return 0

    def _reply_queue(self, answers: dict[str, str]) -> str:
        # nameko replies through the rpc exchange, FastStream through the default one: the same name serves both.
        queue = f"bench-probe-{uuid.uuid4()}"
        self.channel.exchange_declare(_RPC_EXCHANGE, "topic", durable=True, auto_delete=False)
        self.channel.queue_declare(queue, exclusive=True)
        self.channel.queue_bind(queue, _RPC_EXCHANGE, queue)

        def take(message: Any) -> None:
            body = message.body
            answers[message.properties["correlation_id"]] = body if isinstance(body, str) else body.decode()

        self.channel.basic_consume(queue, no_ack=True, callback=take)
        return queue

    def _send(self, call: Request, correlation_id: str, reply_to: str) -> None:
        message = _message(call.body, headers=call.headers, correlation_id=correlation_id, reply_to=reply_to)
        self.channel.basic_publish(message, call.exchange, call.routing_key, mandatory=True)

    def _drain(self, seconds: float) -> None:
        try:
            self._connection.drain_events(timeout=seconds)
        except TimeoutError:
            return


def _message(body: bytes, **properties: Any) -> amqp.Message:
    properties["application_headers"] = dict(properties.pop("headers"))
    return amqp.Message(
        body, content_type="application/json", content_encoding="utf-8", delivery_mode=2, priority=0, **properties
    )
