"""Publisher, with the same assertions on the embedded broker and on both links to RabbitMQ."""

import bz2
import datetime
import json
import logging
import lzma
import pickle
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from backports import zstd
from kombu import Exchange, Queue, binding

from rpcservice import Publisher, ServiceRunner
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.declarations import Declarations
from rpcservice.amqp.memory_broker import forget_broker
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import green
from rpcservice.errors import (
    ChannelClosed,
    ConfigError,
    MessageTooLarge,
    PublishRejected,
    UndeliverableMessage,
    UnserializableValueError,
)
from rpcservice.testing import dummy, entrypoint_hook

if TYPE_CHECKING:
    from rpcservice.testing import RabbitMQNode

every_link = pytest.mark.usefixtures("link_kind")

ORDERS = Exchange("orders", type="topic")
UNPACK = {
    "application/x-gzip": zlib.decompress,
    "application/x-bz2": bz2.decompress,
    "application/x-lzma": lzma.decompress,
    "application/zstd": zstd.decompress,
}


class Publishing:
    """A running service with one publisher."""

    def __init__(self, runner: ServiceRunner) -> None:
        self.runner = runner

    def __call__(self, payload: Any, **options: Any) -> None:
        """Publish in a worker."""
        with entrypoint_hook(self.runner.service_map["publishing"], "run", {"language": "de", "empty": None}) as hook:
            hook(lambda publish: publish(payload, **options))


def shared_channel(publish: Publishing) -> Any:
    container = publish.runner.service_map["publishing"]
    return container.resource(ConfirmedSender, connection_key(container.config))._channel.current


def declarations(publish: Publishing) -> Declarations:
    container = publish.runner.service_map["publishing"]
    return container.resource(Declarations, connection_key(container.config))


@pytest.fixture
def publishing(start: Callable[..., ServiceRunner]) -> Callable[..., Publishing]:
    """Start a service with a publisher: ``publishing(Publisher(...), **settings)``."""

    def make(publisher: Publisher, **settings: Any) -> Publishing:
        class Service:
            name = "publishing"
            publish = publisher

            @dummy
            def run(self, function: Callable[[Any], Any]) -> Any:
                return function(self.publish)

        return Publishing(start(Service, **settings))

    return make


# Where messages go


@every_link
def test_a_message_goes_to_the_exchange_which_is_declared(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(exchange=ORDERS))
    received = wire.tap("orders")
    publish({"a": "ü"}, routing_key="new.one")
    delivery = received.take()
    assert (delivery.exchange, delivery.routing_key) == ("orders", "new.one")
    assert json.loads(delivery.body) == {"a": "ü"}


@every_link
def test_properties_and_headers_are_namekos(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(ORDERS, routing_key="fixed"))
    received = wire.tap("orders")
    publish([1])
    delivery = received.take()
    assert delivery.routing_key == "fixed"
    properties = delivery.properties
    stack = properties["headers"].pop("nameko.call_id_stack")
    assert [call_id.rpartition(".")[0] for call_id in stack] == ["publishing.run"]
    assert len(properties.pop("message_id")) == 36
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 0,
        "app_id": "rpcservice",
        "headers": {"nameko.language": "de"},
    }


@every_link
def test_without_an_exchange_the_routing_key_names_the_queue(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(declare=[Queue("incoming")]))
    publish("hello", routing_key="incoming")
    assert wire.channel.get("incoming", no_ack=True).body == b'"hello"'


@every_link
def test_an_exchange_may_be_given_by_name_and_for_one_call(publishing: Any, wire: Any) -> None:
    here, there = wire.tap("here"), wire.tap("there")
    publish = publishing(Publisher("here", routing_key="key"))
    publish(1)
    publish(2, exchange="there")
    publish(3, exchange=Exchange("there", type="topic"), routing_key="other")
    assert here.take().body == b"1"
    assert [(delivery.routing_key, delivery.body) for delivery in (there.take(), there.take())] == [
        ("key", b"2"),
        ("other", b"3"),
    ]


@every_link
def test_a_queue_gives_its_exchange(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(queue=Queue("incoming", ORDERS, routing_key="new")))
    publish(1, routing_key="new")
    delivery = wire.channel.get("incoming", no_ack=True)
    assert (delivery.exchange, delivery.body) == ("orders", b"1")


@every_link
def test_what_is_declared_is_there_before_anything_is_published(publishing: Any, wire: Any) -> None:
    publishing(Publisher(ORDERS, declare=[Queue("first", ORDERS, routing_key="#"), Exchange("second")]))
    assert wire.channel.declare_queue("first", passive=True).messages == 0
    wire.channel.declare_exchange("second", passive=True)


@every_link
def test_one_call_may_declare_what_it_needs(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(ORDERS))
    publish(1, routing_key="new", declare=[Queue("incoming", ORDERS, routing_key="new")])
    assert wire.channel.get("incoming", no_ack=True).body == b"1"


@every_link
def test_one_call_may_declare_what_it_needs_without_retries(publishing: Any, wire: Any) -> None:
    """The channel for it is opened then, which is no connection that is lost."""
    publish = publishing(Publisher(retry=False))
    publish(1, routing_key="incoming", declare=[Queue("incoming")])
    assert wire.channel.get("incoming", no_ack=True).body == b"1"


@every_link
def test_what_one_call_declares_is_declared_once(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(ORDERS))
    publish(1, routing_key="new", declare=[Queue("incoming", ORDERS, routing_key="new")])
    wire.channel.delete_queue("incoming")
    publish(2, routing_key="new", declare=[Queue("incoming", ORDERS, routing_key="new")])
    publish(3, routing_key="new", declare=[Queue("incoming", ORDERS, routing_key="new", max_length=5)])
    assert wire.channel.get("incoming", no_ack=True).body == b"3"


@every_link
def test_what_cannot_be_declared_fails_one_call(publishing: Any, wire: Any) -> None:
    wire.channel.declare_queue("incoming", arguments={"x-max-length": 3})
    publish = publishing(Publisher(declare=[Queue("other")]))
    with pytest.raises(ChannelClosed, match="406 PRECONDITION_FAILED - inequivalent arg 'x-max-length'"):
        publish(1, routing_key="incoming", declare=[Queue("incoming", max_length=5)])
    publish(2, routing_key="incoming", declare=[Queue("third")])
    assert wire.channel.get("incoming", no_ack=True).body == b"2"
    wire.channel.declare_queue("third", passive=True)


@every_link
def test_an_exchange_that_does_not_exist_is_an_error(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher("absent", declare=[Queue("incoming")]))
    with pytest.raises(ChannelClosed, match="404 NOT_FOUND - no exchange 'absent'"):
        publish(1)
    publish(2, exchange="", routing_key="incoming")
    assert wire.channel.get("incoming", no_ack=True).body == b"2"


@every_link
@pytest.mark.parametrize("options", [{}, {"use_confirms": False}, {"retry": False}])
def test_an_exchange_that_is_only_named_is_looked_for_on_a_channel_of_its_own(
    publishing: Any, wire: Any, options: dict[str, Any]
) -> None:
    """The channel on which all messages are sent stays open: nobody else hears of the mistake."""
    publish = publishing(Publisher(ORDERS))
    shared = shared_channel(publish)
    for _ in range(2):
        with pytest.raises(ChannelClosed, match="404 NOT_FOUND - no exchange 'absent'"):
            publish(1, exchange="absent", **options)
    wire.channel.declare_exchange("absent", "fanout")
    publish(2, exchange="absent", **options)
    assert shared_channel(publish) is shared


@every_link
def test_an_exchange_that_others_are_to_declare_is_looked_for(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(Exchange("orders", type="topic", no_declare=True), routing_key="new"))
    shared = shared_channel(publish)
    with pytest.raises(ChannelClosed, match="404 NOT_FOUND - no exchange 'orders'"):
        publish(1)
    assert shared_channel(publish) is shared


@every_link
def test_an_exchange_is_looked_for_once(publishing: Any, wire: Any) -> None:
    """When it is deleted afterwards, the message that needs it is found among those under way."""
    wire.channel.declare_exchange("passing", "fanout")
    publish = publishing(Publisher("passing", declare=[Queue("incoming")]))
    publish(1)
    shared = shared_channel(publish)
    wire.channel.delete_exchange("passing")
    with pytest.raises(ChannelClosed, match="404 NOT_FOUND - no exchange 'passing'"):
        publish(2)
    publish(3, exchange="", routing_key="incoming")
    assert shared_channel(publish) is not shared


@every_link
@pytest.mark.parametrize("name", ["", "amq.fanout", "orders", "others", "third"])
def test_exchanges_of_the_broker_and_of_the_publisher_are_not_looked_for(publishing: Any, wire: Any, name: str) -> None:
    queues = [Queue("first", Exchange("others")), Queue("second", [binding(Exchange("third"), "key")])]
    publish = publishing(Publisher(ORDERS, declare=queues))
    publish(1, exchange=name)
    assert declarations(publish)._channel is None


# Whether they arrive


@every_link
def test_a_mandatory_message_that_no_queue_takes_is_an_error(publishing: Any, wire: Any) -> None:
    publish = publishing(Publisher(ORDERS, mandatory=True))
    with pytest.raises(UndeliverableMessage, match=r"no queue takes messages with routing key 'lost' from .*'orders'"):
        publish(1, routing_key="lost")
    publish(2, routing_key="lost", mandatory=False)


@every_link
@pytest.mark.parametrize("order", [("lost", "kept"), ("kept", "lost")])
def test_of_mandatory_messages_with_one_id_that_which_no_queue_takes_is_an_error(
    publishing: Any, wire: Any, order: tuple[str, str]
) -> None:
    received = wire.tap("orders", "kept")
    publish = publishing(Publisher(ORDERS, mandatory=True))

    def publish_at_once(publish: Any) -> list[str | None]:
        errors: dict[str, str | None] = {}

        def try_to(key: str) -> None:
            try:
                publish(key, routing_key=key, message_id="same")
                errors[key] = None
            except UndeliverableMessage as exc:
                errors[key] = exc.routing_key

        for task in [green().spawn(try_to, key) for key in order]:
            assert task.wait(20)
        return [errors["lost"], errors["kept"]]

    with entrypoint_hook(publish.runner.service_map["publishing"], "run") as run:
        assert run(publish_at_once) == ["lost", None]
    assert received.take().body == b'"kept"'


@every_link
def test_without_confirms_an_unroutable_message_is_a_warning(
    publishing: Any, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    publish = publishing(Publisher(ORDERS, use_confirms=False))
    publish(1, routing_key="lost")
    publish(2, routing_key="lost", mandatory=True)
    publish.runner.stop()
    assert caplog.text.count("no queue takes messages with routing key 'lost'") == 1
    assert [record.levelno for record in caplog.records if "no queue takes" in record.message] == [logging.WARNING]


@every_link
def test_without_confirms_a_message_arrives_before_the_service_has_stopped(publishing: Any, wire: Any) -> None:
    received = wire.tap("orders")
    publish = publishing(Publisher(ORDERS))
    publish(1, use_confirms=False)
    publish.runner.stop()
    assert received.take().body == b"1"


@every_link
def test_a_message_that_a_full_queue_refuses_is_an_error(publishing: Any) -> None:
    full = Queue("full", max_length=1, queue_arguments={"x-overflow": "reject-publish"})
    publish = publishing(Publisher(declare=[full], routing_key="full"))
    publish(1)
    with pytest.raises(PublishRejected, match="the broker refused the message 'full'"):
        publish(2)


@every_link
def test_what_cannot_be_encoded_is_an_error(publishing: Any) -> None:
    with pytest.raises(UnserializableValueError):
        publishing(Publisher(ORDERS))(object())


@every_link
def test_a_body_over_the_limit_is_an_error_however_well_it_packs(publishing: Any) -> None:
    publish = publishing(Publisher(ORDERS, compression="gzip"), max_message_size=1000)
    with pytest.raises(MessageTooLarge, match="body has 1001 bytes, at most 1000 are allowed"):
        publish("x" * 999)
    publish("x" * 998)


# How they are written


@every_link
@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma", "zstd", "application/x-bz2"])
def test_bodies_are_compressed(publishing: Any, wire: Any, name: str) -> None:
    received = wire.tap("orders")
    publish = publishing(Publisher(ORDERS, compression=name))
    publish(["x"] * 1000)
    publish(["y"], compression=None)
    delivery = received.take()
    assert json.loads(UNPACK[delivery.headers["compression"]](delivery.body)) == ["x"] * 1000
    plain = received.take()
    assert ("compression" in plain.headers, plain.body) == (False, b'["y"]')


@every_link
def test_each_publisher_and_each_call_may_have_its_serializer(publishing: Any, wire: Any) -> None:
    received = wire.tap("orders")
    publish = publishing(Publisher(ORDERS, serializer="pickle"))
    publish((1, 2))
    publish({"a": 1}, serializer="yaml")
    publish({"a": 1}, serializer=None)
    first, second, third = (received.take() for _ in range(3))
    assert pickle.loads(first.body) == (1, 2)
    assert (first.properties["content_type"], first.properties["content_encoding"]) == (
        "application/x-python-serialize",
        "binary",
    )
    assert (second.body, second.properties["content_type"]) == (b"a: 1\n", "application/x-yaml")
    assert (json.loads(third.body), third.properties["content_type"]) == ({"a": 1}, "application/json")


@every_link
@pytest.mark.parametrize(
    ("payload", "options", "expected"),
    [
        ("ü", {"content_type": "text/plain"}, ("ü".encode(), "text/plain", "utf-8")),
        (b"\xff", {"content_type": "image/png"}, (b"\xff", "image/png", "binary")),
        ("ü", {"content_type": "text/plain", "content_encoding": "latin-1"}, (b"\xfc", "text/plain", "latin-1")),
        ('{"a": 1}', {"content_type": "application/json"}, (b'{"a": 1}', "application/json", "utf-8")),
        (b"\xff", {"serializer": "raw"}, (b"\xff", "application/data", "binary")),
        ("x", {"serializer": "raw", "content_type": None}, (b"x", "application/data", "utf-8")),
    ],
)
def test_with_a_content_type_of_its_own_a_body_is_sent_as_it_is(
    publishing: Any, wire: Any, payload: Any, options: dict[str, Any], expected: tuple[bytes, str, str]
) -> None:
    received = wire.tap("orders")
    publishing(Publisher(ORDERS))(payload, **options)
    delivery = received.take()
    properties = delivery.properties
    assert (delivery.body, properties["content_type"], properties["content_encoding"]) == expected


def test_with_a_content_type_of_its_own_a_body_has_to_be_encoded(publishing: Any) -> None:
    with pytest.raises(UnserializableValueError, match=r"\{'a': 1\}") as caught:
        publishing(Publisher(ORDERS))({"a": 1}, content_type="text/plain")
    assert str(caught.value.__cause__) == "a body of type text/plain is given as bytes or as a text"


@every_link
def test_all_properties_can_be_set(publishing: Any, wire: Any) -> None:
    received = wire.tap("orders")
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    given: dict[str, Any] = {
        "delivery_mode": 1,
        "priority": 7,
        "correlation_id": "correlation",
        "reply_to": "replies",
        "message_id": "message",
        "type": "kind",
        "user_id": "guest",
        "app_id": "shop",
    }
    publish = publishing(Publisher(ORDERS, **given, expiration=60))
    publish(1, timestamp=moment)
    publish(2, timestamp=1700000000, expiration=1.5, delivery_mode="persistent")
    first, second = received.take().properties, received.take().properties
    for properties in (first, second):
        del properties["headers"]
    common = {**given, "content_type": "application/json", "content_encoding": "utf-8"}
    assert first == {**common, "expiration": "60000", "timestamp": int(moment.timestamp())}
    assert second == {**common, "expiration": "1500", "timestamp": 1700000000, "delivery_mode": 2}


@every_link
def test_none_takes_an_option_back_for_one_call(publishing: Any, wire: Any) -> None:
    received = wire.tap("orders")
    options: dict[str, Any] = {"delivery_mode": 1, "priority": 7, "expiration": 5, "correlation_id": "x", "app_id": "y"}
    publishing(Publisher(ORDERS, **options))(1, **dict.fromkeys(options))
    properties = received.take().properties
    assert (properties["delivery_mode"], properties["priority"], properties["app_id"]) == (2, 0, "rpcservice")
    assert not {"expiration", "correlation_id"} & set(properties)


@every_link
def test_headers_are_laid_over_each_other_and_context_data_over_all(publishing: Any, wire: Any) -> None:
    received = wire.tap("orders")
    publish = publishing(
        Publisher(ORDERS, headers={"a": "publisher", "b": "publisher"}, extra_headers={"e": "publisher"})
    )
    publish(
        1,
        headers={"b": "call", "c": "call", "e": "call", "nameko.language": "call"},
        extra_headers={"c": "extra", "nameko.call_id_stack": []},
    )
    publish(2)
    headers = received.take().headers
    assert len(headers.pop("nameko.call_id_stack")) == 1
    assert headers == {"a": "publisher", "b": "call", "c": "extra", "e": "publisher", "nameko.language": "de"}
    assert {key: value for key, value in received.take().headers.items() if "nameko" not in key} == {
        "a": "publisher",
        "b": "publisher",
        "e": "publisher",
    }


def test_a_subclass_may_set_options_as_attributes(publishing: Any, wire: Any) -> None:
    class Transient(Publisher):
        delivery_mode = 1
        priority = 3
        compression = "bzip2"
        mandatory = True

    received = wire.tap("orders")
    publish = publishing(Transient(ORDERS, priority=4))
    publish(1)
    delivery = received.take()
    assert (delivery.properties["delivery_mode"], delivery.properties["priority"]) == (1, 4)
    assert bz2.decompress(delivery.body) == b"1"
    received_no_more = Exchange("nowhere", type="topic")
    with pytest.raises(UndeliverableMessage):
        publish(2, exchange=received_no_more, declare=[received_no_more])


# Other brokers


@pytest.mark.parametrize("setting", ["AMQP_URI", "dedicated"])
def test_another_broker_can_be_published_to(publishing: Any, wire: Any, setting: str) -> None:
    here = wire.tap("orders")
    other = type(wire)("memory://another/", green())
    there = other.tap("orders")
    publish = publishing(
        Publisher(ORDERS, uri="memory://another/"),
        publish_connection="dedicated" if setting == "dedicated" else "shared",
    )
    publish(1)
    assert there.take().body == b"1"
    assert not here
    publish.runner.stop()
    other.link.close()
    forget_broker("another")


@pytest.mark.broker
def test_a_publisher_may_log_in_its_own_way(publishing: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str) -> None:
    other = rabbitmq.vhost(tls=True)
    assert rabbitmq.certificates is not None
    publisher = Publisher(ORDERS, uri=other, ssl={"ca_certs": str(rabbitmq.certificates.ca)}, login_method="AMQPLAIN")
    publish = publishing(publisher, AMQP_SSL=False)
    publish(1)
    connections = rabbitmq._shell.rows("rabbit_networking:connection_info_all([vhost, ssl, auth_mechanism])")
    rows = {row["vhost"]: (row["ssl"], row["auth_mechanism"]) for row in connections}
    assert rows[other.rpartition("/")[2]] == (True, "AMQPLAIN")
    publish.runner.stop()
    rabbitmq.delete_vhost(other)


# What is refused


@pytest.mark.parametrize("name", ["routng_key", "immediate", "exchnge"])
def test_an_option_that_does_not_exist_is_named_with_those_that_do(publishing: Any, name: str) -> None:
    text = rf"'{name}' is no option of a Publisher; there are: app_id, compression, .*use_confirms, user_id"
    with pytest.raises(TypeError, match=text):
        Publisher(ORDERS, **{name: 1})
    with pytest.raises(TypeError, match=text):
        publishing(Publisher(ORDERS))(1, **{name: 1})


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"priority": 256}, ValueError, "priority is 256; give a whole number from 0 to 255"),
        ({"delivery_mode": "fast"}, ValueError, "delivery_mode is 'fast'; give 1"),
        ({"delivery_mode": True}, ValueError, "delivery_mode is True; give 1"),
        ({"expiration": -1}, ValueError, "expiration is -1; give seconds from 0"),
        ({"compression": "zip"}, ValueError, "compression is 'zip'; give one of gzip, bzip2, lzma, zstd, or None"),
        ({"serializer": "jsn"}, ConfigError, "serializer 'jsn' is not known"),
        ({"headers": ["a"]}, TypeError, r"headers=\['a'\]: give a mapping with texts for keys"),
        ({"extra_headers": {1: 2}}, TypeError, r"headers=\{1: 2\}: give a mapping"),
        ({"correlation_id": 7}, TypeError, "7 is a int; routing keys, ids, types and their like are texts"),
        ({"routing_key": 7}, TypeError, "7 is a int"),
        ({"exchange": 7}, TypeError, "exchange=7: give an Exchange of kombu, or the name of one"),
        ({"declare": ["incoming"]}, TypeError, r"declare=\['incoming'\]: give a list of Exchange and Queue objects"),
        ({"timestamp": "now"}, TypeError, "timestamp='now': give a datetime, or seconds since 1970"),
        ({"timeout": "5"}, TypeError, "timeout='5': give a number of seconds, or None"),
        ({"retry": "often"}, TypeError, "retry='often': give True, False or Retry"),
        (
            {"retry_policy": {"max_tries": 1}},
            TypeError,
            r"retry_policy=\{'max_tries': 1\}: give a mapping",
        ),
        (
            {"retry_policy": {"max_retries": -1}},
            ValueError,
            "max_retries is -1; give a whole number",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(
    publishing: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        publishing(Publisher())(1, **options)


def test_transport_options_are_read_and_have_no_effect(publishing: Any, caplog: pytest.LogCaptureFixture) -> None:
    publishing(Publisher(ORDERS, transport_options={"max_retries": 3}))(1)
    assert "transport_options of a Publisher have no effect; set TRANSPORT_OPTIONS" in caplog.text
