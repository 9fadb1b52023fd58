"""Websockets of clients that are slow, silent, greedy or broken."""

import socket as sockets
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from raw_websocket import RawWebSocket
from waiting import wait_until
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from rpcservice import WebSocketHubProvider, on_disconnect, websocket_rpc
from rpcservice.concurrency import green
from rpcservice.testing import VirtualSocket
from rpcservice.web import websocket_socket
from rpcservice.web.websocket_hub import WebSocketHub
from rpcservice.web.websocket_server import WebSocketServer

Serve = Callable[..., Any]
Background = Callable[..., Any]


class Feed:
    name = "feed"
    hub = WebSocketHubProvider()
    gone: list[int] = []
    running: list[int] = []
    gate: Any = None

    @websocket_rpc
    def follow(self, socket_id: str) -> None:
        self.hub.subscribe(socket_id, "news")

    @websocket_rpc
    def echo(self, socket_id: str, text: str = "") -> str:
        return text

    @websocket_rpc
    def wait(self, socket_id: str, number: int = 0, text: str = "") -> int:
        self.running.append(number)
        assert self.gate.wait(10)
        return number

    @websocket_rpc
    def large(self, socket_id: str) -> str:
        return "x" * 300_000

    @on_disconnect
    def leave(self, socket_id: str, code: int) -> None:
        self.gone.append(code)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Feed.gone, Feed.running, Feed.gate = [], [], green().event()


def server_of(site: Any) -> WebSocketServer:
    server: WebSocketServer = site.container.resource(WebSocketServer)
    return server


def hub_of(site: Any) -> WebSocketHub:
    hub: WebSocketHub = site.container.resource(WebSocketHub, (WebSocketServer, "feed"))
    return hub


def only_socket(site: Any) -> Any:
    (socket,) = server_of(site).sockets.values()
    return socket


def test_a_message_that_is_too_large_closes_with_1009(serve: Serve, background: Background) -> None:
    site = serve(Feed, websocket_max_message_size=1000)

    def run() -> int:
        with RawWebSocket(site.address) as client:
            client.send_event(TextMessage(data="x" * 1001))
            return client.read_to_close()[1]

    assert background(run).result() == 1009
    wait_until(lambda: Feed.gone == [1009])


def test_a_client_in_the_middle_of_a_large_message_reads_why_it_is_closed(serve: Serve, background: Background) -> None:
    """It goes on sending for a while: were that not read, the connection would be reset under the answer."""
    site = serve(Feed, websocket_max_message_size=1000)

    def run() -> int:
        with RawWebSocket(site.address) as client:
            client.send_event(TextMessage(data="x" * 3_000_000))
            return client.read_to_close()[1]

    assert background(run).result() == 1009


def test_a_bomb_is_not_inflated(serve: Serve, background: Background) -> None:
    site = serve(Feed, websocket_max_message_size=10_000)

    def run() -> int:
        with RawWebSocket(site.address, deflate=True) as client:
            client.send_event(TextMessage(data="x" * 20_000_000))
            return client.read_to_close()[1]

    assert background(run).result() == 1009


def test_a_binary_message_closes_with_1003(serve: Serve, background: Background) -> None:
    site = serve(Feed)

    def run() -> int:
        with RawWebSocket(site.address) as client:
            client.send_event(BytesMessage(data=b"\x00\x01"))
            return client.read_to_close()[1]

    assert background(run).result() == 1003
    wait_until(lambda: Feed.gone == [1003])


def test_bytes_that_are_no_frames_close_with_1002(serve: Serve, background: Background) -> None:
    site = serve(Feed)

    def run() -> int:
        with RawWebSocket(site.address) as client:
            client.send_bytes(b"GET / HTTP/1.1\r\n\r\n")
            return client.read_to_close()[1]

    assert background(run).result() == 1002


def test_a_ping_is_answered_while_a_call_runs(serve: Serve, background: Background) -> None:
    site = serve(Feed)

    def run() -> Any:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            client.call("wait")
            client.send_event(Ping(payload=b"there?"))
            return client.next_event()

    assert background(run).result() == Pong(payload=b"there?")
    Feed.gate.set()


def test_a_silent_client_is_pinged_and_then_given_up(serve: Serve, background: Background) -> None:
    site = serve(Feed, websocket_ping_interval=0.1)

    def run() -> list[Any]:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            return [client.next_event(), client.next_event()]

    ping, end = background(run).result()
    assert isinstance(ping, Ping)
    assert end is None
    wait_until(lambda: Feed.gone == [1006])


def test_a_client_that_answers_pings_is_kept(serve: Serve, background: Background) -> None:
    site = serve(Feed, websocket_ping_interval=0.1)

    def run() -> Any:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            for _ in range(5):
                ping = client.next_event()
                assert isinstance(ping, Ping)
                client.pong(ping)
            client.call("echo", text="still here")
            return client.next_frame()["data"]

    assert background(run).result() == "still here"


def test_pings_can_be_turned_off(serve: Serve, background: Background) -> None:
    site = serve(Feed, websocket_ping_interval=0)
    with VirtualSocket(*site.address) as client:
        assert client.rpc("echo", text="hello") == "hello"
        assert server_of(site)._sweep is None


def test_nothing_is_swept_when_all_are_gone(serve: Serve) -> None:
    site = serve(Feed, websocket_ping_interval=0.05)
    with VirtualSocket(*site.address) as client:
        client.rpc("echo")
    wait_until(lambda: server_of(site)._sweep is None)


def test_a_slow_reader_is_closed_with_1013(serve: Serve, background: Background) -> None:
    """Its queue is bounded, others are served meanwhile, and when it reads on it learns why."""
    site = serve(Feed, websocket_send_buffer=100_000)
    follows, is_closed = green().event(), threading.Event()

    def run() -> Any:
        with RawWebSocket(site.address, receive_buffer=4096) as client:
            client.next_frame()
            client.call("follow")
            client.next_frame()
            green_post(follows.set)
            assert is_closed.wait(10)
            return client.read_to_close()

    green_post = green().post
    reading = background(run)
    assert follows.wait(5)
    slow = only_socket(site)
    with VirtualSocket(*site.address) as quick:
        quick.rpc("follow")
        most, sent = 0, 0
        while slow.is_open:
            assert sent < 10_000, "the slow reader was not closed"
            hub_of(site).broadcast("news", "item", "x" * 10_000)
            sent += 1
            assert quick.wait_for_event("item")[0] == "item"
            most = max(most, slow._unsent)
        assert most <= 110_000
        assert not hub_of(site).unicast(slow.socket_id, "item", None)
        is_closed.set()
        events, code = reading.result()
    assert code == 1013
    assert sum(event.message_finished for event in events) < sent
    wait_until(lambda: Feed.gone[:1] == [1013])


def test_a_slow_reader_that_never_reads_is_cut_off(
    serve: Serve, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_socket, "CLOSE_TIMEOUT", 0.1)
    site = serve(Feed, websocket_send_buffer=1000)

    def run() -> RawWebSocket:
        client = RawWebSocket(site.address, receive_buffer=4096)
        client.next_frame()
        client.call("follow")
        client.next_frame()
        return client

    client = background(run).result()
    slow = only_socket(site)
    while slow.is_open:
        hub_of(site).broadcast("news", "item", "x" * 100_000)
    wait_until(lambda: Feed.gone == [1013])
    client.end()


def test_one_event_may_be_larger_than_the_buffer(serve: Serve) -> None:
    """It has to be somewhere; the limit is for what piles up."""
    site = serve(Feed, websocket_send_buffer=1000)
    with VirtualSocket(*site.address) as client:
        client.rpc("follow")
        hub_of(site).broadcast("news", "item", "x" * 5_000_000)
        assert len(client.wait_for_event("item")[1]) == 5_000_000


def test_a_client_that_asks_faster_than_it_reads_is_slowed_down(serve: Serve, background: Background) -> None:
    """It gets every result, and no more than a few of them are waiting at any time."""
    site = serve(Feed, websocket_send_buffer=100_000)
    asked, may_read = green().event(), threading.Event()
    post = green().post

    def run() -> list[Any]:
        with RawWebSocket(site.address, receive_buffer=4096) as client:
            client.next_frame()
            for number in range(50):
                client.call("large", number)
            post(asked.set)
            assert may_read.wait(10)
            return [client.next_frame() for _ in range(50)]

    reading = background(run)
    assert asked.wait(5)
    socket = only_socket(site)
    wait_until(lambda: socket._unsent > 100_000)
    assert socket._unsent < 1_000_000
    may_read.set()
    frames = reading.result()
    assert [frame["correlation_id"] for frame in frames] == list(range(50))
    assert {len(frame["data"]) for frame in frames} == {300_000}


def test_no_more_is_read_than_can_be_handled(serve: Serve, background: Background) -> None:
    """While a call runs, a bounded number of further ones waits in memory; the rest stays with the client."""
    site = serve(Feed, websocket_max_message_size=20_000)

    def run() -> int:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            client._socket.settimeout(0.3)
            sent = 0
            try:
                while sent < 10_000:
                    client.call("wait", number=sent, text="x" * 10_000)
                    sent += 1
            except TimeoutError:
                return sent
            raise AssertionError("the server takes whatever comes")

    sending = background(run)
    wait_until(lambda: Feed.running)
    socket = only_socket(site)
    wait_until(lambda: socket._is_paused)
    assert socket._waiting_size <= 20_000
    sending.result()
    Feed.gate.set()
    wait_until(lambda: Feed.gone)


def test_a_client_that_waits_for_a_long_call_is_not_given_up(serve: Serve, background: Background) -> None:
    """Its pongs are among what is not read yet."""
    site = serve(Feed, websocket_ping_interval=0.05, websocket_max_message_size=300)

    def run() -> list[Any]:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            for number in range(5):
                client.call("wait", number, number=number, text="x" * 200)
            results: list[Any] = []
            while len(results) < 5:
                event = client.next_event()
                if isinstance(event, Ping):
                    client.pong(event)
                else:
                    assert isinstance(event, TextMessage), event
                    results.append(event)
            return results

    reading = background(run)
    wait_until(lambda: Feed.running)
    socket = only_socket(site)
    wait_until(lambda: socket._is_paused)
    green().sleep(0.3)
    assert socket.is_open
    Feed.gate.set()
    assert len(reading.result()) == 5


def test_a_client_that_vanishes_during_a_call_is_cleaned_up(serve: Serve, background: Background) -> None:
    site = serve(Feed)

    def run() -> None:
        client = RawWebSocket(site.address)
        client.call("wait")
        client.next_frame()
        client._socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        client.end()

    background(run).result()
    wait_until(lambda: Feed.running)
    Feed.gate.set()
    wait_until(lambda: Feed.gone == [1006])
    assert server_of(site).sockets == {}


def test_a_client_that_does_not_take_the_close_is_cut_off(
    serve: Serve, background: Background, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_socket, "CLOSE_TIMEOUT", 0.1)
    site = serve(Feed)

    def run() -> list[Any]:
        with RawWebSocket(site.address) as client:
            client.next_frame()
            return [client.next_event(), client.next_event()]

    reading = background(run)
    wait_until(lambda: server_of(site).sockets)
    only_socket(site).close(4000, "enough")
    close, end = reading.result()
    assert close == CloseConnection(code=4000, reason="enough")
    assert end is None


def test_websockets_count_as_connections(serve: Serve) -> None:
    site = serve(Feed, http_max_connections=1)
    with VirtualSocket(*site.address):
        assert site.get("/nothing").status == 503
