"""Services written for nameko: a message that comes again to a worker that still has it is not run a second time."""

import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import kombu
import pytest
from kombu import Queue
from nodes import impatient_node
from waiting import wait_until
from wire import Wire

from rpcservice import Retry
from rpcservice.compat.nameko.events import EventHandler, event_handler
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.compat.nameko.messaging import consume
from rpcservice.compat.nameko.rpc import Rpc, rpc
from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.concurrency import Event, green
from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = pytest.mark.broker

Serve = Callable[..., ServiceRunner]
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
REQUEST = b'{"args": [1], "kwargs": {}}'


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri}


@pytest.fixture
def wire(rabbitmq_node: RabbitMQNode) -> Any:
    """Publish raw messages by a connection that lasts for one message: those of services are cut."""
    return partial(publish, rabbitmq_node.uri)


def publish(uri: str, exchange: str, key: str, body: bytes = b"1", **properties: Any) -> None:
    made = Wire(uri, green())
    made.publish(exchange, key, body, **JSON, **properties)
    made.link.close()


class Seen(list[Any]):
    """What methods were run with; they work until they are let go."""

    def __init__(self, failures: int = 0) -> None:
        self.gate: Event = green().event()
        self._failures = failures

    def work(self, what: Any) -> Any:
        self.append(what)
        assert self.gate.wait(60)
        if len(self) <= self._failures:
            raise ConnectionError("no bank")
        return what


def service_of(decorator: Any, seen: Seen) -> type:
    class Long:
        name = "long"

        @decorator
        def work(self, what: Any) -> Any:
            return seen.work(what)

    return Long


class OwnHandler(EventHandler):
    """Looks at each message, and leaves the rest to nameko."""

    def handle_message(self, body: Any, message: Any) -> None:
        self.looked_at.append(body)  # type: ignore[attr-defined]
        super().handle_message(body, message)


class OwnRpc(Rpc):
    """The same for requests."""

    def handle_message(self, body: Any, message: Any) -> None:
        super().handle_message(body, message)


class Deciding(EventHandler):
    """Does without what nameko does."""

    def handle_message(self, body: Any, message: Any) -> None:
        self.container.spawn_worker(
            self, (body,), {}, handle_result=lambda ctx, result, exc_info: (message.ack(), (result, exc_info))[1]
        )


def held(node: RabbitMQNode, queue: str) -> int:
    count: int = node.queues()[queue]["messages_unacknowledged"]
    return count


def is_empty(node: RabbitMQNode, queue: str) -> bool:
    return bool(node.queues()[queue]["messages"] == 0)


def break_connection(node: RabbitMQNode, queue: str, count: int = 1) -> None:
    """Cut the connections of services, and wait until the queue's messages are with somebody again."""
    node.close_connections()
    wait_until(lambda: node.queues()[queue]["consumers"] == 1)
    wait_until(lambda: held(node, queue) == count)


EVENTS = "evt-orders-placed--long.work"
WAYS: dict[str, tuple[Any, str, str, str, bytes]] = {
    "event": (event_handler("orders", "placed"), "orders.events", "placed", EVENTS, b"1"),
    "event, own class": (OwnHandler.decorator("orders", "placed"), "orders.events", "placed", EVENTS, b"1"),
    "message": (consume(Queue("parcels")), "", "parcels", "parcels", b"1"),
    "request": (rpc, "nameko-rpc", "long.work", "rpc-long", REQUEST),
    "request, own class": (OwnRpc.decorator, "nameko-rpc", "long.work", "rpc-long", REQUEST),
}


@pytest.mark.parametrize("id_name", ["message_id", "correlation_id"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_run_once_and_settled_by_its_new_channel(
    serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any, way: str, id_name: str
) -> None:
    decorator, exchange, key, queue, body = WAYS[way]
    seen, OwnHandler.looked_at = Seen(), []  # type: ignore[attr-defined]
    serve(service_of(decorator, seen))
    wire(exchange, key, body, **{id_name: "1"})
    wait_until(lambda: len(seen) == 1)
    break_connection(rabbitmq_node, queue)
    seen.gate.set()
    wait_until(lambda: is_empty(rabbitmq_node, queue))
    assert seen == [1]
    # It was asked each time.
    assert len(OwnHandler.looked_at) == (2 if "event, own" in way else 0)  # type: ignore[attr-defined]


def test_one_without_an_id_runs_again(serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any) -> None:
    seen = Seen()
    serve(service_of(event_handler("orders", "placed"), seen))
    wire("orders.events", "placed")
    wait_until(lambda: len(seen) == 1)
    rabbitmq_node.close_connections()
    wait_until(lambda: len(seen) == 2)
    seen.gate.set()
    wait_until(lambda: is_empty(rabbitmq_node, EVENTS))


def test_a_class_that_does_without_namekos_handle_message_decides_itself(
    serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any
) -> None:
    seen = Seen()
    serve(service_of(Deciding.decorator("orders", "placed"), seen))
    wire("orders.events", "placed", message_id="m-1")
    wait_until(lambda: len(seen) == 1)
    rabbitmq_node.close_connections()
    wait_until(lambda: len(seen) == 2)
    seen.gate.set()
    wait_until(lambda: is_empty(rabbitmq_node, EVENTS))


def test_those_that_wait_for_a_worker_run_once(serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any) -> None:
    seen = Seen()
    serve(service_of(event_handler("orders", "placed"), seen), max_workers=1, PREFETCH_COUNT=5)
    for number in range(3):
        wire("orders.events", "placed", str(number).encode(), message_id=f"m-{number}")
    wait_until(lambda: held(rabbitmq_node, EVENTS) == 3)
    break_connection(rabbitmq_node, EVENTS, 3)
    seen.gate.set()
    wait_until(lambda: is_empty(rabbitmq_node, EVENTS))
    assert sorted(seen) == [0, 1, 2]


def test_each_caller_has_a_reply_of_their_own(serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any) -> None:
    """Callers that number alike: only the queues that they want the reply in tell them apart."""
    seen = Seen()
    serve(service_of(rpc, seen))
    callers = ["caller-0", "caller-1", "caller-2"]
    with kombu.Connection(rabbitmq_node.uri) as connection:
        channel: Any = connection.channel()
        for caller in callers:
            channel.queue_declare(caller, durable=True, auto_delete=False)
            channel.queue_bind(caller, "nameko-rpc", caller)
            body = json.dumps({"args": [caller], "kwargs": {}}).encode()
            wire("nameko-rpc", "long.work", body, correlation_id="1", reply_to=caller)
    wait_until(lambda: len(seen) == 3)
    break_connection(rabbitmq_node, "rpc-long", 3)
    seen.gate.set()
    wait_until(lambda: is_empty(rabbitmq_node, "rpc-long"))
    assert sorted(seen) == callers
    with kombu.Connection(rabbitmq_node.uri) as connection:
        channel = connection.channel()
        for caller in callers:
            reply = wait_until(lambda caller=caller: channel.basic_get(caller, no_ack=True))
            assert json.loads(reply.body)["result"] == caller
            assert channel.basic_get(caller, no_ack=True) is None


def test_a_retry_counts_although_the_message_came_again(serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any) -> None:
    seen = Seen(failures=1)
    retry = Retry(max_attempts=2, initial=0.1, jitter=0)
    serve(service_of(event_handler("orders", "placed", retry=retry), seen))
    wire("orders.events", "placed", message_id="m-1")
    wait_until(lambda: len(seen) == 1)
    break_connection(rabbitmq_node, EVENTS)
    seen.gate.set()
    wait_until(lambda: len(seen) == 2)
    wait_until(lambda: is_empty(rabbitmq_node, EVENTS))
    assert rabbitmq_node.queues()[f"{EVENTS}.dead"]["messages"] == 0


class Slow(DependencyProvider):
    """Has its workers wait when they have settled their messages."""

    torn_down = 0
    end: Event

    def worker_teardown(self, worker_ctx: Any) -> None:
        Slow.torn_down += 1
        Slow.end.wait(60)


def test_one_that_was_settled_in_vain_runs_again(serve: Serve, rabbitmq_node: RabbitMQNode, wire: Any) -> None:
    """Its worker only tears down, and can do nothing more for it."""
    seen, Slow.end, Slow.torn_down = Seen(), green().event(), 0

    class Closing(service_of(event_handler("orders", "placed"), seen)):  # type: ignore[misc]
        slow = Slow()

    with TcpProxy(rabbitmq_node.uri) as proxy:
        runner = serve(Closing, AMQP_URI=proxy.uri)
        wire("orders.events", "placed", message_id="m-1")
        wait_until(lambda: len(seen) == 1)
        proxy.refuse()
        seen.gate.set()
        wait_until(lambda: Slow.torn_down == 1)
        proxy.resume()
        wait_until(lambda: len(seen) == 2, timeout=30)
        wait_until(lambda: is_empty(rabbitmq_node, EVENTS))
        Slow.end.set()
        runner.stop()


@pytest.mark.parametrize("way", ["event", "message", "request"])
def test_long_work_is_warned_of(serve: Serve, wire: Any, way: str, caplog: pytest.LogCaptureFixture) -> None:
    decorator, exchange, key, _, body = WAYS[way]
    seen = Seen()
    serve(service_of(decorator, seen), rpcservice={"consumer_timeout": 0.5})
    wire(exchange, key, body, message_id="m-1")
    with caplog.at_level(logging.WARNING, "rpcservice.amqp.longwork"):
        wait_until(lambda: "RabbitMQ takes its message back and closes the channel" in caplog.text)
    seen.gate.set()


def test_what_the_broker_takes_back_is_run_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """After its own time for handling a message RabbitMQ closes the channel, and gives out again what was on it."""
    seen, requests = Seen(), Seen()

    class Long(service_of(event_handler("orders", "placed"), seen)):  # type: ignore[misc]
        @rpc
        def call(self, what: Any) -> Any:
            return requests.work(what)

    with impatient_node(3) as node:
        runner = serve(Long, AMQP_URI=node.uri, rpcservice={"consumer_timeout": 3})
        publish(node.uri, "orders.events", "placed", message_id="m-1")
        publish(node.uri, "nameko-rpc", "long.call", REQUEST, correlation_id="c-1")
        wait_until(lambda: caplog.text.count("is not run a second time here") == 2, timeout=60)
        seen.gate.set()
        requests.gate.set()
        wait_until(lambda: is_empty(node, EVENTS) and is_empty(node, "rpc-long"))
        runner.stop()
    assert (seen, requests) == ([1], [1])
