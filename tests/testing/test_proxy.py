import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from rpcservice.testing import RabbitMQNode, TcpProxy, free_ports


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """The address of a server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server,), daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_send_back, args=(connection,), daemon=True).start()


def _send_back(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            return


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[TcpProxy]:
    with TcpProxy(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[socket.socket]:
    """A connection through the proxy to the echo server."""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        proxy.wait_for_connections(1)
        yield client


def test_bytes_go_there_and_back(client: socket.socket) -> None:
    client.sendall(b"hello")
    assert client.recv(10) == b"hello"


def test_a_large_stream_arrives_whole(client: socket.socket) -> None:
    """More than fits into the kernel's buffers: the proxy slows the faster side down and loses nothing."""
    sent = os.urandom(8_000_000)
    writer = threading.Thread(target=client.sendall, args=(sent,))
    writer.start()
    received = bytearray()
    while len(received) < len(sent):
        received += client.recv(1 << 20)
    writer.join(10)
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


def test_connections_are_counted(proxy: TcpProxy, client: socket.socket) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), 10):
        proxy.wait_for_connections(2)
    proxy.wait_for_connections(1)
    assert proxy.accepted == 2


def test_waiting_for_connections_that_do_not_come_ends(proxy: TcpProxy) -> None:
    with pytest.raises(TimeoutError, match=r"0 connections through the proxy after 0\.05 s, not 3"):
        proxy.wait_for_connections(3, timeout=0.05)


def test_a_black_hole_keeps_sockets_open_and_silent_until_resumed(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.black_hole()
    client.sendall(b"held")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)
    proxy.resume()
    client.settimeout(10)
    assert client.recv(10) == b"held"


def test_black_holes_in_the_midst_of_traffic_lose_nothing(proxy: TcpProxy, client: socket.socket) -> None:
    """Sockets that were ready when the command came are not served with it."""
    sent = os.urandom(20_000_000)
    writer = threading.Thread(target=client.sendall, args=(sent,))
    writer.start()
    received = bytearray()
    while len(received) < len(sent):
        proxy.black_hole()
        proxy.resume()
        received += client.recv(1 << 18)
    writer.join(10)
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


def test_who_connects_to_a_black_hole_is_served_once_it_is_resumed(proxy: TcpProxy) -> None:
    proxy.black_hole()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as late:
        late.sendall(b"late")
        proxy.resume()
        assert late.recv(10) == b"late"


def test_dropped_connections_are_closed_and_new_ones_are_served(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.drop()
    assert client.recv(10) == b""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        other.sendall(b"again")
        assert other.recv(10) == b"again"


def test_connections_held_in_a_black_hole_can_be_dropped(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.black_hole()
    proxy.drop()
    assert client.recv(10) == b""


def test_a_stream_is_cut_where_the_test_says_and_new_connections_are_served(
    proxy: TcpProxy, client: socket.socket
) -> None:
    """What comes back counts as well."""
    client.sendall(b"0123")
    assert client.recv(10) == b"0123"
    proxy.cut(10)
    client.sendall(b"4567")
    assert client.recv(10) == b"4567"
    client.sendall(b"89abcdef")
    assert client.recv(10) == b""
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        other.sendall(b"0123456789abcdef")
        assert other.recv(20) == b"0123456789abcdef"


def test_what_comes_before_the_cut_arrives() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        TcpProxy(server.getsockname()) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 10) as client,
        server.accept()[0] as peer,
    ):
        proxy.cut(5)
        client.sendall(b"0123456789")
        peer.settimeout(10)
        assert (peer.recv(20), peer.recv(20)) == (b"01234", b"")


def test_bytes_are_late_in_both_directions_and_in_order(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.delay(0.2)
    sent = monotonic()
    for piece in (b"first ", b"second ", b"last"):
        client.sendall(piece)
    received = b""
    while received != b"first second last":
        received += client.recv(20)
    assert monotonic() - sent >= 0.4
    proxy.delay(0)
    client.sendall(b"at once")
    assert client.recv(20) == b"at once"


def test_a_large_stream_that_is_late_arrives_whole(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.delay(0.05)
    sent = os.urandom(3_000_000)
    writer = threading.Thread(target=client.sendall, args=(sent,))
    writer.start()
    received = bytearray()
    while len(received) < len(sent):
        received += client.recv(1 << 20)
    writer.join(10)
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()


def test_a_refusing_proxy_looks_like_a_server_that_is_down(proxy: TcpProxy, client: socket.socket) -> None:
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), 10)
    proxy.resume()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as other:
        other.sendall(b"back")
        assert other.recv(10) == b"back"


def test_a_client_is_closed_when_the_target_is_away() -> None:
    with (
        TcpProxy(("127.0.0.1", free_ports(1)[0])) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), 10) as client,
    ):
        assert client.recv(10) == b""


def test_a_closed_proxy_gives_its_port_free(echo: tuple[str, int]) -> None:
    proxy = TcpProxy(echo)
    proxy.close()
    with socket.create_server(("127.0.0.1", proxy.port)) as server:
        assert server.getsockname()[1] == proxy.port


def test_the_uri_of_a_broker_is_led_through_the_proxy(echo: tuple[str, int]) -> None:
    with TcpProxy(f"amqp://guest:secret@localhost:{echo[1]}/a%2Fb") as proxy:
        assert proxy.uri == f"amqp://guest:secret@127.0.0.1:{proxy.port}/a%2Fb"


@pytest.mark.parametrize(("uri", "port"), [("amqp://host/", 5672), ("amqps://host/", 5671), ("amqp://host:7/", 7)])
def test_the_port_of_a_uri_follows_its_scheme(uri: str, port: int) -> None:
    with TcpProxy(uri) as proxy:
        assert proxy.target == ("host", port)


@pytest.mark.broker
def test_an_amqp_connection_works_through_the_proxy(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> None:
    import kombu

    with TcpProxy(rabbitmq_uri) as proxy, kombu.Connection(proxy.uri) as connection:
        connection.channel().queue_declare("q")
        assert set(rabbitmq.queues(rabbitmq_uri)) == {"q"}


_ECHO_THROUGH = """
import socket, threading
from rpcservice.testing import TcpProxy
server = socket.create_server(("127.0.0.1", 0))
def serve():
    connection, _ = server.accept()
    connection.sendall(connection.recv(10))
threading.Thread(target=serve, daemon=True).start()
with TcpProxy(server.getsockname()) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
    client.sendall(b"hello")
    print(type(socket.socket).__module__, socket.socket.__module__, client.recv(10))
"""


@pytest.mark.parametrize(
    ("first", "module"), [("", "socket"), ("import rpcservice.testing.patch\n", "eventlet.greenio.base")]
)
def test_it_works_in_patched_and_unpatched_processes(first: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", first + _ECHO_THROUGH], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split(None, 1)[1].strip() == f"{module} b'hello'"


def test_all_of_this_holds_in_an_unpatched_process() -> None:
    """The suite itself runs patched."""
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(
        [*command, "-m", "not broker", "-k", "not process"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout
