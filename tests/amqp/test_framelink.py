"""FrameLink on sockets: against a scripted server for what a real broker does not do on demand, else on RabbitMQ."""

from __future__ import annotations

import queue
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from amqp.serialization import dumps

from rpcservice.amqp import frames
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.link import Message
from rpcservice.amqp.properties import encode_properties
from rpcservice.concurrency import Backend, green, threads
from rpcservice.errors import ChannelClosed, ConfigError, ConnectionLost
from rpcservice.testing.rabbitmq import PASSWORD_PREFIX

if TYPE_CHECKING:
    from rpcservice.testing import RabbitMQNode, TcpProxy

LIMIT = 10.0
"""Seconds that anything may take before the test fails."""


class Inbox:
    """Collects what callbacks are called with."""

    def __init__(self) -> None:
        self._items: queue.Queue[Any] = queue.Queue()

    def __call__(self, *args: Any) -> None:
        self._items.put(args[0] if len(args) == 1 else args)

    def take(self) -> Any:
        return self._items.get(timeout=LIMIT)


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    payload = struct.pack(">HH", class_id, method_id) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


class FakeServer:
    """Speaks just enough AMQP to let a client in and to open channels; everything else is up to the test."""

    def __init__(self, heartbeat: int = 0, frame_max: int = 4096) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"amqp://guest:guest@127.0.0.1:{self._listener.getsockname()[1]}//"
        self.tune = dumps("BlB", (2047, frame_max, heartbeat))
        self.received: queue.Queue[tuple[int, int, bytes]] = queue.Queue()
        self.answers: dict[bytes, Callable[[int], bytes]] = {
            b"\x00\x0a\x00\x0b": lambda channel: method(0, 10, 30, self.tune),  # start-ok: tune
            b"\x00\x0a\x00\x28": lambda channel: method(0, 10, 41, b"\x00"),  # open: open-ok
            b"\x00\x14\x00\x0a": lambda channel: method(channel, 20, 11, b"\x00\x00\x00\x00"),
            b"\x00\x3c\x00\x14": lambda channel: method(channel, 60, 21, b"\x03tag"),
            b"\x00\x0a\x00\x32": lambda channel: method(0, 10, 51),  # close: close-ok
        }
        self.reads = threading.Event()
        self.reads.set()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        try:
            self._talk()
        except OSError as exc:
            # The test has closed the sockets, or the client has.
            self.end = exc

    def _talk(self) -> None:
        self.sock, _ = self._listener.accept()
        with self.sock, self.sock.makefile("rb") as stream:
            stream.read(8)
            self.send(method(0, 10, 10, b"\x00\x09" + dumps("FSS", ({}, "PLAIN AMQPLAIN", "en_US"))))
            while head := stream.read(7):
                self.reads.wait(LIMIT)
                kind, channel, size = struct.unpack(">BHI", head)
                payload = stream.read(size + 1)[:-1]
                if kind == 1 and payload[:4] in self.answers:
                    self.send(self.answers[payload[:4]](channel))
                self.received.put((kind, channel, payload))

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def take(self, kind: int, signature: bytes = b"") -> tuple[int, bytes]:
        """Wait for the next frame of a type, and of a method."""
        while True:
            found, channel, payload = self.received.get(timeout=LIMIT)
            if found == kind and payload.startswith(signature):
                return channel, payload

    def close(self) -> None:
        self._listener.close()
        if hasattr(self, "sock"):
            self.sock.close()


@pytest.fixture
def backend() -> Backend:
    """Greenlets in a patched process, threads in any other."""
    patcher = sys.modules.get("eventlet.patcher")
    return green() if patcher is not None and patcher.is_monkey_patched("socket") else threads()


@pytest.fixture
def make_server() -> Iterator[Callable[..., FakeServer]]:
    made: list[FakeServer] = []

    def make(**options: Any) -> FakeServer:
        made.append(FakeServer(**options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def connect(backend: Backend) -> Iterator[Callable[..., FrameLink]]:
    """Connect links that are closed after the test."""
    links: list[FrameLink] = []

    def make(uri: str, **options: Any) -> FrameLink:
        links.append(FrameLink(uri, backend, **options))
        links[-1].connect()
        return links[-1]

    yield make
    for link in links:
        link.close()


def run_beside(backend: Backend, count: int, function: Callable[[int], object]) -> None:
    """Run a function many times side by side; raises the first error."""
    errors: list[Exception] = []

    def run(number: int) -> None:
        try:
            function(number)
        except Exception as exc:
            errors.append(exc)

    tasks = [backend.spawn(run, number) for number in range(count)]
    for task in tasks:
        assert task.wait(LIMIT), "a task hangs"
    if errors:
        raise errors[0]


# Connecting


def test_a_port_that_nobody_listens_on_is_named(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    link = FrameLink(f"amqp://guest:secret@127.0.0.1:{port}//", backend)
    with pytest.raises(
        ConnectionLost, match=rf"cannot connect to amqp://guest:\*\*@127.0.0.1:{port}//: .*111"
    ) as caught:
        link.connect()
    assert "secret" not in str(caught.value)


def test_a_server_that_does_not_speak_is_given_up_in_time(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = FrameLink(f"amqp://127.0.0.1:{silent.getsockname()[1]}//", backend, connect_timeout=0.2)
        with pytest.raises(ConnectionLost, match=r"cannot connect to .*timed out"):
            link.connect()


def test_closing_before_connecting_does_nothing(backend: Backend) -> None:
    FrameLink("amqp://127.0.0.1:1//", backend).close()


def test_an_unknown_login_method_is_named(make_server: Callable[..., FakeServer], backend: Backend) -> None:
    link = FrameLink(make_server().uri, backend, login_method="PLIAN")
    with pytest.raises(ConfigError, match="LOGIN_METHOD is 'PLIAN'; give PLAIN, AMQPLAIN or EXTERNAL"):
        link.connect()


@pytest.mark.broker
def test_a_refused_login_is_named(rabbitmq: RabbitMQNode, backend: Backend) -> None:
    link = FrameLink(rabbitmq.uri.replace(PASSWORD_PREFIX, "wrong-"), backend)
    with pytest.raises(ConnectionLost, match=r"cannot connect to .*403.*ACCESS_REFUSED - Login was refused"):
        link.connect()


@pytest.mark.broker
def test_a_virtual_host_that_does_not_exist_is_named(rabbitmq: RabbitMQNode, backend: Backend) -> None:
    with pytest.raises(ConnectionLost, match=r"530.*vhost nowhere not found"):
        FrameLink(rabbitmq.uri_for("nowhere"), backend).connect()


@pytest.mark.broker
@pytest.mark.parametrize("login_method", ["PLAIN", "AMQPLAIN"])
def test_each_login_method_logs_in(rabbitmq_uri: str, connect: Callable[..., FrameLink], login_method: str) -> None:
    assert connect(rabbitmq_uri, login_method=login_method).channel().is_open


# TLS


@pytest.mark.broker
def test_tls_is_verified_against_the_given_authority(rabbitmq: RabbitMQNode, connect: Callable[..., FrameLink]) -> None:
    assert rabbitmq.certificates is not None
    link = connect(rabbitmq.uri_for("/", tls=True), ssl={"ca_certs": str(rabbitmq.certificates.ca)})
    received = Inbox()
    channel = link.channel()
    name = channel.declare_queue("", exclusive=True).name
    channel.consume(name, received, no_ack=True)
    body = bytes(range(256)) * 2000
    channel.publish(Message("", name, body, {}))
    assert received.take().body == body
    assert [row["ssl"] for row in rabbitmq.connections("/")] == [True]


@pytest.mark.broker
@pytest.mark.parametrize("setting", [True, None, {"cert_reqs": "required"}])
def test_an_authority_that_is_not_known_is_refused(rabbitmq: RabbitMQNode, backend: Backend, setting: Any) -> None:
    link = FrameLink(rabbitmq.uri_for("/", tls=True), backend, ssl=setting)
    with pytest.raises(ConnectionLost, match=r"cannot connect to .*certificate verify failed"):
        link.connect()


@pytest.mark.broker
def test_a_certificate_for_another_host_is_refused(rabbitmq: RabbitMQNode, backend: Backend) -> None:
    assert rabbitmq.certificates is not None
    options = {"ca_certs": str(rabbitmq.certificates.ca), "server_hostname": "other.example"}
    with pytest.raises(ConnectionLost, match=r"Hostname mismatch.*other\.example"):
        FrameLink(rabbitmq.uri_for("/", tls=True), backend, ssl=options).connect()


@pytest.mark.broker
def test_without_verification_any_certificate_will_do(
    rabbitmq: RabbitMQNode, connect: Callable[..., FrameLink]
) -> None:
    link = connect(rabbitmq.uri_for("/", tls=True), ssl={"cert_reqs": "none"})
    assert link.channel().declare_queue("", exclusive=True).messages == 0


@pytest.mark.broker
def test_a_client_certificate_is_shown(rabbitmq: RabbitMQNode, connect: Callable[..., FrameLink]) -> None:
    certificates = rabbitmq.certificates
    assert certificates is not None
    options = {
        "ca_certs": str(certificates.ca),
        "certfile": str(certificates.client_cert),
        "keyfile": str(certificates.client_key),
    }
    assert connect(rabbitmq.uri_for("/", tls=True), ssl=options).channel().is_open


# Heartbeats


def test_heartbeats_are_sent_while_nothing_else_is(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server(heartbeat=1)
    connect(server.uri, heartbeat=1)
    assert server.take(8) == (0, b"")


def test_a_server_that_falls_silent_is_given_up_within_two_intervals(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    lost = Inbox()
    link = connect(make_server(heartbeat=1).uri, heartbeat=1)
    link.on_lost = lost
    failure = lost.take()
    assert isinstance(failure, ConnectionLost)
    seconds = float(str(failure).removeprefix("the broker sent no heartbeat for ").removesuffix(" s"))
    assert 1.4 < seconds <= 2.5


def test_without_heartbeats_silence_is_no_failure(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server(heartbeat=1)
    link = connect(server.uri, heartbeat=0)
    _, tune_ok = server.take(1, b"\x00\x0a\x00\x1f")
    assert tune_ok[-2:] == b"\x00\x00"
    assert link.channel().is_open


# The end of a connection


def test_a_connection_error_of_the_server_says_why(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    link = connect(server.uri)
    lost, closed = Inbox(), Inbox()
    link.on_lost = lost
    channel = link.channel()
    channel.on_closed = closed
    server.send(method(0, 10, 50, dumps("BsBB", (501, "FRAME_ERROR - too large", 0, 0))))
    failure = lost.take()
    assert isinstance(failure, ConnectionLost)
    assert "FRAME_ERROR - too large" in str(failure)
    assert closed.take() is failure
    assert not channel.is_open
    server.take(1, b"\x00\x0a\x00\x33")
    for call in (link.channel, channel.declare_queue, lambda: channel.publish(Message("", "", b"", {}))):
        with pytest.raises(ConnectionLost, match="FRAME_ERROR"):
            call()


def test_bytes_that_are_no_frames_end_the_connection(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    link = connect(server.uri)
    lost = Inbox()
    link.on_lost = lost
    server.send(b"\x01\x00\x00\x00\x00\x00\x02oops")
    assert "does not end after 2 bytes" in str(lost.take())


def test_a_socket_that_is_closed_ends_who_waits(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink], backend: Backend
) -> None:
    server = make_server()
    channel = connect(server.uri).channel()
    outcome = Inbox()

    def declare() -> None:
        try:
            channel.declare_queue("unanswered")
        except ConnectionLost as exc:
            outcome(exc)

    backend.spawn(declare)
    server.take(1, b"\x00\x32\x00\x0a")
    server.sock.shutdown(socket.SHUT_RDWR)
    assert "the broker closed the connection" in str(outcome.take())


def test_closing_sends_what_waits_and_says_goodbye(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    link = connect(server.uri)
    lost = Inbox()
    link.on_lost = lost
    channel = link.channel()
    for number in range(100):
        channel.publish(Message("", "key", b"%d" % number, {}))
    link.close()
    bodies = [server.take(3)[1] for _ in range(100)]
    assert bodies == [b"%d" % number for number in range(100)]
    assert server.take(1, b"\x00\x0a\x00\x32")[1][4:6] == b"\x00\xc8"
    assert lost._items.empty()


def test_closing_twice_is_harmless(make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]) -> None:
    link = connect(make_server().uri)
    link.close()
    link.close()
    with pytest.raises(ConnectionLost, match="closed by this process"):
        link.channel()


def test_a_server_that_does_not_say_goodbye_is_left_in_time(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.amqp.framelink.CLOSE_TIMEOUT", 0.05)
    server = make_server()
    link = connect(server.uri)
    del server.answers[b"\x00\x0a\x00\x32"]
    link.close()
    assert "closed by this process" in str(link.failure)


# Channels


def test_a_channel_error_fails_that_channel_alone(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    link = connect(server.uri)
    one, two = link.channel(), link.channel()
    closed = Inbox()
    one.on_closed = closed
    server.take(1, b"\x00\x14\x00\x0a")
    server.send(method(one.number, 20, 40, dumps("BsBB", (404, "NOT_FOUND - no exchange 'x'", 60, 40))))
    failure = closed.take()
    assert (type(failure), failure.code, failure.text) == (ChannelClosed, 404, "NOT_FOUND - no exchange 'x'")
    assert server.take(1, b"\x00\x14\x00\x29")[0] == one.number
    assert two.is_open
    with pytest.raises(ChannelClosed, match="404"):
        one.publish(Message("", "", b"", {}))


def test_acks_on_a_channel_that_is_gone_send_nothing(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    link = connect(server.uri)
    one, two = link.channel(), link.channel()
    closed = Inbox()
    one.on_closed = closed
    server.send(method(one.number, 20, 40, dumps("BsBB", (406, "PRECONDITION_FAILED", 60, 40))))
    closed.take()
    one.ack(1)
    one.reject(2)
    two.ack(3)
    assert server.take(1, b"\x00\x3c")[0] == two.number


def test_what_comes_late_on_a_channel_that_was_closed_reaches_nobody(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    """RabbitMQ's writer of a channel sends what it has after its reader has closed the channel, until the answer."""
    server = make_server()
    link = connect(server.uri)
    one, two = link.channel(), link.channel()
    late = (
        method(one.number, 60, 60, dumps("sLbss", ("tag", 7, False, "", "key")))
        + frames.encode_content(one.number, encode_properties({}), b"late", 4096)
        + method(one.number, 60, 80, dumps("Lb", (1, False)))
    )
    closed = Inbox()
    one.on_closed = closed
    server.answers[b"\x00\x14\x00\x0a"] = lambda number: late + method(number, 20, 11, b"\x00\x00\x00\x00")
    server.send(method(one.number, 20, 40, dumps("BsBB", (406, "PRECONDITION_FAILED", 60, 80))) + late)
    closed.take()
    again = link.channel()
    assert again.number == one.number
    again.ack(1)
    two.ack(3)
    # Of the late one, nothing was given back: on the new channel that would be an error.
    answers = [server.take(1, b"\x00\x3c") for _ in range(2)]
    assert answers == [(again.number, frames.ack_frame(1, 1, False)[7:-1]), (2, frames.ack_frame(2, 3, False)[7:-1])]


def test_a_delivery_in_the_packet_with_consume_ok_reaches_the_consumer(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    channel = connect(server.uri).channel()
    deliver = method(channel.number, 60, 60, dumps("sLbss", ("mine", 1, False, "", "key")))
    content = frames.encode_content(channel.number, encode_properties({}), b"early", 4096)
    server.answers[b"\x00\x3c\x00\x14"] = lambda number: method(number, 60, 21, b"\x04mine") + deliver + content
    received = Inbox()
    channel.consume("queue", received, consumer_tag="mine")
    assert received.take().body == b"early"


def test_a_delivery_for_a_consumer_that_is_gone_is_given_back(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    channel = connect(server.uri).channel()
    deliver = method(channel.number, 60, 60, dumps("sLbss", ("gone", 7, False, "", "key")))
    server.send(deliver + frames.encode_content(channel.number, encode_properties({}), b"late", 4096))
    number, payload = server.take(1, b"\x00\x3c\x00\x78")
    assert (number, payload) == (channel.number, frames.nack_frame(1, 7, False, True)[7:-1])


def test_an_error_in_a_consumer_does_not_end_the_connection(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server()
    channel = connect(server.uri).channel()
    received = Inbox()

    def take(delivery: Any) -> None:
        received(delivery.body)
        if delivery.body == b"bad":
            raise ValueError("cannot take this")

    channel.consume("queue", take, consumer_tag="tag")
    for body in (b"bad", b"good"):
        deliver = method(channel.number, 60, 60, dumps("sLbss", ("tag", 1, False, "", "key")))
        server.send(deliver + frames.encode_content(channel.number, encode_properties({}), body, 4096))
    assert [received.take(), received.take()] == [b"bad", b"good"]
    assert "could not be taken in" in caplog.text


def test_a_cancel_of_the_broker_reaches_the_consumer(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    channel = connect(server.uri).channel()
    cancelled = Inbox()
    channel.consume("queue", Inbox(), consumer_tag="tag", on_cancel=lambda: cancelled("cancelled"))
    server.send(method(channel.number, 60, 30, b"\x03tag\x01"))
    assert cancelled.take() == "cancelled"
    assert channel.is_open


def test_blocked_and_unblocked_reach_the_owner(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server()
    blocked = Inbox()
    link = connect(server.uri)
    link.on_blocked = blocked
    server.send(method(0, 10, 60, b"\x0alow memory"))
    assert blocked.take() == "low memory"
    server.send(method(0, 10, 61))
    assert blocked.take() is None


@pytest.mark.broker
def test_a_broker_low_on_memory_says_so(rabbitmq: RabbitMQNode, connect: Callable[..., FrameLink]) -> None:
    link = connect(rabbitmq.uri)
    blocked = Inbox()
    link.on_blocked = blocked
    channel = link.channel()
    rabbitmq.block_publishers()
    try:
        channel.publish(Message("", "nobody", b"", {}))
        assert "memory" in blocked.take()
    finally:
        rabbitmq.unblock_publishers()
    assert blocked.take() is None


def test_bodies_are_cut_at_the_frame_max_that_the_server_wants(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink]
) -> None:
    server = make_server(frame_max=8192)
    channel = connect(server.uri).channel()
    channel.publish(Message("", "key", b"x" * 20_000, {}))
    assert [len(server.take(3)[1]) for _ in range(3)] == [8184, 8184, 3632]


@pytest.mark.broker
def test_get_gives_the_bytes_that_were_sent_whatever_their_encoding_is_called(
    rabbitmq_uri: str, connect: Callable[..., FrameLink]
) -> None:
    channel = connect(rabbitmq_uri).channel()
    channel.declare_queue("queue")
    for body in ("ü€".encode("utf-16"), b"\xff\xfe", b"text", b""):
        for encoding in (None, "utf-8", "utf-16", "binary", "no such encoding"):
            channel.publish(Message("", "queue", body, {"content_encoding": encoding, "headers": {"a": 1}}))
            found = channel.get("queue", no_ack=True)
            assert found is not None
            assert (found.body, found.headers, found.routing_key) == (body, {"a": 1}, "queue")
    assert channel.get("queue") is None


@pytest.mark.broker
def test_get_gives_properties_that_are_no_text(rabbitmq_uri: str, connect: Callable[..., FrameLink]) -> None:
    """A dead letter that has them can be looked at."""
    channel = connect(rabbitmq_uri).channel()
    channel.declare_queue("queue")
    channel.publish(Message("", "queue", b"", {"content_type": "\udcff", "reply_to": "\udcfe"}))
    found = channel.get("queue", no_ack=True)
    assert found is not None and found.properties == {"content_type": "\udcff", "reply_to": "\udcfe"}


# Many at once


@pytest.mark.broker
def test_a_flood_of_messages_lets_others_run(
    rabbitmq_uri: str, connect: Callable[..., FrameLink], backend: Backend
) -> None:
    channel = connect(rabbitmq_uri).channel(confirms=True)
    channel.declare_queue("flood")
    confirmed = Inbox()
    channel.on_confirm = lambda sequences, multiple, taken: confirmed(sequences[-1])
    for _ in range(3000):
        channel.publish(Message("", "flood", b"x" * 2000, {}))
    while confirmed.take() < 3000:
        continue
    longest, left = 0.0, 3000
    done = backend.event()

    def take_slowly(delivery: Any) -> None:
        nonlocal left
        left -= 1
        until = monotonic() + 0.0002
        while monotonic() < until:
            continue
        if not left:
            done.set()

    channel.consume("flood", take_slowly, no_ack=True)
    while not done.is_set():
        last = monotonic()
        backend.sleep(0)
        longest = max(longest, monotonic() - last)
    assert longest < 0.3


def test_a_declaration_waits_until_a_large_body_is_written(
    make_server: Callable[..., FakeServer], connect: Callable[..., FrameLink], backend: Backend
) -> None:
    server = make_server(frame_max=131072)
    server.answers[b"\x00\x32\x00\x0a"] = lambda channel: method(channel, 50, 11, dumps("sll", ("queue", 0, 0)))
    link = connect(server.uri)
    channel = link.channel()
    server.reads.clear()
    body = bytes(range(256)) * 40_000
    channel.publish(Message("", "key", body, {}))
    declared = backend.spawn(channel.declare_queue, "queue")
    server.reads.set()
    assert declared.wait(LIMIT)
    received = b""
    while len(received) < len(body):
        received += server.take(3)[1]
    assert received == body
    assert link.failure is None


@pytest.mark.broker
def test_everybody_may_declare_while_deliveries_come_in(
    rabbitmq_uri: str, connect: Callable[..., FrameLink], backend: Backend
) -> None:
    link = connect(rabbitmq_uri)
    channel = link.channel()
    received = Inbox()
    channel.declare_queue("flood")
    channel.consume("flood", received, no_ack=True)
    publisher = connect(rabbitmq_uri).channel()

    def work(number: int) -> None:
        if number < 4:
            for _ in range(250):
                publisher.publish(Message("", "flood", b"x" * 10_000, {}))
            return
        own = link.channel() if number % 2 else channel
        for step in range(5):
            name = f"queue-{number}-{step}"
            assert own.declare_queue(name).name == name
            own.bind_queue(name, "amq.topic", name)
            own.consume(name, received)

    run_beside(backend, 20, work)
    assert sum(len(received.take().body) for _ in range(1000)) == 1000 * 10_000


@pytest.mark.broker
@pytest.mark.parametrize("tls", [False, True])
def test_ten_kilobytes_back_and_forth_many_times_at_once(
    rabbitmq: RabbitMQNode, connect: Callable[..., FrameLink], backend: Backend, tls: bool
) -> None:
    """Both sides write more than the sockets hold: a reader that waited for its own write would hang."""
    link = connect(rabbitmq.uri_for("/", tls=tls), ssl={"cert_reqs": "none"} if tls else None)
    request, answer = link.channel(), link.channel()
    done = Inbox()
    requests = request.declare_queue("", exclusive=True).name
    answers = request.declare_queue("", exclusive=True).name
    answer.consume(requests, lambda got: answer.publish(Message("", answers, got.body, {})), no_ack=True)
    request.consume(answers, done, no_ack=True)

    def work(number: int) -> None:
        for _ in range(60):
            request.publish(Message("", requests, b"%03d" % number + b"x" * 10_000, {}))

    run_beside(backend, 50, work)
    counts: dict[bytes, int] = {}
    for _ in range(3000):
        body = done.take().body
        assert len(body) == 10_003
        counts[body[:3]] = counts.get(body[:3], 0) + 1
    assert counts == {b"%03d" % number: 60 for number in range(50)}


@pytest.mark.broker
def test_confirms_are_counted_in_the_order_of_arrival(
    rabbitmq_uri: str, connect: Callable[..., FrameLink], backend: Backend
) -> None:
    channel = connect(rabbitmq_uri).channel(confirms=True)
    channel.declare_queue("queue")
    confirms = Inbox()
    channel.on_confirm = lambda sequences, multiple, taken: confirms((sequences, multiple, taken))
    sent: list[int] = []

    def work(number: int) -> None:
        for _ in range(50):
            sent.append(channel.publish(Message("", "queue", b"", {"message_id": str(number)})))

    run_beside(backend, 20, work)
    assert sorted(sent) == list(range(1, 1001))
    confirmed: set[int] = set()
    while len(confirmed) < 1000:
        sequences, multiple, taken = confirms.take()
        assert taken
        confirmed |= set(range(1, sequences[0] + 1) if multiple else sequences)
    assert channel.declare_queue("queue").messages == 1000


_THREADS = """
    import queue
    import sys

    from rpcservice.amqp.framelink import FrameLink
    from rpcservice.amqp.link import Message
    from rpcservice.concurrency import threads

    backend = threads()
    link = FrameLink(sys.argv[1], backend, ssl={"cert_reqs": "none"} if sys.argv[1].startswith("amqps") else None)
    link.connect()
    received = queue.Queue()
    channel = link.channel()
    channel.declare_queue("flood", durable=False)
    channel.consume("flood", received.put, no_ack=True)

    def work(number):
        for step in range(20):
            assert channel.declare_queue(f"queue-{number}", exclusive=True).name == f"queue-{number}"
            for _ in range(10):
                channel.publish(Message("", "flood", b"x" * 10_000, {}))

    tasks = [backend.spawn(work, number) for number in range(10)]
    assert all(task.wait(30) for task in tasks)
    assert sum(len(received.get(timeout=10).body) for _ in range(2000)) == 20_000_000
    channel.delete_queue("flood")
    link.close()
    print("done")
"""


@pytest.mark.broker
@pytest.mark.parametrize("tls", [False, True])
def test_operating_system_threads_may_share_a_link(rabbitmq: RabbitMQNode, tls: bool) -> None:
    command = [sys.executable, "-c", textwrap.dedent(_THREADS), rabbitmq.uri_for("/", tls=tls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.broker
def test_a_black_hole_is_found_by_missing_heartbeats(rabbitmq: RabbitMQNode, connect: Callable[..., FrameLink]) -> None:
    from rpcservice.testing import TcpProxy

    proxy: TcpProxy
    with TcpProxy(rabbitmq.uri) as proxy:
        lost = Inbox()
        link = connect(proxy.uri, heartbeat=1)
        link.on_lost = lost
        proxy.black_hole()
        assert "no heartbeat" in str(lost.take())
