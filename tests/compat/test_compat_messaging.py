"""nameko's @consume and Publisher, QueueConsumer of nameko 2, and context data in headers."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import pytest
from kombu import Exchange, Queue
from kombu.exceptions import MessageStateError
from kombu.message import Message as KombuMessage
from wire import Inbox, Wire

from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.memory_broker import forget_broker
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.compat.nameko.amqp.publish import Publisher as PublisherCore
from rpcservice.compat.nameko.amqp.publish import UndeliverableMessage
from rpcservice.compat.nameko.containers import ServiceContainer
from rpcservice.compat.nameko.exceptions import ConfigurationError
from rpcservice.compat.nameko.extensions import DependencyProvider, Entrypoint
from rpcservice.compat.nameko.messaging import (
    Consumer,
    HeaderDecoder,
    HeaderEncoder,
    Publisher,
    QueueConsumer,
    consume,
    decode_from_headers,
    encode_to_headers,
)
from rpcservice.compat.nameko.rpc import rpc
from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.concurrency import green
from rpcservice.errors import ChannelClosed, DeclarationError
from rpcservice.testing import entrypoint_hook

Serve = Callable[..., ServiceRunner]
PARCELS = Exchange("parcels", type="direct")
QUEUE = Queue("parcels", PARCELS, routing_key="new")
JSON = "application/json"


def consuming(decorator: Any, seen: Any, provider: Any = None) -> type:
    """Make a service with one consumer."""

    class Consuming:
        name = "consuming"
        own = provider

        @decorator
        def take(self, body: Any) -> None:
            seen(body)
            if body == "fail":
                raise ValueError("failed")

    return Consuming


def publishing(provider: Any) -> type:
    """Make a service that publishes what it is asked to."""

    class Publishing:
        name = "publishing"
        publish = provider

        @rpc
        def send(self, *args: Any, **kwargs: Any) -> Any:
            return self.publish(*args, **kwargs)

    return Publishing


def send(runner: ServiceRunner, *args: Any, **kwargs: Any) -> None:
    """Have a message published."""
    with entrypoint_hook(runner.service_map["publishing"], "send") as hook:
        hook(*args, **kwargs)


def own_consumer(**methods: Any) -> Any:
    """Make the decorator of a subclass of Consumer with other methods."""
    return type("OwnConsumer", (Consumer,), methods).decorator


def put(wire: Wire, payload: Any, **properties: Any) -> None:
    """Publish a message to the consumers of these tests."""
    wire.publish(
        "parcels", "new", json.dumps(payload).encode(), content_type=JSON, content_encoding="utf-8", **properties
    )


# @consume


def test_a_message_reaches_its_consumer(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    serve(consuming(consume(QUEUE), inbox))
    put(wire, {"sku": "red"})
    assert inbox.take() == {"sku": "red"}


@pytest.mark.parametrize(("requeue", "expected"), [(True, ["fail", "fail"]), (False, ["fail", "next"])])
def test_requeue_on_error_decides_what_becomes_of_a_failure(
    serve: Serve, wire: Wire, inbox: Inbox, requeue: bool, expected: list[str]
) -> None:
    serve(consuming(consume(QUEUE, requeue_on_error=requeue, prefetch_count=1), inbox))
    put(wire, "fail")
    put(wire, "next")
    assert [inbox.take(), inbox.take()] == expected


def test_options_of_kombus_consumer_that_mean_nothing_here_are_named() -> None:
    with pytest.raises(DeclarationError, match="on_decode_error: no option of a consumer"):
        consume(QUEUE, on_decode_error=print)


def test_a_consumer_without_a_queue_is_found_at_the_start(serve: Serve, inbox: Inbox) -> None:
    with pytest.raises(ConfigurationError, match=r"consuming\.take.* has no queue"):
        serve(consuming(consume(queue=None), inbox))


def test_a_message_looks_like_kombus(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    def handle_message(self: Any, body: Any, message: Any) -> None:
        inbox((body, message))
        Consumer.handle_message(self, body, message)

    serve(consuming(own_consumer(handle_message=handle_message)(QUEUE), mock.Mock()))
    put(wire, {"a": 1}, headers={"h": 1}, correlation_id="id", priority=3)
    body, message = inbox.take()
    assert isinstance(message, KombuMessage)
    assert (body, message.payload, message.decode(), message.body) == ({"a": 1}, body, body, '{"a": 1}')
    assert (message.content_type, message.content_encoding) == (JSON, "utf-8")
    assert message.headers == message.properties["application_headers"] == {"h": 1}
    assert message.headers is message.properties["application_headers"]
    assert (message.properties["correlation_id"], message.properties["priority"]) == ("id", 3)
    info = message.delivery_info
    assert (info["exchange"], info["routing_key"], info["redelivered"]) == ("parcels", "new", False)
    assert info["delivery_tag"] == message.delivery_tag
    assert "OwnConsumer" not in repr(message)


def test_headers_that_are_added_belong_to_the_properties(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """Extensions note things there before they publish a message again."""

    def handle_message(self: Any, body: Any, message: Any) -> None:
        message.headers["added"] = 1
        inbox(message.properties["application_headers"])
        message.ack()

    serve(consuming(own_consumer(handle_message=handle_message)(QUEUE), mock.Mock()))
    put(wire, 1)
    assert inbox.take() == {"added": 1}


def test_a_body_that_is_no_text_is_left_as_bytes(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    def handle_message(self: Any, body: Any, message: Any) -> None:
        inbox((body, message.body))
        message.ack()

    serve(consuming(own_consumer(handle_message=handle_message)(QUEUE), mock.Mock()))
    for encoding in ("binary", "utf-8"):
        wire.publish("parcels", "new", b"\xff", content_type="application/data", content_encoding="binary")
        assert inbox.take() == (b"\xff", b"\xff"), encoding


@pytest.mark.parametrize("settle", ["ack", "reject", "requeue"])
def test_a_message_is_settled_once(serve: Serve, wire: Wire, inbox: Inbox, settle: str) -> None:
    """As with kombu, a second time is an error."""

    def handle_message(self: Any, body: Any, message: Any) -> None:
        assert not message.acknowledged
        if message.delivery_info["redelivered"]:
            message.ack()
            return
        getattr(message, settle)()
        with pytest.raises(MessageStateError):
            message.ack()
        inbox((message.acknowledged, bool(message.channel.connection)))

    serve(consuming(own_consumer(handle_message=handle_message)(QUEUE), mock.Mock()))
    put(wire, 1)
    assert inbox.take() == (True, True)


def test_handle_message_processed_may_settle_otherwise(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """Both names of the consumer are there for it."""
    attempts: list[Any] = []

    def handle_message_processed(self: Any, message: Any, result: Any = None, exc_info: Any = None) -> None:
        attempts.append(exc_info[0] if exc_info else None)
        if len(attempts) == 1:
            self.consumer.requeue_message(message)
        elif len(attempts) == 2:
            self.queue_consumer.requeue_message(message)
        else:
            self.queue_consumer.ack_message(message)
            inbox("done")

    seen: list[Any] = []
    serve(consuming(own_consumer(handle_message_processed=handle_message_processed)(QUEUE), seen.append))
    put(wire, "fail")
    assert inbox.take() == "done"
    assert (seen, attempts) == (["fail"] * 3, [ValueError] * 3)


def test_an_error_of_handle_message_drops_the_message(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """It would come again and again otherwise; a dead letter exchange gets it. The service goes on."""
    wire.channel.declare_exchange("dead", "fanout")
    wire.channel.declare_queue("dead")
    wire.channel.bind_queue("dead", "dead")
    queue = Queue("parcels", PARCELS, routing_key="new", queue_arguments={"x-dead-letter-exchange": "dead"})

    def handle_message(self: Any, body: Any, message: Any) -> None:
        if body == "bad":
            raise ValueError("cannot be handled")
        Consumer.handle_message(self, body, message)

    serve(consuming(own_consumer(handle_message=handle_message)(queue), inbox))
    put(wire, "bad")
    put(wire, "good")
    assert inbox.take() == "good"
    dead = wire.channel.get("dead", no_ack=True)
    assert dead is not None
    assert dead.body == b'"bad"'


def test_an_error_of_handle_result_drops_the_message(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """Even one that is to be requeued on errors: those of its method are meant by that."""

    def handle_result(self: Any, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
        raise KeyError("broken")

    runner = serve(consuming(own_consumer(handle_result=handle_result)(QUEUE, requeue_on_error=True), inbox))
    put(wire, 1)
    put(wire, 2)
    assert [inbox.take(), inbox.take()] == [1, 2]
    runner.stop()
    assert wire.channel.declare_queue("parcels", passive=True).messages == 0


def test_handle_result_may_replace_what_providers_see(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    class Watcher(DependencyProvider):
        def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
            inbox((result, exc_info))

    def handle_result(self: Any, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
        Consumer.handle_result(self, message, worker_ctx, result, exc_info)
        return "replaced", None

    serve(consuming(own_consumer(handle_result=handle_result)(QUEUE), mock.Mock(), Watcher()))
    put(wire, "fail")
    assert inbox.take() == ("replaced", None)


def test_the_message_of_a_killed_worker_goes_back(config: dict[str, Any], wire: Wire, inbox: Inbox) -> None:
    """The connection of the process stays, so that the broker would not put it back by itself."""

    def wait(body: Any) -> None:
        inbox(body)
        Inbox(green()).take()

    runner = ServiceRunner(config)
    runner.add_service(consuming(consume(QUEUE), wait))
    runner.start()
    put(wire, 1)
    inbox.take()
    container = runner.service_map["consuming"]
    container.entrypoints[0].kill()
    container.pool.kill()
    second = ServiceContainer(consuming(consume(QUEUE), inbox), config)
    second.start()
    assert inbox.take() == 1
    second.kill()
    runner.kill()


def test_a_message_without_ack_needs_none(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """An ack for it would cost the channel."""
    serve(consuming(own_consumer(x=1)(Queue("parcels", PARCELS, "new", no_ack=True), requeue_on_error=True), inbox))
    put(wire, "fail")
    put(wire, "next")
    assert [inbox.take(), inbox.take()] == ["fail", "next"]


@pytest.mark.broker
def test_a_consumer_class_has_a_connection_of_its_own(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """Subclasses of nameko 3's Consumer run kombu's loop."""
    from rpcservice.compat.nameko.amqp.consume import Consumer as ConsumerCore

    class OwnCore(ConsumerCore):
        def on_message(self, body: Any, message: Any) -> None:
            inbox(("core", type(message).__module__.partition(".")[0]))
            super().on_message(body, message)

    runner = serve(consuming(own_consumer(consumer_cls=OwnCore)(QUEUE, prefetch_count=1), inbox))
    put(wire, 1)
    assert [inbox.take(), inbox.take()] == [("core", "kombu"), 1]
    runner.stop()


# QueueConsumer of nameko 2


class Raw(Entrypoint):
    """An entrypoint as others wrote them: it brings a queue and handles messages by itself."""

    queue_consumer = QueueConsumer()

    def __init__(self, queue: Any, seen: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.queue = queue
        self.seen = seen

    def setup(self) -> None:
        self.queue_consumer.register_provider(self)

    def stop(self) -> None:
        self.queue_consumer.unregister_provider(self)

    def handle_message(self, body: Any, message: Any) -> None:
        if body == "bad":
            raise ValueError("cannot be handled")
        self.container.spawn_worker(self, (body,), {}, handle_result=partial(self.handle_result, message))

    def handle_result(self, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
        self.queue_consumer.ack_message(message)
        return result, exc_info


def test_a_queue_consumer_hands_messages_to_its_providers(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """An error in one drops the message and no more; it stops with its providers."""
    runner = serve(consuming(Raw.decorator(QUEUE, inbox), inbox))
    wire.publish("parcels", "new", b"{", content_type=JSON)
    put(wire, "bad")
    put(wire, "good")
    assert inbox.take() == "good"
    runner.stop()
    put(wire, "late")
    info = wire.channel.declare_queue("parcels", passive=True)
    assert (info.messages, info.consumers) == (1, 0)


def test_a_queue_consumer_waits_until_the_service_is_up(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """Messages that are there already must not meet providers that have not started."""

    class Late(DependencyProvider):
        started = False

        def start(self) -> None:
            self.started = True

        def worker_setup(self, worker_ctx: Any) -> None:
            inbox(self.started)

    wire.channel.declare_queue("parcels")
    wire.channel.declare_exchange("parcels", "direct")
    wire.channel.bind_queue("parcels", "parcels", "new")
    put(wire, 1)
    serve(consuming(Raw.decorator(QUEUE, inbox), mock.Mock(), Late()))
    assert inbox.take() is True


def test_a_queue_consumer_knows_how_it_consumes(serve: Serve, config: dict[str, Any], inbox: Inbox) -> None:
    runner = serve(consuming(Raw.decorator(QUEUE, inbox), inbox), max_workers=3, ACCEPT=["yaml"])
    consumer = runner.service_map["consuming"].entrypoints[0].queue_consumer
    assert (consumer.amqp_uri, consumer.prefetch_count, consumer.accept) == (config["AMQP_URI"], 3, ["yaml"])


# Publisher


def test_a_publisher_declares_its_exchange_and_sends_to_it(serve: Serve, wire: Wire) -> None:
    runner = serve(publishing(Publisher(PARCELS, declare=[QUEUE])))
    send(runner, {"sku": "red"}, routing_key="new")
    message = wire.channel.get("parcels", no_ack=True)
    assert message is not None
    assert json.loads(message.body) == {"sku": "red"}
    assert message.headers["nameko.call_id_stack"][0].startswith("publishing.send.")
    assert (message.properties["delivery_mode"], message.properties["priority"]) == (2, 0)


def test_options_may_be_given_at_each_place(serve: Serve, wire: Wire) -> None:
    """To the publisher, and for one message; headers are laid over each other."""
    provider = Publisher(PARCELS, declare=[QUEUE], priority=3, serializer="yaml", headers={"one": 1, "two": 1})
    runner = serve(publishing(provider))
    send(runner, [1], routing_key="new", headers={"two": 2}, expiration=5, compression="gzip", delivery_mode=1)
    message = wire.channel.get("parcels", no_ack=True)
    assert message is not None
    properties = message.properties
    assert (properties["priority"], properties["expiration"], properties["delivery_mode"]) == (3, "5000", 1)
    assert (properties["content_type"], message.headers["one"], message.headers["two"]) == ("application/x-yaml", 1, 2)
    assert message.headers["compression"] == "application/x-gzip"


def test_without_an_exchange_the_default_one_is_used(serve: Serve, wire: Wire) -> None:
    runner = serve(publishing(Publisher()))
    wire.channel.declare_queue("direct")
    send(runner, 1, routing_key="direct")
    assert wire.channel.get("direct", no_ack=True) is not None


def test_a_queue_brings_its_exchange(serve: Serve, wire: Wire) -> None:
    """As before nameko 2.7, with a warning."""
    with pytest.warns(DeprecationWarning, match="declare="):
        service = publishing(Publisher(queue=QUEUE))
    with pytest.warns(DeprecationWarning, match="declare="):
        runner = serve(service)
    send(runner, 1, routing_key="new")
    assert wire.channel.get("parcels", no_ack=True) is not None


def test_a_mandatory_message_needs_a_queue(serve: Serve) -> None:
    runner = serve(publishing(Publisher(PARCELS, mandatory=True)))
    with pytest.raises(UndeliverableMessage, match="nowhere"):
        send(runner, 1, routing_key="nowhere")


def test_a_mandatory_message_without_confirms_warns(serve: Serve) -> None:
    runner = serve(publishing(Publisher(PARCELS, mandatory=True, use_confirms=False)))
    with pytest.warns(UserWarning, match="noticed only with use_confirms=True"):
        send(runner, 1, routing_key="nowhere")


def test_what_one_message_declares_is_there_for_it(serve: Serve, wire: Wire) -> None:
    runner = serve(publishing(Publisher()))
    send(runner, 1, exchange=PARCELS, routing_key="new", declare=[QUEUE], mandatory=True)
    assert wire.channel.get("parcels", no_ack=True) is not None


def test_an_exchange_that_is_missing_fails_its_message_and_leaves_the_others_alone(serve: Serve, wire: Wire) -> None:
    runner = serve(publishing(Publisher(PARCELS)))
    container = runner.service_map["publishing"]
    sender = container.resource(ConfirmedSender, connection_key(container.config))
    shared = sender._channel.current
    with pytest.raises(ChannelClosed, match="404 NOT_FOUND - no exchange 'absent'"):
        send(runner, 1, exchange=Exchange("absent"), routing_key="new")
    assert sender._channel.current is shared


def test_class_attributes_are_options(serve: Serve) -> None:
    """As before nameko 2.7."""

    class Unconfirmed(Publisher):
        use_confirms = False
        retry = False

    runner = serve(publishing(Unconfirmed()))
    provider = runner.service_map["publishing"].dependencies[0]
    assert (provider.publisher.use_confirms, provider.publisher.retry) == (False, False)


def test_a_publisher_class_of_ones_own_is_used(serve: Serve, wire: Wire) -> None:
    class OwnCore(PublisherCore):
        priority = 9

        def publish(self, payload: Any, **kwargs: Any) -> Any:
            return super().publish({"wrapped": payload}, **kwargs)

    class OwnPublisher(Publisher):
        publisher_cls = OwnCore

    runner = serve(publishing(OwnPublisher(PARCELS, declare=[QUEUE])))
    send(runner, 1, routing_key="new")
    message = wire.channel.get("parcels", no_ack=True)
    assert message is not None
    assert (json.loads(message.body), message.properties["priority"]) == ({"wrapped": 1}, 9)


def test_a_publisher_of_one_process_may_reach_another_broker(serve: Serve) -> None:
    """By ``uri``; there it declares what belongs to it."""
    other = Wire("memory://elsewhere/", green())
    try:
        runner = serve(publishing(Publisher(PARCELS, declare=[QUEUE], uri="memory://elsewhere/")))
        send(runner, 1, routing_key="new")
        assert other.channel.get("parcels", no_ack=True) is not None
    finally:
        other.link.close()
        forget_broker("elsewhere")


# Headers


def test_context_data_becomes_headers_and_back() -> None:
    """What is None stays behind; headers of others become context data too."""
    assert encode_to_headers({"a": 1, "b": None}) == {"nameko.a": 1}
    assert encode_to_headers({"a": 1}, prefix="own") == {"own.a": 1}
    assert decode_from_headers({"nameko.a": 1, "other": 2}) == {"a": 1, "other": 2}
    assert decode_from_headers({"own.a": 1, "nameko.b": 2}, prefix="own") == {"a": 1, "nameko.b": 2}


def test_mixins_of_nameko_2_do_the_same() -> None:
    """A subclass may have a prefix of its own."""

    class Own(HeaderEncoder, HeaderDecoder):
        header_prefix = "own"

    assert HeaderEncoder().get_message_headers(mock.Mock(context_data={"a": 1})) == {"nameko.a": 1}
    assert Own().get_message_headers(mock.Mock(context_data={"a": 1})) == {"own.a": 1}
    assert HeaderDecoder().unpack_message_headers(mock.Mock(headers={"nameko.a": 1})) == {"a": 1}
    assert Own().unpack_message_headers(mock.Mock(headers={"own.a": 1})) == {"a": 1}
