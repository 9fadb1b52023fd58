"""Websockets at a stop: closed with 1001 in order, within bounds."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from raw_websocket import RawWebSocket
from waiting import wait_until
from wsproto.events import CloseConnection

from rpcservice import ServiceRunner, WebSocketHubProvider, on_connect, on_disconnect, rpc, websocket_rpc
from rpcservice.concurrency import green
from rpcservice.errors import MethodNotFound, RpcServiceError
from rpcservice.testing import VirtualSocket
from rpcservice.testing.websocket import HandshakeRefused
from rpcservice.web import websocket_socket
from rpcservice.web.websocket_server import WebSocketServer

Serve = Callable[..., Any]
Background = Callable[..., Any]
Connect = Callable[..., VirtualSocket]


class Gate:
    name = "gate"
    hub = WebSocketHubProvider()
    seen: list[Any] = []
    entered: Any = None
    opened: Any = None

    @on_connect
    def enter(self, socket_id: str, request: Any) -> None:
        if request.args.get("wait"):
            self.entered.set()
            assert self.opened.wait(10)

    @websocket_rpc
    def wait(self, socket_id: str) -> str:
        self.entered.set()
        assert self.opened.wait(10)
        self.seen.append("waited")
        return "waited"

    @websocket_rpc
    def say(self, socket_id: str, text: str) -> str:
        self.seen.append(text)
        return text

    @on_disconnect
    def leave(self, socket_id: str, code: int) -> None:
        self.seen.append(code)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Gate.seen, Gate.entered, Gate.opened = [], green().event(), green().event()


@pytest.fixture
def site(serve: Serve) -> Any:
    return serve(Gate)


def socket_to(site: Any, path: str = "/ws") -> VirtualSocket:
    return VirtualSocket(*site.address, path)


def test_idle_websockets_are_closed_with_1001(site: Any, connect: Connect) -> None:
    sockets = [connect(site) for _ in range(3)]
    began = monotonic()
    site.container.stop()
    assert [socket.wait_closed() for socket in sockets] == [1001] * 3
    assert Gate.seen == [1001] * 3
    assert monotonic() - began < 3


def test_the_call_under_way_is_answered_first(site: Any, connect: Connect) -> None:
    socket = connect(site)
    results: list[Any] = []
    call = green().spawn(lambda: results.append(socket.rpc("wait")))
    assert Gate.entered.wait(5)
    stop = green().spawn(site.container.stop)
    server = site.container.resource(WebSocketServer)
    wait_until(lambda: server.is_closing)
    assert socket.close_code is None
    Gate.opened.set()
    assert call.wait(5) and stop.wait(5)
    assert results == ["waited"]
    assert socket.wait_closed() == 1001
    assert Gate.seen == ["waited", 1001]


def test_calls_behind_it_are_not_begun(site: Any, background: Background) -> None:
    def run() -> list[Any]:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            client.call("wait", 1)
            client.call("say", 2, text="too late")
            first = client.next_frame()
            return [first["correlation_id"], client.read_to_close()]

    reading = background(run)
    assert Gate.entered.wait(5)
    (socket,) = site.container.resource(WebSocketServer).sockets.values()
    wait_until(lambda: socket._inbox)
    stop = green().spawn(site.container.stop)
    wait_until(lambda: socket._is_finishing)
    Gate.opened.set()
    assert reading.result() == [1, ([], 1001)]
    assert stop.wait(5)
    assert Gate.seen == ["waited", 1001]


def test_a_call_that_does_not_end_is_given_up_in_time(serve: Serve, connect: Connect) -> None:
    site = serve(Gate, shutdown_timeout=0.1)
    socket = connect(site)
    errors: list[Exception] = []

    def call() -> None:
        try:
            socket.rpc("wait")
        except RpcServiceError as exc:
            errors.append(exc)

    calling = green().spawn(call)
    assert Gate.entered.wait(5)
    began = monotonic()
    site.container.stop()
    assert monotonic() - began < 3
    assert calling.wait(5)
    assert errors
    assert socket.wait_closed() == 1001


def test_a_client_that_does_not_take_the_close_does_not_hold_the_stop(
    site: Any, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_socket, "CLOSE_TIMEOUT", 0.2)

    def run() -> list[Any]:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            return [client.next_event(), client.next_event()]

    reading = background(run)
    wait_until(lambda: site.container.resource(WebSocketServer).sockets)
    began = monotonic()
    site.container.stop()
    assert monotonic() - began < 3
    close, end = reading.result()
    assert isinstance(close, CloseConnection)
    assert (int(close.code), end) == (1001, None)
    assert Gate.seen == [1001]


def test_a_websocket_that_is_being_opened_is_closed_at_once(site: Any) -> None:
    socket = socket_to(site, "/ws?wait=1")
    opening = green().spawn(socket.connect)
    assert Gate.entered.wait(5)
    stop = green().spawn(site.container.stop)
    wait_until(lambda: site.container.resource(WebSocketServer).is_closing)
    Gate.opened.set()
    assert socket.wait_closed() == 1001
    assert opening.wait(5) and stop.wait(5)


def test_no_websocket_is_opened_while_services_stop(site: Any, background: Background) -> None:
    """Over a connection that was there before; new ones are not accepted at all."""
    server = site.container.resource(WebSocketServer)
    server.is_closing = True
    with pytest.raises(HandshakeRefused) as caught:
        socket_to(site).connect()
    assert caught.value.status == 503


def test_a_kill_breaks_the_connections(site: Any, connect: Connect) -> None:
    socket = connect(site)
    site.container.kill()
    assert socket.wait_closed() in (1001, 1006)
    wait_until(lambda: not site.container.resource(WebSocketServer).sockets)


def test_a_call_that_is_killed_is_told(site: Any, connect: Connect) -> None:
    socket = connect(site)
    errors: list[str] = []

    def call() -> None:
        try:
            socket.rpc("wait")
        except RpcServiceError as exc:
            errors.append(f"{exc}")

    calling = green().spawn(call)
    assert Gate.entered.wait(5)
    site.container.kill()
    assert calling.wait(5)
    assert len(errors) == 1


def test_a_service_that_stops_alone_leaves_the_websockets_to_the_others(
    runner_factory: Callable[..., ServiceRunner],
) -> None:
    class Other:
        name = "other"

        @websocket_rpc
        def other(self, socket_id: str) -> str:
            return "here"

    runner = runner_factory(Gate, Other)
    runner.start()
    with VirtualSocket(*runner.resources.get(WebSocketServer).web_server.address) as socket:
        runner.containers["gate"].stop()
        assert socket.rpc("other") == "here"
        with pytest.raises(MethodNotFound):
            socket.rpc("say", text="gone")
        assert Gate.seen == []


def test_a_hub_without_methods_closes_its_websockets_too(serve: Serve, connect: Connect) -> None:
    class Quiet:
        name = "quiet"
        hub = WebSocketHubProvider()

        @rpc
        def tell(self, text: str) -> None:
            self.hub.broadcast("news", "told", text)

    site = serve(Quiet)
    socket = connect(site)
    site.container.stop()
    assert socket.wait_closed() == 1001
