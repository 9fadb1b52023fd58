"""kombu's exchanges and queues, declared over a link: on the embedded broker and on both links to RabbitMQ."""

from typing import Any

import pytest
from kombu import Exchange, Queue, binding

from rpcservice import Publisher
from rpcservice.amqp.topology import check_declarables, declare, describe, exchange_name
from rpcservice.errors import ChannelClosed
from rpcservice.testing import dummy, entrypoint_hook

every_link = pytest.mark.usefixtures("link_kind")

ORDERS = Exchange("orders", type="topic")


def routes(wire: Any, exchange: str, routing_key: str, queue: str, **properties: Any) -> bool:
    """Say whether a message reaches a queue."""
    wire.publish(exchange, routing_key, b"x", **properties)
    return wire.channel.get(queue, no_ack=True) is not None


@every_link
@pytest.mark.parametrize("kind", ["direct", "topic", "fanout", "headers"])
def test_an_exchange_is_declared_with_its_type(wire: Any, kind: str) -> None:
    assert declare(wire.channel, Exchange("made", type=kind)) == "made"
    wire.channel.declare_exchange("made", kind)


@every_link
@pytest.mark.parametrize(
    "options", [{"durable": False}, {"auto_delete": True}, {"arguments": {"alternate-exchange": "x"}}]
)
def test_an_exchange_is_declared_as_it_is_described(wire: Any, options: dict[str, Any]) -> None:
    declare(wire.channel, Exchange("made", **options))
    wire.channel.declare_exchange("made", **options)
    with pytest.raises(ChannelClosed, match="406"):
        wire.channel.declare_exchange("made")


@every_link
@pytest.mark.parametrize(
    "exchange", [Exchange(""), Exchange("amq.topic", type="topic"), Exchange("x", no_declare=True)]
)
def test_exchanges_of_the_broker_and_of_others_are_left_alone(wire: Any, exchange: Any) -> None:
    assert declare(wire.channel, exchange) == exchange.name
    with pytest.raises(ChannelClosed, match="404"):
        wire.channel.declare_exchange("x", passive=True)


@every_link
def test_a_passive_exchange_has_to_be_there(wire: Any) -> None:
    wire.channel.declare_exchange("there", "fanout")
    declare(wire.channel, Exchange("there", type="direct", passive=True))
    with pytest.raises(ChannelClosed, match="404"):
        declare(wire.channel, Exchange("absent", passive=True))


@every_link
def test_a_queue_brings_its_exchange_and_its_binding(wire: Any) -> None:
    assert declare(wire.channel, Queue("made", ORDERS, routing_key="new.*")) == "made"
    assert routes(wire, "orders", "new.one", "made")
    assert not routes(wire, "orders", "old", "made")


@every_link
def test_a_queue_may_be_bound_to_an_exchange_that_others_declare(wire: Any) -> None:
    with pytest.raises(ChannelClosed, match="404"):
        declare(wire.link.channel(), Queue("made", Exchange("orders", type="topic", no_declare=True), routing_key="#"))
    wire.channel.declare_exchange("orders", "topic", durable=False)
    declare(wire.channel, Queue("made", Exchange("orders", type="topic", no_declare=True), routing_key="#"))
    assert routes(wire, "orders", "any", "made")


@every_link
def test_a_queue_with_several_bindings_has_all_of_them(wire: Any) -> None:
    declare(
        wire.channel, Queue("made", [binding(ORDERS, "new"), binding(ORDERS, "old"), binding(Exchange("d"), "key")])
    )
    assert routes(wire, "orders", "new", "made")
    assert routes(wire, "orders", "old", "made")
    assert routes(wire, "d", "key", "made")


@every_link
def test_the_limits_of_a_queue_become_its_arguments(wire: Any) -> None:
    limits: dict[str, Any] = {
        "expires": 60,
        "message_ttl": 1.5,
        "max_length": 10,
        "max_length_bytes": 99,
        "max_priority": 5,
    }
    declare(wire.channel, Queue("made", **limits, queue_arguments={"x-overflow": "reject-publish"}))
    arguments = {
        "x-expires": 60_000,
        "x-message-ttl": 1500,
        "x-max-length": 10,
        "x-max-length-bytes": 99,
        "x-max-priority": 5,
        "x-overflow": "reject-publish",
    }
    wire.channel.declare_queue("made", arguments=arguments)


@every_link
def test_the_broker_names_a_queue_without_a_name(wire: Any) -> None:
    queue = Queue("", ORDERS, routing_key="#", exclusive=True)
    first, second = declare(wire.channel, queue), declare(wire.channel, queue)
    assert first.startswith("amq.gen-")
    assert first != second
    assert routes(wire, "orders", "any", first)
    assert queue.name == ""


@every_link
def test_a_queue_that_says_no_declare_is_left_alone(wire: Any) -> None:
    assert declare(wire.channel, Queue("made", ORDERS, no_declare=True)) == "made"
    with pytest.raises(ChannelClosed, match="404"):
        wire.channel.declare_queue("made", passive=True)


@every_link
def test_whoever_waits_for_the_declaration_is_told(wire: Any) -> None:
    told: list[Any] = []
    declare(wire.channel, Queue("made", on_declared=lambda *declared: told.append(declared)))
    assert told == [("made", 0, 0)]


def test_only_exchanges_and_queues_can_be_declared() -> None:
    queue = Queue("made")
    assert check_declarables(None) == ()
    assert check_declarables([ORDERS, queue]) == (ORDERS, queue)
    assert check_declarables(queue) == (queue,)
    with pytest.raises(TypeError, match=r"declare=\['made'\]: give a list of Exchange and Queue objects of kombu"):
        check_declarables(["made"])


def test_an_exchange_is_named_by_itself_or_by_its_name() -> None:
    assert [exchange_name(one) for one in (ORDERS, "orders", None, "")] == ["orders", "orders", "", ""]
    with pytest.raises(TypeError, match="give an Exchange of kombu, or the name of one"):
        exchange_name(Queue("orders"))


@pytest.mark.parametrize(
    ("queue", "text"),
    [
        (Queue("q"), "q"),
        (Queue("q", ORDERS), "q (orders)"),
        (Queue("q", ORDERS, routing_key="new"), "q (orders/new)"),
        (Queue("q", [binding(Exchange("b"), "key"), binding(Exchange("a"))]), "q (a, b/key)"),
        (Queue("", ORDERS), "(named by the broker) (orders)"),
    ],
)
def test_a_queue_is_described_with_what_it_is_bound_to(queue: Any, text: str) -> None:
    assert describe(queue) == text


@every_link
def test_what_goes_away_by_itself_is_declared_for_each_message(wire: Any, start: Any) -> None:
    """A queue that expires, or that is deleted with its consumers, may be gone by the second message."""

    class Sending:
        name = "sending"
        send = Publisher()

        @dummy
        def run(self, **options: Any) -> None:
            self.send("x", mandatory=True, **options)

    runner = start(Sending)
    with entrypoint_hook(runner.service_map["sending"], "run") as send:
        for queue in (
            Queue("expiring", expires=60),
            Queue("auto", auto_delete=True),
            Queue("late", queue_arguments={"x-expires": 60000}),
        ):
            for _ in range(2):
                send(routing_key=queue.name, declare=[queue])
                wire.channel.delete_queue(queue.name)
