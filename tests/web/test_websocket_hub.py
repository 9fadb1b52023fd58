"""The hub: subscriptions, broadcasts and events for one socket."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import ServiceRunner, WebSocketHubProvider, websocket_rpc
from rpcservice.amqp.broadcast import AmqpBroadcastBus
from rpcservice.config import make_settings
from rpcservice.core.broadcast import BroadcastBus, bus_class
from rpcservice.core.faults import error_to_data
from rpcservice.errors import ConnectionNotFound, UnserializableValueError
from rpcservice.testing import VirtualSocket
from rpcservice.web.websocket_hub import WebSocketHub
from rpcservice.web.websocket_server import WebSocketServer

Serve = Callable[..., Any]
Connect = Callable[..., VirtualSocket]


class Rooms:
    name = "rooms"
    hub = WebSocketHubProvider()

    @websocket_rpc
    def join(self, socket_id: str, *, room: Any) -> Any:
        self.hub.subscribe(socket_id, room)
        return self.hub.get_subscriptions(socket_id)

    @websocket_rpc
    def part(self, socket_id: str, room: Any) -> Any:
        self.hub.unsubscribe(socket_id, room)
        return self.hub.get_subscriptions(socket_id)

    @websocket_rpc
    def tell(self, socket_id: str, to: str, text: str) -> bool:
        told: bool = self.hub.unicast(to, "told", text)
        return told


class Others:
    name = "others"
    hub = WebSocketHubProvider()
    quiet = WebSocketHubProvider("rooms", serves=False)

    @websocket_rpc
    def join_others(self, socket_id: str, room: Any) -> None:
        self.hub.subscribe(socket_id, room)


@pytest.fixture
def site(serve: Serve) -> Any:
    return serve(Rooms)


@pytest.fixture
def hub(site: Any) -> WebSocketHub:
    found: WebSocketHub = site.container.resource(WebSocketHub, (WebSocketServer, "rooms"))
    return found


def test_subscriptions_are_given_in_order(site: Any, connect: Connect) -> None:
    socket = connect(site)
    for room in ("b", 7, "a", "c", 3):
        socket.rpc("join", room=room)
    assert socket.rpc("join", room="a") == [3, 7, "a", "b", "c"]


def test_unsubscribing_leaves_the_others(site: Any, connect: Connect) -> None:
    socket = connect(site)
    socket.rpc("join", room="a")
    socket.rpc("join", room="b")
    assert [socket.rpc("part", room=room) for room in ("a", "never", "b")] == [["b"], ["b"], []]


def test_a_broadcast_reaches_the_subscribers_of_its_channel(site: Any, hub: WebSocketHub, connect: Connect) -> None:
    sockets = [connect(site) for _ in range(3)]
    for socket, room in zip(sockets, ("tea", "tea", "pot"), strict=True):
        socket.rpc("join", room=room)
    hub.broadcast("tea", "sold", {"quantity": 2})
    hub.broadcast("pot", "sold", {"quantity": 1})
    got = [socket.wait_for_event("sold") for socket in sockets]
    assert got == [("sold", {"quantity": quantity}) for quantity in (2, 2, 1)]
    assert all(socket.get_event_queue("sold").empty() for socket in sockets)


def test_a_broadcast_without_subscribers_reaches_nobody(site: Any, hub: WebSocketHub, connect: Connect) -> None:
    socket = connect(site)
    hub.broadcast("tea", "sold", None)
    socket.rpc("join", room="tea")
    assert socket.get_event_queue("sold").empty()


def test_the_number_7_is_another_channel_than_the_text(site: Any, hub: WebSocketHub, connect: Connect) -> None:
    socket = connect(site)
    socket.rpc("join", room=7)
    hub.broadcast("7", "text", None)
    hub.broadcast(7, "number", None)
    assert socket.wait_for_event("number") == ("number", None)
    assert socket.get_event_queue("text").empty()


@pytest.mark.parametrize("channel", [None, True, 1.5, ("a", "b")])
def test_channels_that_have_no_name_are_refused(site: Any, hub: WebSocketHub, connect: Connect, channel: Any) -> None:
    socket = connect(site)
    with pytest.raises(TypeError, match="give a text or a whole number"):
        hub.subscribe(socket.socket_id, channel)
    with pytest.raises(TypeError, match="give a text or a whole number"):
        hub.broadcast(channel, "event", None)


def test_an_event_for_one_socket_says_that_it_was_sent(site: Any, connect: Connect) -> None:
    one, other = connect(site), connect(site)
    assert one.rpc("tell", to=other.socket_id, text="psst") is True
    assert other.wait_for_event("told") == ("told", "psst")
    assert one.get_event_queue("told").empty()


def test_an_event_for_a_socket_that_is_not_there_says_so(site: Any, connect: Connect) -> None:
    one, other = connect(site), connect(site)
    other.close()
    assert [one.rpc("tell", to=to, text="psst") for to in ("nobody", other.socket_id)] == [False, False]


def test_data_that_json_does_not_know_reaches_nobody(site: Any, hub: WebSocketHub, connect: Connect) -> None:
    socket = connect(site)
    socket.rpc("join", room="tea")
    with pytest.raises(UnserializableValueError):
        hub.broadcast("tea", "sold", object())
    with pytest.raises(UnserializableValueError):
        hub.unicast(socket.socket_id, "sold", object())
    socket.rpc("join", room="tea")
    assert socket.get_event_queue("sold").empty()


def test_a_socket_that_is_not_there_cannot_subscribe(hub: WebSocketHub) -> None:
    with pytest.raises(ConnectionNotFound, match="nobody"):
        hub.subscribe("nobody", "tea")


def test_connection_not_found_travels_under_namekos_name() -> None:
    assert error_to_data(ConnectionNotFound("x"))["exc_path"] == "nameko.exceptions.ConnectionNotFound"


def test_subscriptions_end_with_their_socket(site: Any, hub: WebSocketHub, connect: Connect) -> None:
    socket = connect(site)
    socket.rpc("join", room="tea")
    socket.close()
    wait_until(lambda: not hub.get_subscriptions(socket.socket_id))
    assert (hub._subscribers, hub._channels) == ({}, {})


def test_services_have_channels_of_their_own(runner_factory: Callable[..., ServiceRunner]) -> None:
    runner = runner_factory(Rooms, Others)
    runner.start()
    rooms, others = (runner.resources.get(WebSocketHub, (WebSocketServer, name)) for name in ("rooms", "others"))
    with VirtualSocket(*runner.resources.get(WebSocketServer).web_server.address) as socket:
        socket.rpc("join_others", room="tea")
        assert (rooms.get_subscriptions(socket.socket_id), others.get_subscriptions(socket.socket_id)) == ([], ["tea"])
        rooms.broadcast("tea", "event", "of rooms")
        others.broadcast("tea", "event", "of others")
        assert socket.wait_for_event("event") == ("event", "of others")


def test_a_hub_without_sockets_reaches_those_of_its_process(runner_factory: Callable[..., ServiceRunner]) -> None:
    """One namespace has one hub, whoever asks for it."""
    runner = runner_factory(Rooms, Others)
    runner.start()
    quiet = next(one for one in runner.containers["others"].dependencies if one.attr_name == "quiet")
    with VirtualSocket(*runner.resources.get(WebSocketServer).web_server.address) as socket:
        socket.rpc("join", room="tea")
        quiet.get_dependency(None).broadcast("tea", "event", "quiet")
        assert socket.wait_for_event("event") == ("event", "quiet")


def test_a_hub_alone_opens_no_endpoint(container_factory: Callable[..., Any], config: dict[str, Any]) -> None:
    from rpcservice.testing import once

    class Quiet:
        name = "quiet"
        hub = WebSocketHubProvider(serves=False)

        @once
        def start(self) -> None:
            self.hub.broadcast("tea", "event", None)

    container = container_factory(Quiet)
    container.start()
    assert not any(isinstance(resource, WebSocketServer) for resource in container.resources)
    hub = container.resource(WebSocketHub, (WebSocketServer, "quiet"))
    assert hub.unicast("nobody", "event", None) is False
    with pytest.raises(ConnectionNotFound):
        hub.subscribe("nobody", "tea")


@pytest.mark.parametrize(
    ("config", "cls"),
    [
        ({}, BroadcastBus),
        ({"AMQP_URI": "amqp://broker"}, AmqpBroadcastBus),
        ({"AMQP_URI": "memory://"}, AmqpBroadcastBus),
        ({"websocket_broadcast": "broker"}, AmqpBroadcastBus),
        ({"AMQP_URI": "amqp://broker", "websocket_broadcast": "process"}, BroadcastBus),
    ],
)
def test_who_gets_a_broadcast_is_a_setting(config: dict[str, Any], cls: type) -> None:
    assert bus_class(make_settings(config)) is cls


def test_without_a_broker_a_broadcast_stays_in_the_process(serve: Serve, connect: Connect) -> None:
    site = serve(Rooms, websocket_broadcast="process")
    hub = site.container.resource(WebSocketHub, (WebSocketServer, "rooms"))
    socket = connect(site)
    socket.rpc("join", room="tea")
    hub.broadcast("tea", "event", None)
    assert socket.wait_for_event("event") == ("event", None)
    assert {
        type(resource).__module__ for resource in site.container.resources if "amqp" in type(resource).__module__
    } == set()


def test_runners_on_one_broker_share_channels(
    runner_factory: Callable[..., ServiceRunner], config: dict[str, Any]
) -> None:
    """Each once: who broadcasts does not hear itself by way of the broker."""
    runners = [runner_factory(Rooms), runner_factory(Rooms)]
    for runner in runners:
        runner.start()
    sockets = [VirtualSocket(*runner.resources.get(WebSocketServer).web_server.address).connect() for runner in runners]
    for socket in sockets:
        socket.rpc("join", room="tea")
    hub = runners[0].resources.get(WebSocketHub, (WebSocketServer, "rooms"))
    for number in range(3):
        hub.broadcast("tea", "event", number)
    for socket in sockets:
        assert [socket.wait_for_event("event")[1] for _ in range(3)] == [0, 1, 2]
        assert socket.get_event_queue("event").empty()
        socket.close()


def test_alone_a_channel_may_be_any_key(serve: Serve, connect: Connect) -> None:
    """As in nameko: nobody else has to know its name."""
    site = serve(Rooms, websocket_broadcast="process")
    hub = site.container.resource(WebSocketHub, (WebSocketServer, "rooms"))
    socket = connect(site)
    for channel in (("order", 7), ("order", 3), "all"):
        hub.subscribe(socket.socket_id, channel)
    assert hub.get_subscriptions(socket.socket_id) == ["all", ("order", 3), ("order", 7)]
    hub.broadcast(("order", 7), "event", 7)
    assert socket.wait_for_event("event") == ("event", 7)
