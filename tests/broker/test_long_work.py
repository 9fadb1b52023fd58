"""A message that is worked on when the broker gives it out again is not run a second time in the same process."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest
from nodes import impatient_node
from waiting import wait_until

from rpcservice import ClusterRpc, Retry, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp.longwork import LongWork
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import RabbitMQNode

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

    @rpc_method
    def call(self, what: Any) -> Any:
        return self.work(what)


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


def break_connection(node: RabbitMQNode, queue: str) -> None:
    """Cut the connections of services, and wait until the queue's message is with somebody again."""
    node.close_connections()
    wait_until(lambda: node.queues()[queue]["consumers"] == 1)
    wait_until(lambda: node.queues()[queue]["messages_unacknowledged"] == 1)


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
