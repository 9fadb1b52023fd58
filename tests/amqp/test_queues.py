"""@consume, with the same assertions on the embedded broker and on both links to RabbitMQ."""

import bz2
import json
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from kombu import Exchange, Queue, binding
from waiting import wait_until

from rpcservice import DependencyProvider, ServiceRunner, consume
from rpcservice.amqp.drops import Drops
from rpcservice.amqp.memory_broker import forget_broker
from rpcservice.amqp.queues import MessageHandler
from rpcservice.concurrency import green
from rpcservice.errors import ChannelClosed, ConfigError, DeclarationError
from rpcservice.testing import FakeHost

if TYPE_CHECKING:
    from rpcservice.testing import RabbitMQNode

every_link = pytest.mark.usefixtures("link_kind")

Start = Callable[..., ServiceRunner]
ORDERS = Exchange("orders", type="topic")
JSON = "application/json"


def consumer(seen: Any, queue: Any, fails: int = 0, **options: Any) -> type:
    """Make a service that hands each message of a queue on to ``seen``, and fails the first few times."""
    failures = [ValueError("not now")] * fails

    class Consuming:
        name = "consuming"

        @consume(queue, **options)
        def take(self, body: Any) -> None:
            seen(body)
            if failures:
                raise failures.pop()

    return Consuming


def is_empty(wire: Any, queue: str) -> bool:
    """Say whether a queue has no messages, neither ready nor unacknowledged."""
    channel = wire.link.channel()
    info = channel.declare_queue(queue, passive=True)
    channel.close()
    return bool(info.messages == 0)


# What is consumed


@every_link
@pytest.mark.parametrize("payload", [None, 1, "ünï", [1, 2], {"a": {"b": 1}}])
def test_the_method_gets_the_body(start: Start, wire: Any, inbox: Any, payload: object) -> None:
    seen = inbox()
    start(consumer(seen, Queue("incoming", ORDERS, routing_key="new.*")))
    wire.publish("orders", "new.here", json.dumps(payload).encode(), content_type=JSON)
    assert seen.take() == payload


@every_link
def test_a_queue_may_be_given_by_its_name(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(consumer(seen, "incoming"))
    wire.publish("", "incoming", b"1", content_type=JSON)
    assert seen.take() == 1


@every_link
def test_messages_that_no_binding_lets_in_are_not_consumed(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(consumer(seen, Queue("incoming", ORDERS, routing_key="new.*")))
    for key in ("old.one", "new", "new.one"):
        wire.publish("orders", key, json.dumps(key).encode(), content_type=JSON)
    assert seen.take() == "new.one"
    assert not seen


@every_link
def test_all_bindings_of_a_queue_are_made(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    bindings = [
        binding(Exchange("direct", type="direct"), routing_key="a"),
        binding(Exchange("fan", type="fanout")),
        binding(Exchange("heads", type="headers"), arguments={"x-match": "all", "kind": "good"}),
    ]
    start(consumer(seen, Queue("incoming", bindings)), max_workers=1)
    wire.publish("direct", "b", b'"no"', content_type=JSON)
    wire.publish("direct", "a", b'"direct"', content_type=JSON)
    wire.publish("fan", "", b'"fanout"', content_type=JSON)
    wire.publish("heads", "", b'"no"', content_type=JSON, headers={"kind": "bad"})
    wire.publish("heads", "", b'"headers"', content_type=JSON, headers={"kind": "good"})
    assert [seen.take() for _ in range(3)] == ["direct", "fanout", "headers"]
    assert not seen


@every_link
def test_a_binding_takes_the_queues_binding_arguments(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    heads = Exchange("heads", type="headers")
    start(consumer(seen, Queue("incoming", heads, binding_arguments={"x-match": "any", "a": 1, "b": 2})))
    wire.publish("heads", "", b"1", content_type=JSON, headers={"a": 2})
    wire.publish("heads", "", b"2", content_type=JSON, headers={"b": 2})
    assert seen.take() == 2
    assert not seen


@every_link
def test_the_broker_may_choose_the_name_of_a_queue(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(consumer(seen, Queue("", ORDERS, routing_key="#", exclusive=True, durable=False)))
    wire.publish("orders", "any", b"1", content_type=JSON)
    assert seen.take() == 1


@every_link
def test_a_queue_that_is_deleted_is_declared_and_consumed_again(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(consumer(seen, Queue("incoming", ORDERS, routing_key="#")))
    wire.channel.delete_queue("incoming")

    def comes_through() -> bool:
        wire.publish("orders", "any", b"1", content_type=JSON)
        return bool(len(seen))

    wait_until(comes_through, "a message through the new queue")


@every_link
def test_several_queues_and_one_method(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()

    class Both:
        name = "both"

        @consume("first")
        @consume("second")
        def take(self, body: Any) -> None:
            seen(body)

    start(Both)
    wire.publish("", "first", b"1", content_type=JSON)
    wire.publish("", "second", b"2", content_type=JSON)
    assert {seen.take(), seen.take()} == {1, 2}


@every_link
def test_context_data_comes_with_a_message(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()

    class Context(DependencyProvider):
        def get_dependency(self, ctx: Any) -> Any:
            return ctx

    class Consuming:
        name = "consuming"
        context = Context()

        @consume("incoming")
        def take(self, body: Any) -> None:
            seen((self.context.data, self.context.message.routing_key, self.context.call_id_stack))

    start(Consuming)
    headers = {"nameko.language": "de", "plain": 1, "nameko.call_id_stack": ["parent"], "x-death": []}
    wire.publish("", "incoming", b"1", content_type=JSON, headers=headers)
    data, routing_key, stack = seen.take()
    assert data == {"language": "de", "plain": 1}
    assert routing_key == "incoming"
    assert [call_id.rpartition(".")[0] for call_id in stack] == ["", "consuming.take"]


# When a message is done with


@every_link
@pytest.mark.parametrize("fails", [0, 1])
def test_a_message_is_done_with_when_the_method_has_ended(start: Start, wire: Any, inbox: Any, fails: int) -> None:
    seen = inbox()
    start(consumer(seen, "incoming", fails=fails))
    wire.publish("", "incoming", b"1", content_type=JSON)
    assert seen.take() == 1
    wait_until(lambda: is_empty(wire, "incoming"), "the ack")
    assert not seen


@every_link
def test_a_message_comes_again_with_requeue_on_error(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(consumer(seen, "incoming", fails=2, requeue_on_error=True))
    wire.publish("", "incoming", b"1", content_type=JSON)
    assert [seen.take() for _ in range(3)] == [1, 1, 1]
    wait_until(lambda: is_empty(wire, "incoming"), "the ack")


@every_link
def test_with_no_ack_nothing_is_acknowledged(start: Start, wire: Any, inbox: Any) -> None:
    """The broker would close the channel at an ack, and the second message would not come."""
    seen = inbox()
    start(consumer(seen, "incoming", fails=1, no_ack=True, requeue_on_error=True), max_workers=1)
    for body in (b"1", b"2", b"{", b"3"):
        wire.publish("", "incoming", body, content_type=JSON)
    assert [seen.take() for _ in range(3)] == [1, 2, 3]
    assert is_empty(wire, "incoming")


@every_link
def test_a_body_that_cannot_be_decoded_is_dropped_with_a_log_line(
    start: Start, wire: Any, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = inbox()
    runner = start(consumer(seen, "incoming", requeue_on_error=True), max_workers=1)
    wire.publish("", "incoming", b"{", content_type=JSON)
    wire.publish("", "incoming", b"x", content_type="application/x-yaml")
    wire.publish("", "incoming", b"x", content_type=JSON, headers={"compression": "unknown"})
    wire.publish("", "incoming", b'"fine"', content_type=JSON)
    assert seen.take() == "fine"
    assert caplog.text.count("message incoming for consuming.take is dropped") == 3
    assert runner.resources.get(Drops).counts == {"consuming.take": 3}
    wait_until(lambda: is_empty(wire, "incoming"), "the acks")


@every_link
def test_a_hook_that_fails_fails_one_message(
    start: Start, wire: Any, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = inbox()

    class Guard(DependencyProvider):
        def around_receipt(self, delivery: Any, call_next: Any) -> Any:
            if delivery.headers.get("bad"):
                raise ValueError("bad")
            return call_next(delivery)

    service = consumer(seen, "incoming")
    service.guard = Guard()  # type: ignore[attr-defined]  # added to a class made by a function
    start(service)
    wire.publish("", "incoming", b"1", content_type=JSON, headers={"bad": 1})
    wire.publish("", "incoming", b"2", content_type=JSON)
    assert seen.take() == 2
    wait_until(lambda: is_empty(wire, "incoming"), "the acks")
    assert "message incoming for take: an around_receipt hook failed" in caplog.text


# What is accepted


@every_link
def test_pickle_is_loaded_only_where_a_handler_accepts_it(start: Start, wire: Any, inbox: Any) -> None:
    careful, careless = inbox(), inbox()

    class Two:
        name = "two"

        @consume("careful")
        def take(self, body: Any) -> None:
            careful(body)

        @consume("careless", accept=["json", "pickle"])
        def swallow(self, body: Any) -> None:
            careless(body)

    start(Two, max_workers=1)
    for queue in ("careful", "careless"):
        wire.publish("", queue, pickle.dumps((1, 2)), content_type="application/x-python-serialize")
        wire.publish("", queue, b"3", content_type=JSON)
    assert careful.take() == 3
    assert [careless.take(), careless.take()] == [(1, 2), 3]


@every_link
@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, "ünï"),
        ({"content_type": "application/data"}, "ünï"),
        ({"content_type": "application/data", "content_encoding": "binary"}, "ünï".encode()),
    ],
)
def test_a_body_that_no_serializer_made_is_handed_on(
    start: Start, wire: Any, inbox: Any, properties: dict[str, Any], expected: object
) -> None:
    """As kombu hands it on: messages of programs that are no services."""
    seen = inbox()
    start(consumer(seen, "incoming"))
    wire.publish("", "incoming", "ünï".encode(), **properties)
    assert seen.take() == expected


@every_link
def test_a_compressed_body_is_unpacked(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()
    start(consumer(seen, "incoming"))
    headers = {"compression": "application/x-bz2"}
    wire.publish("", "incoming", bz2.compress(b"[1]"), content_type=JSON, headers=headers)
    assert seen.take() == [1]


def test_a_serializer_that_is_not_known_is_an_error_at_the_start(start: Start, inbox: Any) -> None:
    with pytest.raises(ConfigError, match="serializer 'jsn' is not known"):
        start(consumer(inbox(), "incoming", accept=["jsn"]))


# How the queue is declared and consumed


@every_link
@pytest.mark.parametrize("queue", [Queue("incoming", ORDERS, no_declare=True), "incoming"])
def test_a_queue_that_is_not_declared_has_to_be_there(start: Start, wire: Any, inbox: Any, queue: Any) -> None:
    seen = inbox()
    wire.channel.declare_queue("incoming", arguments={"x-max-length": 3})
    start(consumer(seen, queue, auto_declare=isinstance(queue, Queue)))
    wire.publish("", "incoming", b"1", content_type=JSON)
    assert seen.take() == 1


@every_link
def test_a_queue_that_is_not_there_and_not_declared_is_an_error_at_the_start(start: Start, inbox: Any) -> None:
    with pytest.raises(ChannelClosed, match=r"404 NOT_FOUND - no queue 'absent'"):
        start(consumer(inbox(), "absent", auto_declare=False))


@every_link
def test_a_queue_that_is_another_than_the_brokers_is_an_error_at_the_start(start: Start, wire: Any, inbox: Any) -> None:
    wire.channel.declare_queue("incoming", arguments={"x-max-length": 3})
    with pytest.raises(ChannelClosed, match=r"406 PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue"):
        start(consumer(inbox(), Queue("incoming", max_length=5)))


@pytest.mark.broker
def test_the_queue_is_declared_as_it_is_described(
    start: Start, inbox: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    queue = Queue(
        "incoming",
        Exchange("orders", type="topic", durable=False, auto_delete=True),
        routing_key="new",
        durable=False,
        auto_delete=True,
        expires=60,
        message_ttl=1.5,
        max_length=10,
        max_length_bytes=1000,
        max_priority=5,
        queue_arguments={"x-dead-letter-exchange": "dead"},
    )
    start(consumer(inbox(), queue))
    row = rabbitmq.queues(rabbitmq_uri)["incoming"]
    assert (row["durable"], row["auto_delete"], row["exclusive"]) == (False, True, False)
    assert row["arguments"] == {
        "x-expires": 60_000,
        "x-message-ttl": 1500,
        "x-max-length": 10,
        "x-max-length-bytes": 1000,
        "x-max-priority": 5,
        "x-dead-letter-exchange": "dead",
    }
    exchange = rabbitmq.exchanges(rabbitmq_uri)["orders"]
    assert (exchange["type"], exchange["durable"], exchange["auto_delete"]) == ("topic", False, True)
    bound = [(row["source_name"], row["routing_key"]) for row in rabbitmq.bindings(rabbitmq_uri)]
    assert ("orders", "new") in bound


@pytest.mark.broker
def test_the_broker_knows_the_consumer_as_it_is_asked_for(
    start: Start, inbox: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    queue = Queue("incoming", consumer_arguments={"x-priority": 3, "x-cancel-on-ha-failover": True})
    start(consumer(inbox(), queue, prefetch_count=7, tag_prefix="mine-", consumer_arguments={"x-priority": 4}))
    (row,) = rabbitmq.consumers(rabbitmq_uri)
    assert row["queue_name"] == "incoming"
    assert row["prefetch_count"] == 7
    assert row["ack_required"] is True
    assert row["consumer_tag"].startswith("mine-")
    assert row["arguments"] == {"x-priority": 4, "x-cancel-on-ha-failover": True}


@pytest.mark.broker
def test_a_queue_may_say_that_it_wants_no_acks(
    start: Start, inbox: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    start(consumer(inbox(), Queue("incoming", no_ack=True)))
    assert [row["ack_required"] for row in rabbitmq.consumers(rabbitmq_uri)] == [False]


@pytest.mark.broker
@pytest.mark.parametrize(
    ("options", "settings", "expected"),
    [
        ({}, {}, 4),
        ({}, {"PREFETCH_COUNT": 9}, 9),
        ({"prefetch_count": 0}, {"PREFETCH_COUNT": 9}, 0),
        ({"prefetch_count": 20}, {}, 20),
        ({"concurrency": 2}, {}, 2),
        ({"concurrency": 2, "prefetch_count": 3}, {}, 3),
    ],
)
def test_how_many_messages_are_prefetched(
    start: Start,
    inbox: Any,
    rabbitmq: "RabbitMQNode",
    rabbitmq_uri: str,
    options: dict[str, Any],
    settings: dict[str, Any],
    expected: int,
) -> None:
    start(consumer(inbox(), "incoming", **options), max_workers=4, **settings)
    assert [row["prefetch_count"] for row in rabbitmq.consumers(rabbitmq_uri)] == [expected]


def test_another_broker_can_be_consumed_from(start: Start, inbox: Any, wire: Any) -> None:
    seen = inbox()
    runner = start(consumer(seen, "incoming", uri="memory://another/"))
    other = type(wire)("memory://another/", green())
    other.publish("", "incoming", b"1", content_type=JSON)
    assert seen.take() == 1
    runner.stop()
    other.link.close()
    forget_broker("another")
    with pytest.raises(ChannelClosed, match="404"):
        wire.channel.declare_queue("incoming", passive=True)


# Stopping


@every_link
def test_what_was_not_begun_stays_on_the_queue(start: Start, wire: Any, inbox: Any) -> None:
    seen, gate = inbox(), green().event()

    class Slow:
        name = "slow"

        @consume("incoming", prefetch_count=5)
        def take(self, body: Any) -> None:
            seen(body)
            gate.wait(10)

    runner = start(Slow, max_workers=1)
    for number in (b"1", b"2", b"3"):
        wire.publish("", "incoming", number, content_type=JSON)
    assert seen.take() == 1
    stopping = green().spawn(runner.stop)
    wait_until(lambda: wire.channel.declare_queue("incoming", passive=True).messages == 2, "what is given back")
    gate.set()
    assert stopping.wait(10)
    assert [wire.channel.get("incoming", no_ack=True).body for _ in range(2)] == [b"2", b"3"]
    assert is_empty(wire, "incoming")


# What is refused, and what is said


@pytest.mark.parametrize("queue", [None, "", 7, ORDERS])
def test_something_that_is_no_queue_is_refused(queue: Any) -> None:
    with pytest.raises(DeclarationError, match=r"give a Queue of kombu, or a queue's name"):
        consume(queue)


@pytest.mark.parametrize("name", ["callbacks", "on_message", "on_decode_error", "channel", "prefetch"])
def test_an_option_that_does_not_exist_is_named_with_those_that_do(name: str) -> None:
    with pytest.raises(
        DeclarationError, match=rf"{name}: no option of a consumer; there are: accept, .*prefetch_count"
    ):
        consume("incoming", **{name: 1})


@pytest.mark.parametrize("count", [-1, 65536, "5", True])
def test_a_wrong_prefetch_count_is_refused(count: Any) -> None:
    with pytest.raises(DeclarationError, match=r"prefetch_count is .*; give a whole number from 0 to 65535"):
        consume("incoming", prefetch_count=count)


def bound(declared: MessageHandler, **settings: Any) -> MessageHandler:
    handler = declared.bind(FakeHost(config={"AMQP_URI": "memory://", **settings}), "take")
    handler.setup()
    return handler


def test_a_heartbeat_of_its_own_is_refused_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    bound(MessageHandler("incoming", heartbeat=60))
    assert caplog.text == ""
    bound(MessageHandler("incoming", heartbeat=5))
    assert "take: heartbeat=5 has no effect, for all share one connection; set HEARTBEAT" in caplog.text


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        ("incoming", "consume incoming -> take"),
        (Queue("incoming", ORDERS, routing_key="new.*"), "consume incoming (orders/new.*) -> take"),
        (Queue("in", [binding(ORDERS, "b"), binding(Exchange("fan"))]), "consume in (fan, orders/b) -> take"),
        (Queue("", ORDERS, exclusive=True), "consume (named by the broker) (orders) -> take"),
    ],
)
def test_a_consumer_describes_itself_by_its_queue(queue: Any, text: str) -> None:
    assert bound(MessageHandler(queue)).describe() == text


def test_the_queue_that_was_given_stays_as_it_is(start: Start, inbox: Any) -> None:
    """It may be shared by several services."""
    queue = Queue("", ORDERS)
    start(consumer(inbox(), queue))
    assert (queue.name, queue.is_bound) == ("", False)


@every_link
def test_a_subclass_may_take_messages_in_by_itself(start: Start, wire: Any, inbox: Any) -> None:
    seen = inbox()

    class WithHeaders(MessageHandler):
        def receive_delivery(self, delivery: Any) -> None:
            self.host.spawn_worker(self, (delivery.body, delivery.headers), message=delivery)

    class Consuming:
        name = "consuming"

        @WithHeaders.decorator("incoming")
        def take(self, body: bytes, headers: dict[str, Any]) -> None:
            seen((body, headers))

    start(Consuming)
    wire.publish("", "incoming", b"raw", headers={"a": 1})
    assert seen.take() == (b"raw", {"a": 1})
    wait_until(lambda: is_empty(wire, "incoming"), "the ack")
