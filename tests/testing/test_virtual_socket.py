"""VirtualSocket and make_virtual_socket: the client that tests of websockets use."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import WebSocketHubProvider, WebSocketRefused, on_connect, websocket_rpc
from rpcservice.concurrency import green
from rpcservice.errors import ConnectionLost, IncorrectSignature, RpcTimeout
from rpcservice.testing import VirtualSocket, make_virtual_socket
from rpcservice.testing import websocket as module
from rpcservice.testing.websocket import HandshakeRefused
from rpcservice.web.websocket_server import WebSocketServer


class Echo:
    name = "echo"
    hub = WebSocketHubProvider()
    gate: Any = None

    @on_connect
    def enter(self, socket_id: str, request: Any) -> None:
        if request.headers.get("Name") == "eve":
            raise WebSocketRefused(4003, "not eve")

    @websocket_rpc
    def say(self, socket_id: str, text: str) -> str:
        return text

    @websocket_rpc
    def wait(self, socket_id: str) -> None:
        self.gate.wait(10)

    @websocket_rpc
    def tell(self, socket_id: str, event: str, data: Any) -> None:
        self.hub.unicast(socket_id, event, data)


@pytest.fixture
def server(container_factory: Callable[..., Any]) -> WebSocketServer:
    Echo.gate = green().event()
    container = container_factory(Echo)
    container.start()
    found: WebSocketServer = container.resource(WebSocketServer)
    return found


@pytest.fixture
def address(server: WebSocketServer) -> tuple[str, int]:
    return server.web_server.address


def test_it_calls_methods(address: tuple[str, int]) -> None:
    with VirtualSocket(*address) as socket:
        assert socket.rpc("say", text="hello") == "hello"


def test_it_raises_what_a_method_raised(address: tuple[str, int]) -> None:
    with VirtualSocket(*address) as socket, pytest.raises(IncorrectSignature):
        socket.rpc("say")


def test_it_keeps_events_by_their_type(address: tuple[str, int]) -> None:
    with VirtualSocket(*address) as socket:
        for number in range(2):
            socket.rpc("tell", event="a", data=number)
            socket.rpc("tell", event="b", data=number)
        assert socket.get_event_queue("a").qsize() == 2
        assert socket.wait_for_event("b") == ("b", 0)
        assert [socket.get_event_queue("a").get() for _ in range(2)] == [("a", 0), ("a", 1)]
        assert socket.get_event_queue("a").empty()


def test_the_first_event_is_there_too(address: tuple[str, int]) -> None:
    with VirtualSocket(*address) as socket:
        assert socket.wait_for_event("connected") == ("connected", {"socket_id": socket.socket_id})


def test_an_event_that_does_not_come_is_named(address: tuple[str, int]) -> None:
    with VirtualSocket(*address) as socket, pytest.raises(TimeoutError, match=r"no event 'never' came within 0\.01 s"):
        socket.wait_for_event("never", timeout=0.01)


def test_a_call_that_is_not_answered_ends(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    with VirtualSocket(*address) as socket:
        monkeypatch.setattr(module, "LIMIT", 0.05)
        with pytest.raises(RpcTimeout):
            socket.rpc("wait")
        Echo.gate.set()
        monkeypatch.undo()


def test_a_call_ends_with_the_websocket(address: tuple[str, int], server: WebSocketServer) -> None:
    with VirtualSocket(*address) as socket:
        errors: list[str] = []

        def call() -> None:
            try:
                socket.rpc("wait")
            except ConnectionLost as exc:
                errors.append(f"{exc}")

        calling = green().spawn(call)
        (known,) = server.sockets.values()
        wait_until(lambda: known._is_handling)
        known.close(4000, "enough")
        assert calling.wait(5)
        assert errors == ["the websocket was closed with code 4000"]
        assert (socket.wait_closed(), socket.close_reason) == (4000, "enough")
        Echo.gate.set()


def test_nothing_is_sent_on_a_closed_websocket(address: tuple[str, int]) -> None:
    socket = VirtualSocket(*address).connect()
    socket.close()
    socket.close()
    with pytest.raises(ConnectionLost, match="closed with code 1000"):
        socket.rpc("say", text="late")


def test_headers_are_sent_and_a_refusal_raises(address: tuple[str, int]) -> None:
    with pytest.raises(WebSocketRefused, match="4003: not eve"):
        VirtualSocket(*address, headers={"Name": "eve"}).connect()


def test_a_path_that_opens_no_websocket_raises(address: tuple[str, int]) -> None:
    with pytest.raises(HandshakeRefused, match="status 404"):
        VirtualSocket(*address, "/nothing").connect()


def test_a_port_that_nobody_listens_on_raises(server: WebSocketServer) -> None:
    from rpcservice.testing import free_ports

    (port,) = free_ports(1)
    with pytest.raises(ConnectionRefusedError):
        VirtualSocket("127.0.0.1", port).connect()


def test_waiting_for_a_close_has_a_limit(address: tuple[str, int]) -> None:
    with VirtualSocket(*address) as socket, pytest.raises(TimeoutError, match=r"not closed within 0\.01 s"):
        socket.wait_closed(0.01)


def test_namekos_way_to_make_one(address: tuple[str, int]) -> None:
    """A greenlet runs the application until that is closed."""
    app, connect = make_virtual_socket(*address, "/ws")
    running = green().spawn(app.run_forever)
    socket = connect()
    assert socket.rpc("say", text="hello") == "hello"
    app.close()
    assert running.wait(5)


def run_python(code: str) -> Any:
    """Run code in a process of its own, which is not patched."""
    # Not measured: coverage itself imports eventlet.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def test_it_needs_no_patched_process() -> None:
    """Services and the client share a thread, of which the client blocks nothing."""
    code = """
import warnings; warnings.simplefilter("ignore")
from rpcservice import run_services, websocket_rpc
from rpcservice.testing import VirtualSocket

class Echo:
    name = "echo"
    @websocket_rpc
    def say(self, socket_id, text):
        return text

with run_services(Echo, config={"WEB_SERVER_ADDRESS": "127.0.0.1:0"}) as runner:
    from rpcservice.web.server import WebServer
    with VirtualSocket(*runner.resources.get(WebServer).address) as socket:
        print(len(socket.rpc("say", text="x" * 3_000_000)))
"""
    result = run_python(code)
    assert (result.stdout, result.stderr) == ("3000000\n", "")


@pytest.mark.parametrize(
    "use",
    [
        "from rpcservice.testing import VirtualSocket",
        "from rpcservice import ServiceContainer, websocket_rpc\n"
        "class Echo:\n"
        "    name = 'echo'\n"
        "    @websocket_rpc\n"
        "    def say(self, socket_id): ...\n"
        "ServiceContainer(Echo, {'WEB_SERVER_ADDRESS': '127.0.0.1:0'}).start()",
    ],
    ids=["the client", "a service"],
)
def test_a_missing_extra_is_named(use: str) -> None:
    code = f"import sys, warnings; warnings.simplefilter('ignore'); sys.modules['wsproto'] = None\n{use}"
    result = run_python(code)
    assert 'install it with: pip install "rpcservice[websocket]"\n' in result.stderr


def test_http_services_do_not_need_the_extra() -> None:
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from rpcservice import http, run_services

class Plain:
    name = "plain"
    @http("GET", "/")
    def get(self, request):
        return ""

with run_services(Plain, config={"WEB_SERVER_ADDRESS": "127.0.0.1:0"}):
    print([name for name in sys.modules if "wsproto" in name or "websocket" in name])
"""
    result = run_python(code)
    assert result.stdout == "[]\n"
