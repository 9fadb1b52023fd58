"""Serializers and compressions between services: requests, replies and events, on every kind of link."""

import datetime
import json
import pickle
import zlib
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from amqp_services import Echo

from rpcservice import EventDispatcher, ServiceRpc, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import MalformedRequest, RemoteError, UndeliverableMessage
from rpcservice.testing import dummy, entrypoint_hook

pytestmark = pytest.mark.usefixtures("link_kind")

Start = Callable[..., ServiceRunner]
CONTENT_TYPES = {
    "json": "application/json",
    "yaml": "application/x-yaml",
    "msgpack": "application/x-msgpack",
    "pickle": "application/x-python-serialize",
    "loud": "application/x-loud",
}
OWN = {"loud": {"encoder": f"{__name__}.shout", "decoder": f"{__name__}.whisper"}}


def shout(value: Any) -> str:
    return json.dumps(value).upper()


def whisper(text: str) -> Any:
    return json.loads(text.lower())


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_services_talk_in_any_serializer(start: Start, caller: type, run_in: Any, wire: Any, name: str) -> None:
    requests = wire.tap("nameko-rpc", "echo.*")
    runner = start(Echo, caller, serializer=name, ACCEPT=[name], SERIALIZERS=OWN)
    assert run_in(runner, lambda caller: caller.cluster.echo.args(1, b=[2]))["kwargs"] == {"b": [2]}
    assert requests.take().properties["content_type"] == CONTENT_TYPES[name]


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_the_reply_is_in_the_format_of_the_request(
    start: Start, caller: type, run_in: Any, wire: Any, name: str
) -> None:
    """Whatever the service's own serializer is; errors too."""
    everything = wire.tap("nameko-rpc", "#")
    runner = start(Echo, caller, ACCEPT=list(CONTENT_TYPES), SERIALIZERS=OWN)
    assert run_in(runner, lambda caller: caller.cluster.echo.add.with_options(serializer=name)(1)) == 2
    with pytest.raises(RemoteError, match=r"(?i)valueerror no"):
        run_in(runner, lambda caller: caller.cluster.echo.fail.with_options(serializer=name)("no"))
    assert [everything.take().properties["content_type"] for _ in range(4)] == [CONTENT_TYPES[name]] * 4


def test_each_client_may_have_its_serializer(start: Start, wire: Any) -> None:
    class Caller:
        name = "two-callers"
        plain = ServiceRpc("echo")
        pickled = ServiceRpc("echo", serializer="pickle")

        @dummy
        def run(self) -> Any:
            return self.plain.args((1, 2))["args"], self.pickled.args((1, 2))["args"]

    runner = start(Echo, Caller, ACCEPT=["json", "pickle"])
    with entrypoint_hook(runner.service_map["two-callers"], "run") as run:
        assert run() == ([[1, 2]], ((1, 2),))


def test_a_request_in_a_format_that_is_not_accepted_is_answered_in_it(start: Start, wire: Any) -> None:
    """Its caller may accept no other."""
    start(Echo, ACCEPT=["json", "yaml"])
    body = pickle.dumps({"args": [1], "kwargs": {}})
    reply = wire.request("echo.add", body, content_type=CONTENT_TYPES["pickle"], content_encoding="binary")
    assert reply.properties["content_type"] == CONTENT_TYPES["pickle"]
    error = pickle.loads(reply.body)["error"]
    assert error["exc_type"] == "MalformedRequest"
    assert "only: application/json, application/x-yaml" in error["value"]


def test_a_reply_in_a_format_that_the_caller_does_not_accept_is_an_error(
    start: Start, runner_factory: Any, caller: type, run_in: Any
) -> None:
    start(Echo, ACCEPT=["json", "yaml"])
    runner = runner_factory(caller)
    runner.start()
    with pytest.raises(MalformedRequest, match="content type 'application/x-yaml' is not accepted here"):
        run_in(runner, lambda caller: caller.cluster.echo.add.with_options(serializer="yaml")(1))


def test_dates_travel_in_json_and_yaml(start: Start, caller: type, run_in: Any) -> None:
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    runner = start(Echo, caller, ACCEPT=["json", "yaml"])
    for name in ("json", "yaml"):
        options = {"serializer": name}
        result = run_in(runner, lambda caller, given=options: caller.cluster.echo.args.with_options(**given)(moment))
        assert result["args"] == [moment]


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma", "zstd"])
def test_requests_and_their_replies_are_compressed(
    start: Start, caller: type, run_in: Any, wire: Any, name: str
) -> None:
    everything = wire.tap("nameko-rpc", "#")
    runner = start(Echo, caller)
    result = run_in(runner, lambda caller: caller.cluster.echo.args.with_options(compression=name)("x" * 100_000))
    assert result["args"] == ["x" * 100_000]
    request, reply = everything.take(), everything.take()
    assert len(request.body) < 2000
    assert len(reply.body) < 2000
    assert request.headers["compression"] == reply.headers["compression"]


def test_a_compressed_request_of_any_serializer_is_understood(start: Start, wire: Any) -> None:
    start(Echo, ACCEPT=["json", "msgpack"])
    body = zlib.compress(msgpack.packb({"args": [1], "kwargs": {}}))
    reply = wire.request(
        "echo.add",
        body,
        content_type=CONTENT_TYPES["msgpack"],
        content_encoding="binary",
        headers={"compression": "application/x-gzip"},
    )
    assert msgpack.unpackb(zlib.decompress(reply.body)) == {"result": 2, "error": None}


def test_the_headers_of_a_client_are_laid_beneath_the_context_data(
    start: Start, caller: type, run_in: Any, wire: Any
) -> None:
    requests = wire.tap("nameko-rpc", "echo.*")
    runner = start(Echo, caller)
    options = {"headers": {"a": 1, "b": 1, "nameko.language": "fr"}, "extra_headers": {"b": 2}, "use_confirms": False}
    run_in(runner, lambda caller: caller.cluster.echo.add.with_options(**options)(1), language="de")
    headers = requests.take().headers
    del headers["nameko.call_id_stack"], headers["rpcservice-deadline"]
    assert headers == {"a": 1, "b": 2, "nameko.language": "de"}


# Events


class Shop:
    name = "shop"
    dispatch = EventDispatcher(compression="gzip", serializer="msgpack", headers={"own": 1})

    @rpc_method
    def place(self, order: Any, **options: Any) -> None:
        self.dispatch("placed", order, **options)


def test_events_take_all_options(start: Start, rpc: Any, wire: Any) -> None:
    events = wire.tap("shop.events")
    start(Shop)
    rpc.shop.place({"a": 1})
    rpc.shop.place(
        2, compression=None, serializer="json", priority=3, expiration=2, correlation_id="c", headers={"b": 2}
    )
    first, second = events.take(), events.take()
    assert msgpack.unpackb(zlib.decompress(first.body)) == {"a": 1}
    assert (first.headers["compression"], first.headers["own"]) == ("application/x-gzip", 1)
    properties = second.properties
    assert second.body == b"2"
    assert (properties["priority"], properties["expiration"], properties["correlation_id"]) == (3, "2000", "c")
    assert (second.headers["own"], second.headers["b"]) == (1, 2)


def test_a_mandatory_event_that_nobody_takes_is_an_error(start: Start, rpc: Any) -> None:
    start(Shop)
    rpc.shop.place(1)
    with pytest.raises((RemoteError, UndeliverableMessage), match=r"no queue takes messages with routing key 'placed'"):
        rpc.shop.place(1, mandatory=True)


def test_where_an_event_goes_is_no_option(start: Start, rpc: Any) -> None:
    start(Shop)
    with pytest.raises(RemoteError, match="'exchange' is no option of an EventDispatcher; there are: app_id"):
        rpc.shop.place(1, exchange="elsewhere")
    with pytest.raises(TypeError, match="'routing_key' is no option of an EventDispatcher"):
        EventDispatcher(routing_key="elsewhere")


def test_a_handler_may_accept_more_than_the_service(start: Start, rpc: Any, inbox: Any, wire: Any) -> None:
    seen = inbox()

    class Stock:
        name = "stock"

        @event_handler("shop", "placed", accept=["msgpack", "text/plain"], prefetch_count=2)
        def handle(self, payload: Any) -> None:
            seen(payload)

    start(Shop, Stock, max_workers=1)
    rpc.shop.place({"a": 1})
    wire.publish("shop.events", "placed", b"hello", content_type="text/plain")
    wire.publish("shop.events", "placed", b"1", content_type="application/json")
    wire.publish("shop.events", "placed", b"last", content_type="text/plain")
    assert [seen.take() for _ in range(3)] == [{"a": 1}, "hello", "last"]
