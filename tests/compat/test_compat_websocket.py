"""Websockets under nameko's names; its suite of tests/compat/nameko_suite has them too, with its own client."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from under_nameko import standing_in
from werkzeug.routing import Rule

from rpcservice import errors
from rpcservice.testing.websocket import VirtualSocket

with standing_in():
    from nameko.exceptions import ConnectionNotFound, IncorrectSignature, MalformedRequest
    from nameko.extensions import DependencyProvider
    from nameko.runners import ServiceRunner
    from nameko.web.server import WebServer
    from nameko.web.websocket import Connection, WebSocketHubProvider, WebSocketRpc, WebSocketServer
    from nameko.web.websocket import rpc as on_call

Open = Callable[..., Any]


@pytest.fixture
def serve() -> Iterator[Callable[..., Open]]:
    """Run services on a free port; gives the function that opens websockets."""
    runners: list[Any] = []
    opened: list[Any] = []

    def start(*services: type) -> Open:
        runner = ServiceRunner({"WEB_SERVER_ADDRESS": "127.0.0.1:0"})
        for service in services:
            runner.add_service(service)
        runners.append(runner)
        runner.start()
        from rpcservice.web.server import WebServer as Site

        host, port = runner.resources.get(Site).address

        def open_socket(path: str = "/ws", **options: Any) -> Any:
            opened.append(VirtualSocket(host, port, path, **options).connect())
            return opened[-1]

        return open_socket

    yield start
    for socket in opened:
        socket.close()
    for runner in runners:
        runner.stop()


class Context(DependencyProvider):
    """Injects the context data."""

    def get_dependency(self, worker_ctx: Any) -> Any:
        return worker_ctx.data


class Chat:
    name = "chat"

    hub = WebSocketHubProvider()
    context = Context()

    @on_call
    def join(self, socket_id: str, room: str) -> Any:
        self.hub.subscribe(socket_id, room)
        return self.hub.get_subscriptions(socket_id)

    @on_call
    def leave(self, socket_id: str, room: str) -> Any:
        self.hub.unsubscribe(socket_id, room)
        return self.hub.get_subscriptions(socket_id)

    @on_call
    def say(self, socket_id: str, room: str, text: str) -> None:
        self.hub.broadcast(room, "said", {"text": text})

    @on_call
    def whisper(self, socket_id: str, to: str) -> Any:
        return self.hub.unicast(to, "whispered", socket_id)

    @on_call
    def find(self, socket_id: str, other: str) -> None:
        self.hub.subscribe(other, "room")

    @on_call
    def count(self, socket_id: str) -> Any:
        self.context["calls"] = self.context.get("calls", 0) + 1
        return self.context["calls"]


def test_a_socket_is_told_its_id(serve: Callable[..., Open]) -> None:
    socket = serve(Chat)()
    assert socket.wait_for_event("connected") == ("connected", {"socket_id": socket.socket_id})
    assert len(socket.socket_id) == 36


def test_subscribers_hear_what_is_broadcast(serve: Callable[..., Open]) -> None:
    connect = serve(Chat)
    one, two = connect(), connect()
    assert one.rpc("join", room="b") == ["b"]
    assert one.rpc("join", room="a") == ["a", "b"]
    two.rpc("say", room="a", text="hello")
    assert one.wait_for_event("said") == ("said", {"text": "hello"})
    assert one.rpc("leave", room="a") == ["b"]


def test_one_socket_is_reached_or_not(serve: Callable[..., Open]) -> None:
    connect = serve(Chat)
    one, two = connect(), connect()
    assert two.rpc("whisper", to=one.socket_id) is True
    assert one.wait_for_event("whispered") == ("whispered", two.socket_id)
    assert two.rpc("whisper", to="nobody") is False


@pytest.mark.parametrize(
    ("method", "data", "error"),
    [
        ("nothing", {}, errors.MethodNotFound),
        ("join", {"colour": "red"}, IncorrectSignature),
        ("find", {"other": "nobody"}, ConnectionNotFound),
    ],
)
def test_errors_come_back(serve: Callable[..., Open], method: str, data: Any, error: type) -> None:
    with pytest.raises(error):
        serve(Chat)().rpc(method, **data)


def test_context_data_is_shared_by_the_calls_of_a_socket(serve: Callable[..., Open]) -> None:
    connect = serve(Chat)
    one = connect()
    assert [one.rpc("count"), one.rpc("count"), connect().rpc("count")] == [1, 2, 1]


def test_pages_from_anywhere_may_connect(serve: Callable[..., Open]) -> None:
    """As to nameko; ``rpcservice: {websocket_origins: []}`` lets in those of the same site only."""
    assert serve(Chat)(headers={"Origin": "https://elsewhere.example"}).rpc("count") == 1


class TokenServer(WebServer):
    """Takes a token from a header."""

    def context_data_from_headers(self, request: Any) -> dict[str, Any]:
        return {"auth_token": request.headers.get("X-Token")}


class OwnServer(WebSocketServer):
    """Other URL, other frames."""

    wsgi_server = TokenServer()

    def get_url_rule(self) -> Rule:
        return Rule("/own", methods=["GET"], websocket=True)

    def deserialize_ws_frame(self, payload: str) -> Any:
        method, data, correlation_id = super().deserialize_ws_frame(payload)
        return method.replace("shout", "say"), data, correlation_id

    def serialize_event(self, event: str, data: Any) -> str:
        return super().serialize_event(event, {"wrapped": data} if event == "told" else data)


class OwnRpc(WebSocketRpc):
    server = OwnServer()


class OwnHub(WebSocketHubProvider):
    server = OwnServer()


class Own:
    name = "own"

    hub = OwnHub()
    context = Context()

    @OwnRpc.decorator
    def say(self, socket_id: str) -> Any:
        self.hub.unicast(socket_id, "told", 1)
        return self.context["auth_token"]


def test_a_server_of_one_s_own_has_another_url_and_other_frames(serve: Callable[..., Open]) -> None:
    """Each method is its own to override; context data comes from its web server."""
    connect = serve(Own, Chat)
    socket = connect("/own", headers={"X-Token": "secret"})
    assert socket.rpc("shout") == "secret"
    assert socket.wait_for_event("told") == ("told", {"wrapped": 1})
    assert connect("/ws").rpc("count") == 1
    with pytest.raises(errors.MethodNotFound):
        connect("/ws").rpc("say_nothing")


def test_frames_that_are_no_requests_are_malformed() -> None:
    """The method can be called by itself."""
    server = WebSocketServer()
    assert server.deserialize_ws_frame('{"method": "m", "data": null}') == ("m", {}, None)
    for text in ("no json", "[]", "{}"):
        with pytest.raises(MalformedRequest, match="Invalid JSON data"):
            server.deserialize_ws_frame(text)
    assert server.serialize_event("e", 1) == '{"type":"event","event":"e","data":1}'


def test_a_connection_begins_without_subscriptions() -> None:
    connection = Connection("id", {"language": "de"})
    assert (connection.socket_id, connection.context_data, connection.subscriptions) == (
        "id",
        {"language": "de"},
        set(),
    )
