"""nameko.amqp: publishers and consumers that need no service, on a worker's connection or on kombu's own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from kombu import Exchange, Queue
from kombu.pools import reset
from wire import Inbox, Wire

from rpcservice.compat.nameko.amqp import UndeliverableMessage, get_connection, get_producer, verify_amqp_uri
from rpcservice.compat.nameko.amqp.consume import Consumer
from rpcservice.compat.nameko.amqp.publish import Publisher
from rpcservice.compat.nameko.rpc import rpc
from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.concurrency import green
from rpcservice.errors import UndeliverableMessage as OwnUndeliverableMessage
from rpcservice.testing import entrypoint_hook

Serve = Callable[..., ServiceRunner]
PARCELS = Exchange("parcels", type="direct")
QUEUE = Queue("parcels", PARCELS, routing_key="new")


class Working:
    """Has a function of the test run in a worker."""

    name = "working"

    @rpc
    def run(self, function: Callable[[], Any]) -> Any:
        return function()


def run(runner: ServiceRunner, function: Callable[[], Any]) -> Any:
    """Run a function in a worker."""
    with entrypoint_hook(runner.service_map["working"], "run") as hook:
        return hook(function)


@pytest.fixture
def _no_pools() -> Iterator[None]:
    """Close the connections that kombu's pools keep."""
    yield
    reset()


# In a worker


def test_a_publisher_in_a_worker_uses_its_connection(serve: Serve, wire: Wire, broker_uri: str) -> None:
    """The embedded broker knows no other way in."""

    def publish() -> None:
        publisher = Publisher(broker_uri, headers={"one": 1, "two": 1, "three": 1})
        publisher.publish(
            b'{"a": 1}',
            exchange=PARCELS,
            routing_key="new",
            declare=[QUEUE.exchange, QUEUE],
            headers={"two": 2, "three": 2},
            extra_headers={"three": 3},
            expiration=1.5,
            mandatory=True,
            retry=True,
            retry_policy={"max_retries": 3},
            content_type="application/json",
            content_encoding="utf-8",
            correlation_id="id",
            reply_to="replies",
            priority=1,
        )

    run(serve(Working), publish)
    message = wire.channel.get("parcels", no_ack=True)
    assert message is not None
    assert (message.body, message.headers) == (b'{"a": 1}', {"one": 1, "two": 2, "three": 3})
    properties = {
        name: message.properties[name] for name in ("content_type", "correlation_id", "expiration", "priority")
    }
    assert properties == {
        "content_type": "application/json",
        "correlation_id": "id",
        "expiration": "1500",
        "priority": 1,
    }


def test_what_the_publisher_declares_is_there(serve: Serve, wire: Wire, broker_uri: str) -> None:
    run(serve(Working), lambda: Publisher(broker_uri, declare=[QUEUE]).publish(1, exchange=PARCELS, routing_key="new"))
    assert wire.channel.get("parcels", no_ack=True) is not None


def test_a_mandatory_message_without_a_queue_is_an_error(serve: Serve, broker_uri: str) -> None:
    def publish() -> None:
        with pytest.raises(UndeliverableMessage, match="nowhere"):
            Publisher(broker_uri, mandatory=True).publish(1, routing_key="nowhere")

    run(serve(Working), publish)
    assert UndeliverableMessage is OwnUndeliverableMessage


def test_the_error_may_be_made_without_arguments() -> None:
    """By tests of others, as what a mock raises."""
    with pytest.raises(UndeliverableMessage, match="no queue takes"):
        mock.Mock(side_effect=UndeliverableMessage)()


def test_an_option_that_does_not_exist_is_named(serve: Serve, broker_uri: str) -> None:
    def publish() -> None:
        with pytest.raises(TypeError, match="'imediate' is no option of a Publisher"):
            Publisher(broker_uri).publish(1, imediate=True)

    run(serve(Working), publish)


def test_options_that_are_changed_later_hold(serve: Serve, wire: Wire, broker_uri: str) -> None:
    """They are attributes."""
    wire.channel.declare_queue("direct")

    def publish() -> None:
        publisher = Publisher(broker_uri, routing_key="direct")
        publisher.publish(1)
        publisher.priority = 4
        publisher.publish(2)

    run(serve(Working), publish)
    messages = [wire.channel.get("direct", no_ack=True) for _ in range(2)]
    assert [message.properties["priority"] for message in messages if message is not None] == [0, 4]


# Elsewhere


@pytest.mark.broker
@pytest.mark.usefixtures("_no_pools")
def test_a_publisher_elsewhere_uses_kombus_pool(wire: Wire, broker_uri: str) -> None:
    publisher = Publisher(broker_uri, declare=[QUEUE], headers={"one": 1}, exchange=PARCELS)
    publisher.publish({"a": 1}, routing_key="new", headers={"two": 2}, extra_headers={"two": 3}, priority=2)
    message = wire.channel.get("parcels", no_ack=True)
    assert message is not None
    assert (message.body, message.headers) == (b'{"a": 1}', {"one": 1, "two": 3})
    assert (message.properties["priority"], message.properties["delivery_mode"]) == (2, 2)


@pytest.mark.broker
@pytest.mark.usefixtures("_no_pools")
def test_a_worker_may_publish_to_a_broker_that_its_service_is_not_connected_to(
    serve: Serve, wire: Wire, broker_uri: str
) -> None:
    """On a connection of kombu's."""
    wire.channel.declare_queue("direct")
    runner = serve(Working, AMQP_URI="memory://elsewhere/")
    run(runner, lambda: Publisher(broker_uri).publish(1, routing_key="direct"))
    assert wire.channel.get("direct", no_ack=True) is not None


@pytest.mark.broker
@pytest.mark.usefixtures("_no_pools")
def test_a_mandatory_message_without_a_queue_is_an_error_elsewhere_too(broker_uri: str) -> None:
    with pytest.raises(UndeliverableMessage, match=r"'nowhere' from exchange 'amq\.topic'"):
        Publisher(broker_uri, mandatory=True).publish(
            1, exchange=Exchange("amq.topic", type="topic"), routing_key="nowhere"
        )


@pytest.mark.broker
@pytest.mark.usefixtures("_no_pools")
def test_without_confirms_it_warns_instead(broker_uri: str) -> None:
    with pytest.warns(UserWarning, match="noticed only with use_confirms=True"):
        Publisher(broker_uri, mandatory=True, use_confirms=False).publish(1, routing_key="nowhere")


def test_a_producer_is_asked_for_with_the_publishers_options() -> None:
    """So that tests may patch it."""
    with mock.patch("rpcservice.compat.nameko.amqp.publish.get_producer") as lent:
        Publisher("pyamqp://broker", use_confirms=False, ssl=True, login_method="EXTERNAL").publish(
            "x", routing_key="k"
        )
    assert lent.call_args.args[:4] == ("pyamqp://broker", False, True, "EXTERNAL")
    publish = lent.return_value.__enter__.return_value.publish
    assert publish.call_args.args == ("x",)
    assert publish.call_args.kwargs["routing_key"] == "k"
    assert "use_confirms" not in publish.call_args.kwargs


@pytest.mark.broker
@pytest.mark.usefixtures("_no_pools")
def test_connections_and_producers_are_lent(broker_uri: str) -> None:
    with get_connection(broker_uri) as connection:
        assert connection.connected or connection.connect()
    with get_producer(broker_uri, confirms=True) as producer:
        assert producer.connection.transport_options["confirm_publish"] is True


@pytest.mark.broker
def test_a_uri_is_verified(broker_uri: str) -> None:
    """By a login."""
    verify_amqp_uri(broker_uri)
    with pytest.raises(OSError, match=r"(?i)refused"):
        verify_amqp_uri("pyamqp://127.0.0.1:1/")


# The consumer of nameko 3


@contextmanager
def consuming(consumer: Consumer) -> Iterator[None]:
    """Run a consumer for the time of a block."""
    task = green().spawn(consumer.run)
    consumer.wait_until_consumer_ready()
    yield
    consumer.stop()
    assert task.wait(10)


@pytest.mark.broker
def test_a_consumer_hands_messages_to_its_callbacks(wire: Wire, broker_uri: str, inbox: Inbox) -> None:
    """And settles them for those who ask it to."""
    settled: list[Any] = []

    def handle(body: Any, message: Any) -> None:
        inbox(body)
        settle = consumer.ack_message if message.delivery_info["redelivered"] else consumer.requeue_message
        settle(message)
        settled.append(message)

    consumer = Consumer(broker_uri, queues=[QUEUE], callbacks=[handle], accept=["json"], prefetch_count=1, heartbeat=10)
    with consuming(consumer):
        wire.publish("parcels", "new", b'{"a": 1}', content_type="application/json", content_encoding="utf-8")
        assert [inbox.take(), inbox.take()] == [{"a": 1}, {"a": 1}]
    assert wire.channel.declare_queue("parcels", passive=True).messages == 0
    assert not settled[0].channel.connection
    consumer.ack_message(settled[0])


def test_a_stopped_consumer_puts_messages_back() -> None:
    consumer = Consumer("pyamqp://broker", callbacks=[mock.Mock()])
    consumer.stop()
    message = mock.Mock()
    consumer.on_message({}, message)
    message.requeue.assert_called_once_with()
    consumer.callbacks[0].assert_not_called()  # type: ignore[attr-defined]  # a mock


def test_a_lost_connection_has_given_its_messages_back(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else gets them, so that an ack is no longer asked for."""
    from amqp.exceptions import ConnectionError as AmqpConnectionError

    message = mock.Mock(delivery_tag=7)
    message.ack.side_effect = AmqpConnectionError("gone")
    with caplog.at_level("DEBUG"):
        Consumer("pyamqp://broker").ack_message(message)
    assert "message 7 back" in caplog.text


def test_a_consumer_says_when_it_cannot_connect(caplog: pytest.LogCaptureFixture) -> None:
    """Without the password."""
    Consumer("pyamqp://user:secret@broker//").on_connection_error(OSError("refused"), 2.0)
    assert "Error connecting to broker at pyamqp://user:**@broker// (refused).\nRetrying in 2.0 seconds." in caplog.text
