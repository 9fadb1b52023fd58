"""What is on the wire: properties, bodies, topology and connections, as nameko has them but for what is said here."""

import json
import re
import zlib
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from waiting import wait_until

from rpcservice import BROADCAST, SINGLETON, ClusterRpc, EventDispatcher, ServiceRpc, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import PublishTimeout

if TYPE_CHECKING:
    from rpcservice.testing import RabbitMQNode

UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

Start = Callable[..., ServiceRunner]

every_link = pytest.mark.usefixtures("link_kind")


class Echo:
    name = "echo"

    @rpc_method
    def show(self, *args: Any, **kwargs: Any) -> Any:
        return [args, kwargs]


def is_uuid(text: object) -> bool:
    return isinstance(text, str) and UUID.fullmatch(text) is not None


# Messages


@every_link
def test_a_request_is_as_namekos_with_app_id_and_message_id(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(Echo, caller, fast_json=False)
    requests = wire.tap("nameko-rpc", "echo.*")
    run_in(runner, lambda caller: caller.cluster.echo.show(1, "ü", a=None), language="de")
    request = requests.take()
    assert (request.exchange, request.routing_key) == ("nameko-rpc", "echo.show")
    assert request.body == b'{"args": [1, "\\u00fc"], "kwargs": {"a": null}}'
    properties = dict(request.properties)
    headers = properties.pop("headers")
    assert headers.pop("nameko.language") == "de"
    assert [call_id.rsplit(".", 1)[0] for call_id in headers.pop("nameko.call_id_stack")] == ["caller.run"]
    assert headers.pop("rpcservice-deadline") == pytest.approx(1000 * (time() + 60), abs=10_000)
    assert headers == {}
    ids = [properties.pop(name) for name in ("correlation_id", "reply_to", "message_id")]
    assert all(map(is_uuid, ids))
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 0,
        "app_id": "rpcservice",
    }


@every_link
def test_every_call_has_ids_of_its_own_and_one_reply_queue(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(Echo, caller)
    requests = wire.tap("nameko-rpc", "echo.*")
    for _ in range(2):
        run_in(runner, lambda caller: caller.cluster.echo.show())
    one, two = requests.take().properties, requests.take().properties
    assert one["correlation_id"] != two["correlation_id"]
    assert one["message_id"] != two["message_id"]
    assert one["reply_to"] == two["reply_to"]


@every_link
def test_options_of_a_client_become_properties(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(Echo, caller, ACCEPT=["json", "yaml"])
    requests = wire.tap("nameko-rpc", "echo.*")
    options = {"priority": 7, "expiration": 1.5, "delivery_mode": 1, "serializer": "yaml", "headers": {"own": 1}}
    assert run_in(runner, lambda caller: caller.cluster.echo.show.with_options(**options)(1)) == [[1], {}]
    properties = requests.take().properties
    assert {name: properties[name] for name in ("priority", "expiration", "delivery_mode", "content_type")} == {
        "priority": 7,
        "expiration": "1500",
        "delivery_mode": 1,
        "content_type": "application/x-yaml",
    }
    assert properties["headers"]["own"] == 1


@every_link
def test_a_reply_to_our_own_client_is_transient(start: Start, wire: Any) -> None:
    start(Echo, fast_json=False)
    reply = wire.request("echo.show", app_id="rpcservice", correlation_id="mine", priority=5)
    assert (reply.exchange, reply.body) == ("nameko-rpc", b'{"result": [[], {}], "error": null}')
    properties = dict(reply.properties)
    assert is_uuid(properties.pop("message_id"))
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 1,
        "priority": 0,
        "headers": {},
        "correlation_id": "mine",
        "app_id": "rpcservice",
    }


@every_link
@pytest.mark.parametrize("app_id", [None, "nameko", "other"])
def test_a_reply_to_anybody_else_is_persistent(start: Start, wire: Any, app_id: str | None) -> None:
    start(Echo)
    reply = wire.request("echo.show", app_id=app_id)
    assert reply.properties["delivery_mode"] == 2
    assert reply.properties["app_id"] == "rpcservice"


@every_link
def test_an_error_reply_has_both_keys_and_no_context(start: Start, wire: Any) -> None:
    start(Echo)
    reply = wire.request("echo.nope", headers={"nameko.language": "de"})
    assert json.loads(reply.body).keys() == {"result", "error"}
    assert reply.properties["headers"] == {}


@every_link
def test_an_event_is_as_namekos_with_app_id_and_message_id(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(caller, fast_json=False)
    events = wire.tap("caller.events")
    run_in(runner, lambda caller: caller.dispatch("said", {"a": [1, "ü"]}), language="de")
    event = events.take()
    assert (event.exchange, event.routing_key) == ("caller.events", "said")
    assert event.body == b'{"a": [1, "\\u00fc"]}'
    properties = dict(event.properties)
    headers = properties.pop("headers")
    assert headers.keys() == {"nameko.language", "nameko.call_id_stack"}
    assert is_uuid(properties.pop("message_id"))
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "delivery_mode": 2,
        "priority": 0,
        "app_id": "rpcservice",
    }


@every_link
def test_options_of_a_dispatcher_become_properties(start: Start, wire: Any, rpc: Any) -> None:
    class Shop:
        name = "shop"
        dispatch = EventDispatcher(serializer="yaml", delivery_mode=1, priority=3, expiration=60)

        @rpc_method
        def place(self) -> None:
            self.dispatch("placed", {"a": 1})

    start(Shop)
    events = wire.tap("shop.events")
    rpc.shop.place()
    event = events.take()
    assert event.body == b"a: 1\n"
    properties = event.properties
    assert {name: properties[name] for name in ("priority", "expiration", "delivery_mode", "content_type")} == {
        "priority": 3,
        "expiration": "60000",
        "delivery_mode": 1,
        "content_type": "application/x-yaml",
    }


@every_link
def test_the_configured_serializer_is_used_for_what_is_sent(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(Echo, caller, serializer="yaml")
    requests = wire.tap("nameko-rpc", "echo.*")
    assert run_in(runner, lambda caller: caller.cluster.echo.show(1)) == [[1], {}]
    assert requests.take().properties["content_type"] == "application/x-yaml"


@every_link
def test_the_rpc_exchange_may_have_another_name(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(Echo, caller, rpc_exchange="other-rpc")
    requests = wire.tap("other-rpc", "echo.*")
    assert run_in(runner, lambda caller: caller.cluster.echo.show(1)) == [[1], {}]
    assert requests.take().exchange == "other-rpc"


@pytest.mark.usefixtures("broker")
def test_a_correlation_id_of_raw_bytes_comes_back_as_it_was(start: Start, wire: Any) -> None:
    start(Echo)
    raw = b"\xff\x00\xfe".decode("utf-8", "surrogateescape")
    reply = wire.request("echo.show", b'{"args": [1], "kwargs": {}}', correlation_id=raw, headers={raw: "odd"})
    assert reply.properties["correlation_id"] == raw
    assert json.loads(reply.body)["result"] == [[1], {}]


@every_link
def test_a_compressed_request_gets_a_compressed_reply(start: Start, wire: Any) -> None:
    start(Echo)
    body = zlib.compress(b'{"args": [1], "kwargs": {}}')
    reply = wire.request("echo.show", body, headers={"compression": "application/x-gzip"})
    assert json.loads(zlib.decompress(reply.body))["result"] == [[1], {}]
    assert reply.headers == {"compression": "application/x-gzip"}


@every_link
def test_a_request_whose_compression_is_unknown_is_answered(start: Start, wire: Any) -> None:
    start(Echo)
    reply = wire.request("echo.show", b"x", headers={"compression": "application/x-unknown"})
    error = json.loads(reply.body)["error"]
    assert error["exc_path"] == "nameko.exceptions.MalformedRequest"
    assert "compression is 'application/x-unknown'; give one of gzip, bzip2, lzma, zstd" in error["value"]
    assert reply.headers == {}


@every_link
def test_a_request_that_unpacks_to_more_than_the_limit_is_answered(start: Start, wire: Any) -> None:
    start(Echo, max_message_size=10_000)
    body = zlib.compress(b'{"args": ["%s"], "kwargs": {}}' % (b"x" * 10_000_000))
    reply = wire.request("echo.show", body, headers={"compression": "application/x-gzip"})
    error = json.loads(zlib.decompress(reply.body))["error"]
    assert error["exc_path"] == "nameko.exceptions.MalformedRequest"
    assert "unpacked it has more than 10000 bytes" in error["value"]


# Topology, as RabbitMQ reports it


def described(queue: dict[str, Any]) -> tuple[bool, bool, bool]:
    return queue["durable"], queue["exclusive"], queue["auto_delete"]


@pytest.mark.broker
def test_queues_exchanges_and_bindings_are_namekos(start: Start, rabbitmq: "RabbitMQNode", rabbitmq_uri: str) -> None:
    class Shop:
        name = "shop"
        client = ServiceRpc("echo")
        dispatch = EventDispatcher()

        @rpc_method
        def place(self) -> None:
            """Be there."""

        @event_handler("stock", "low")
        def pool(self, payload: Any) -> None:
            """Be there."""

        @event_handler("stock", "low", SINGLETON)
        def single(self, payload: Any) -> None:
            """Be there."""

        @event_handler("stock", "low", BROADCAST, reliable_delivery=False)
        def everybody(self, payload: Any) -> None:
            """Be there."""

        @event_handler("stock", "gone", reliable_delivery=False)
        def passing(self, payload: Any) -> None:
            """Be there."""

    start(Shop)
    queues = rabbitmq.queues(rabbitmq_uri)
    reply_queue = next(name for name in queues if name.startswith("rpc.reply-"))
    broadcast = next(name for name in queues if name.startswith("evt-stock-low--shop.everybody-"))
    assert is_uuid(reply_queue.removeprefix("rpc.reply-"))
    assert re.fullmatch("[0-9a-f]{32}", broadcast.removeprefix("evt-stock-low--shop.everybody-"))
    for name, queue in queues.items():
        expected = {"x-expires": 300_000} if name == reply_queue else {}
        assert dict(queue["arguments"]) == expected
    assert {name: described(queue) for name, queue in queues.items()} == {
        "rpc-shop": (True, False, False),
        reply_queue: (True, False, False),
        "evt-stock-low--shop.pool": (True, False, False),
        "evt-stock-low": (True, False, False),
        broadcast: (False, True, True),
        "evt-stock-gone--shop.passing": (True, False, True),
    }
    exchanges = rabbitmq.exchanges(rabbitmq_uri)
    for name in ("nameko-rpc", "stock.events", "shop.events"):
        exchange = exchanges[name]
        assert (exchange["type"], exchange["durable"], exchange["auto_delete"]) == ("topic", True, False)
        assert not exchange["arguments"]
    bindings = {
        (row["source_name"], row["routing_key"], row["destination_name"])
        for row in rabbitmq.bindings(rabbitmq_uri)
        if row["source_name"]
    }
    assert bindings == {
        ("nameko-rpc", "shop.*", "rpc-shop"),
        ("nameko-rpc", reply_queue.removeprefix("rpc.reply-"), reply_queue),
        ("stock.events", "low", "evt-stock-low--shop.pool"),
        ("stock.events", "low", "evt-stock-low"),
        ("stock.events", "low", broadcast),
        ("stock.events", "gone", "evt-stock-gone--shop.passing"),
    }


@pytest.mark.broker
def test_replies_are_consumed_without_acks(
    start: Start, caller: type, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    start(Echo, caller)
    needs_ack = {row["queue_name"].partition("-")[0]: row["ack_required"] for row in rabbitmq.consumers(rabbitmq_uri)}
    assert needs_ack == {"rpc": True, "rpc.reply": False}


@pytest.mark.broker
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"rpc-busy": 10, "evt-shop-placed--busy.few": 3, "evt-shop-placed--busy.many": 10}),
        ({"max_workers": 50}, {"rpc-busy": 50, "evt-shop-placed--busy.few": 3, "evt-shop-placed--busy.many": 50}),
        ({"PREFETCH_COUNT": 2}, {"rpc-busy": 2, "evt-shop-placed--busy.few": 2, "evt-shop-placed--busy.many": 2}),
    ],
)
def test_prefetch_follows_the_workers(
    start: Start, rabbitmq: "RabbitMQNode", rabbitmq_uri: str, settings: dict[str, int], expected: dict[str, int]
) -> None:
    class Busy:
        name = "busy"

        @rpc_method
        def work(self) -> None:
            """Be there."""

        @event_handler("shop", "placed", concurrency=3)
        def few(self, payload: Any) -> None:
            """Be there."""

        @event_handler("shop", "placed")
        def many(self, payload: Any) -> None:
            """Be there."""

    start(Busy, **settings)
    found = {row["queue_name"]: row["prefetch_count"] for row in rabbitmq.consumers(rabbitmq_uri)}
    assert found == expected


def busy_service(number: int) -> type:
    class Busy:
        name = f"busy{number}"
        cluster = ClusterRpc()
        echo = ServiceRpc("echo")
        dispatch = EventDispatcher()

        @rpc_method
        def one(self) -> Any:
            return self.echo.show(number)

        @rpc_method
        def two(self) -> None:
            self.dispatch("two", number)

        @event_handler("busy0", "two")
        def three(self, payload: Any) -> None:
            """Be there."""

        @event_handler("busy0", "two", SINGLETON)
        def four(self, payload: Any) -> None:
            """Be there."""

        @event_handler("busy0", "two", BROADCAST, reliable_delivery=False)
        def five(self, payload: Any) -> None:
            """Be there."""

    return Busy


@pytest.mark.broker
def test_twenty_services_of_five_entrypoints_share_one_connection(
    start: Start, caller: type, run_in: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    runner = start(*map(busy_service, range(20)), Echo, caller)
    for number in range(20):
        assert run_in(runner, lambda caller, number=number: caller.cluster[f"busy{number}"].one()) == [[number], {}]
        run_in(runner, lambda caller, number=number: caller.cluster[f"busy{number}"].two())
    assert len(rabbitmq.connections(rabbitmq_uri)) == 1
    channels = rabbitmq.channels(rabbitmq_uri)
    # One for each service that consumes, and for the process: requests, confirmed messages, replies.
    assert len(channels) == 21 + 3
    assert [channel["confirm"] for channel in channels].count(True) == 1


@pytest.mark.broker
def test_publishing_may_have_a_connection_of_its_own(
    start: Start, caller: type, run_in: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    runner = start(Echo, caller, publish_connection="dedicated")
    run_in(runner, lambda caller: caller.dispatch("said", 1))
    assert run_in(runner, lambda caller: caller.cluster.echo.show(1)) == [[1], {}]
    assert len(rabbitmq.connections(rabbitmq_uri)) == 2


@pytest.mark.broker
def test_a_stopped_process_leaves_no_connection(
    start: Start, caller: type, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    runner = start(Echo, caller)
    assert len(rabbitmq.connections(rabbitmq_uri)) == 1
    runner.stop()
    wait_until(lambda: not rabbitmq.connections(rabbitmq_uri), "the end of the connection")
    assert set(rabbitmq.queues(rabbitmq_uri)) == {"rpc-echo"}


# Publishing that the broker holds up


@pytest.mark.broker
def test_a_dispatch_without_a_confirm_is_a_publish_timeout(
    start: Start, caller: type, run_in: Any, rabbitmq: "RabbitMQNode", rabbitmq_uri: str
) -> None:
    runner = start(caller, publish_timeout=0.3)

    def dispatch(caller: Any) -> None:
        # RabbitMQ may take the first message after the alarm, and reads no more behind it.
        caller.dispatch("said", 1)
        caller.dispatch("said", 2)

    rabbitmq.block_publishers()
    try:
        with pytest.raises(PublishTimeout, match=r"within 0\.3 s for 'said' on exchange 'caller\.events': broker at"):
            run_in(runner, dispatch)
    finally:
        rabbitmq.unblock_publishers()
    run_in(runner, dispatch)
