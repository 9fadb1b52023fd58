"""A message that is worked on when the broker gives it out again is not run a second time in the same process."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from nodes import impatient_node
from waiting import wait_until

from rpcservice import ClusterRpc, DependencyProvider, Retry, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp.longwork import LongWork
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = pytest.mark.broker

Start = Callable[..., ServiceRunner]


class Long:
    """Works until it is let go."""

    name = "long"
    cluster = ClusterRpc()
    seen: list[Any]
    gate: Any
    failures = 0

    @classmethod
    def prepare(cls, failures: int = 0) -> None:
        cls.seen, cls.gate, cls.failures = [], green().event(), failures

    def work(self, what: Any) -> Any:
        self.seen.append(what)
        self.gate.wait(60)
        if len(self.seen) <= self.failures:
            raise ConnectionError("no bank")
        return len(self.seen)

    @event_handler("orders", "placed", retry=Retry(max_attempts=2, initial=0.1, jitter=0))
    def handle(self, payload: Any) -> None:
        self.work(payload)

    @event_handler("orders", "sent", dead_letter=True)
    def send(self, payload: Any) -> None:
        self.work(payload)
        if payload == "badly":
            raise ValueError("no address")

    @rpc_method
    def call(self, what: Any) -> Any:
        return self.work(what)

    @rpc_method
    def tell(self, what: Any) -> Any:
        self.work(what)
        return what


@pytest.fixture
def start(runner_factory: Callable[..., ServiceRunner], rabbitmq_node: RabbitMQNode) -> Start:
    def make(*services: type, uri: str = rabbitmq_node.uri, **settings: Any) -> ServiceRunner:
        runner = runner_factory(*services, config={"AMQP_URI": uri, **settings})
        runner.start()
        return runner

    return make


def ready(node: RabbitMQNode, queue: str) -> int:
    count: int = node.queues()[queue]["messages"]
    return count


HANDLER_QUEUE = "evt-orders-placed--long.handle"
SENT_QUEUE = "evt-orders-sent--long.send"


def break_connection(node: RabbitMQNode, queue: str, held: int = 1) -> None:
    """Cut the connections of services, and wait until the queue's messages are with somebody again."""
    node.close_connections()
    wait_until(lambda: node.queues()[queue]["consumers"] == 1)
    wait_until(lambda: node.queues()[queue]["messages_unacknowledged"] == held)


def test_an_event_that_comes_again_is_acknowledged_by_its_new_channel(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare()
    start(Long)
    publish("orders.events", "placed", message_id="m-1")
    wait_until(lambda: len(Long.seen) == 1)
    break_connection(rabbitmq_node, HANDLER_QUEUE)
    Long.gate.set()
    wait_until(lambda: ready(rabbitmq_node, HANDLER_QUEUE) == 0)
    assert len(Long.seen) == 1


def test_it_is_known_by_its_correlation_id_too(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare()
    start(Long)
    publish("orders.events", "placed", correlation_id="c-1")
    wait_until(lambda: len(Long.seen) == 1)
    break_connection(rabbitmq_node, HANDLER_QUEUE)
    Long.gate.set()
    wait_until(lambda: ready(rabbitmq_node, HANDLER_QUEUE) == 0)
    assert len(Long.seen) == 1


def test_one_without_an_id_runs_again(start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]) -> None:
    Long.prepare()
    start(Long)
    publish("orders.events", "placed")
    wait_until(lambda: len(Long.seen) == 1)
    rabbitmq_node.close_connections()
    wait_until(lambda: len(Long.seen) == 2)
    Long.gate.set()


def test_one_that_waits_for_a_worker_runs_once(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare()
    start(Long, max_workers=1, PREFETCH_COUNT=5)
    for number in range(3):
        publish("orders.events", "placed", message_id=f"m-{number}")
    wait_until(lambda: rabbitmq_node.queues()[HANDLER_QUEUE]["messages_unacknowledged"] == 3)
    rabbitmq_node.close_connections()
    wait_until(lambda: rabbitmq_node.queues()[HANDLER_QUEUE]["consumers"] == 1)
    wait_until(lambda: rabbitmq_node.queues()[HANDLER_QUEUE]["messages_unacknowledged"] == 3)
    Long.gate.set()
    wait_until(lambda: ready(rabbitmq_node, HANDLER_QUEUE) == 0)
    assert len(Long.seen) == 3


def test_a_retry_counts_although_the_message_came_again(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare(failures=1)
    start(Long)
    publish("orders.events", "placed", message_id="m-1")
    wait_until(lambda: len(Long.seen) == 1)
    break_connection(rabbitmq_node, HANDLER_QUEUE)
    Long.gate.set()
    wait_until(lambda: len(Long.seen) == 2)
    wait_until(lambda: ready(rabbitmq_node, HANDLER_QUEUE) == 0)
    assert len(Long.seen) == 2


def test_a_request_that_comes_again_is_answered_once(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare()
    start(Long)
    publish("nameko-rpc", "long.call", b'{"args": [1], "kwargs": {}}', message_id="m-1")
    wait_until(lambda: len(Long.seen) == 1)
    break_connection(rabbitmq_node, "rpc-long")
    Long.gate.set()
    wait_until(lambda: ready(rabbitmq_node, "rpc-long") == 0)
    assert Long.seen == [1]


def test_foreign_callers_who_number_alike_have_each_their_own_reply(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare()
    start(Long)
    callers = [f"caller-{number}" for number in range(6)]
    with kombu.Connection(rabbitmq_node.uri) as connection:
        channel: Any = connection.channel()
        for caller in callers:
            channel.queue_declare(caller, durable=True, auto_delete=False)
            channel.queue_bind(caller, "nameko-rpc", caller)
            body = json.dumps({"args": [caller], "kwargs": {}}).encode()
            publish("nameko-rpc", "long.tell", body, correlation_id="1", reply_to=caller)
    wait_until(lambda: len(Long.seen) == 6)
    break_connection(rabbitmq_node, "rpc-long", held=6)
    Long.gate.set()
    wait_until(lambda: ready(rabbitmq_node, "rpc-long") == 0)
    assert sorted(Long.seen) == callers
    with kombu.Connection(rabbitmq_node.uri) as connection:
        channel = connection.channel()
        for caller in callers:
            reply = wait_until(lambda caller=caller: channel.basic_get(caller, no_ack=True))
            assert json.loads(reply.body)["result"] == caller


def test_of_two_events_with_one_id_the_one_that_failed_is_with_the_dead_letters(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None]
) -> None:
    Long.prepare()
    start(Long)
    orders = [f"order-{number}" for number in range(5)]
    for order in orders:
        publish("orders.events", "sent", b'"well"', message_id=order)
        publish("orders.events", "sent", b'"badly"', message_id=order)
    wait_until(lambda: len(Long.seen) == 10)
    break_connection(rabbitmq_node, SENT_QUEUE, held=10)
    Long.gate.set()
    wait_until(lambda: ready(rabbitmq_node, SENT_QUEUE) == 0)
    assert len(Long.seen) == 10
    with kombu.Connection(rabbitmq_node.uri) as connection:
        channel: Any = connection.channel()
        dead = [wait_until(lambda: channel.basic_get(f"{SENT_QUEUE}.dead", no_ack=True)) for _ in orders]
        assert not channel.basic_get(f"{SENT_QUEUE}.dead", no_ack=True)
    assert [letter.body for letter in dead] == ['"badly"'] * 5
    assert sorted(letter.properties["message_id"] for letter in dead) == orders


@pytest.mark.parametrize(
    ("exchange", "key", "queue"),
    [("orders.events", "lasted", "evt-orders-lasted--closing.handle"), ("nameko-rpc", "closing.call", "rpc-closing")],
)
def test_one_that_comes_again_when_its_worker_only_tears_down_runs_again(
    start: Start, rabbitmq_node: RabbitMQNode, publish: Callable[..., None], exchange: str, key: str, queue: str
) -> None:
    Closing.prepare()
    with TcpProxy(rabbitmq_node.uri) as proxy:
        start(Closing, uri=proxy.uri)
        publish(exchange, key, b'{"args": [], "kwargs": {}}', message_id="m-1")
        wait_until(lambda: Closing.begun == 1)
        proxy.refuse()
        Closing.work.set()
        wait_until(lambda: Closing.torn_down == 1)
        proxy.resume()
        wait_until(lambda: Closing.begun == 2, timeout=30)
        wait_until(lambda: ready(rabbitmq_node, queue) == 0)
        Closing.end.set()


class SlowToClose(DependencyProvider):
    """Has its workers wait when they have settled their messages."""

    def worker_teardown(self, ctx: Any) -> None:
        """Wait until the test ends that."""
        Closing.torn_down += 1
        Closing.end.wait(60)


class Closing:
    """Works until it is let go, and has not ended then."""

    name = "closing"
    slow = SlowToClose()
    begun = torn_down = 0
    work: Any
    end: Any

    @classmethod
    def prepare(cls) -> None:
        cls.work, cls.end, cls.begun, cls.torn_down = green().event(), green().event(), 0, 0

    @event_handler("orders", "lasted")
    def handle(self, payload: Any) -> None:
        self.call()

    @rpc_method
    def call(self) -> None:
        Closing.begun += 1
        Closing.work.wait(60)


@pytest.fixture
def publish(rabbitmq_node: RabbitMQNode) -> Callable[..., None]:
    """Publish a message and see the broker take it."""
    return lambda exchange, key, body=b"1", **properties: _publish(rabbitmq_node.uri, exchange, key, body, properties)


def _publish(uri: str, exchange: str, key: str, body: bytes, properties: dict[str, Any]) -> None:
    with kombu.Connection(uri, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()
        producer.publish(
            body,
            exchange=exchange,
            routing_key=key,
            content_type="application/json",
            content_encoding="utf-8",
            **properties,
        )


# RabbitMQ's own time for handling a message


@pytest.fixture(scope="module")
def impatient() -> Iterator[RabbitMQNode]:
    """A node that waits for three seconds."""
    with impatient_node(3) as node:
        yield node


def test_what_the_broker_takes_back_is_warned_of_and_runs_once(
    start: Start, impatient: RabbitMQNode, caplog: pytest.LogCaptureFixture
) -> None:
    Long.prepare()
    start(Long, uri=impatient.uri, consumer_timeout=3)
    with caplog.at_level(logging.WARNING):
        _publish(impatient.uri, "orders.events", "placed", b"1", {"message_id": "m-1"})
        wait_until(lambda: "its message has come again and is not run a second time here" in caplog.text, timeout=60)
    warned = [record.getMessage() for record in caplog.records if "consumer_timeout" in record.getMessage()]
    assert warned
    assert warned[0].startswith("long.handle.")
    assert "RabbitMQ takes its message back and closes the channel" in warned[0]
    Long.gate.set()
    wait_until(lambda: ready(impatient, HANDLER_QUEUE) == 0)
    assert Long.seen == [1]


def test_each_call_is_warned_of_once(start: Start, caplog: pytest.LogCaptureFixture, publish: Any) -> None:
    Long.prepare()
    start(Long, consumer_timeout=0.5)
    publish("orders.events", "placed", message_id="m-1")
    with caplog.at_level(logging.WARNING, "rpcservice.amqp.longwork"):
        wait_until(lambda: "consumer_timeout" in caplog.text)
        green().sleep(0.5)
    Long.gate.set()
    assert len([record for record in caplog.records if "consumer_timeout" in record.getMessage()]) == 1


def test_null_warns_of_nothing(start: Start, caplog: pytest.LogCaptureFixture, publish: Any) -> None:
    Long.prepare()
    runner = start(Long, consumer_timeout=None)
    publish("orders.events", "placed", message_id="m-1")
    wait_until(lambda: len(Long.seen) == 1)
    (work,) = [resource for resource in runner.resources if isinstance(resource, LongWork)]
    assert work._task is None
    Long.gate.set()
