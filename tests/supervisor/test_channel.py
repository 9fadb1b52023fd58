"""Channel: messages between a supervisor and a worker, whole and in order, with descriptors."""

import os
import socket
from collections.abc import Iterator

import pytest

from rpcservice.concurrency.native import native
from rpcservice.supervisor.channel import Channel


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = native("socket").socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def ends(sockets: tuple[socket.socket, socket.socket]) -> tuple[Channel, Channel]:
    one, other = sockets
    return Channel(one), Channel(other)


def test_messages_come_in_order(ends: tuple[Channel, Channel]) -> None:
    ends[0].send("ready", {"lines": ["ä\n"]})
    ends[0].send("lead")
    assert ends[1].receive() == [("ready", {"lines": ["ä\n"]}, None), ("lead", True, None)]


def test_a_message_that_comes_in_parts_waits_for_the_rest(
    sockets: tuple[socket.socket, socket.socket], ends: tuple[Channel, Channel]
) -> None:
    sockets[0].sendall(b'["stop", tr')
    assert ends[1].receive() == []
    sockets[0].sendall(b'ue, false]\n["ki')
    assert ends[1].receive() == [("stop", True, None)]


def test_a_descriptor_comes_with_its_message(ends: tuple[Channel, Channel]) -> None:
    reading, writing = os.pipe()
    ends[0].send("lead")
    ends[0].send("listening", "here", descriptor=writing)
    os.close(writing)
    received = ends[1].receive()
    while len(received) < 2:
        received += ends[1].receive()
    assert [(kind, value) for kind, value, _ in received] == [("lead", True), ("listening", "here")]
    assert received[0][2] is None
    descriptor = received[1][2]
    assert descriptor is not None
    assert not os.get_inheritable(descriptor)
    os.write(descriptor, b"x")
    assert os.read(reading, 9) == b"x"
    os.close(reading)
    os.close(descriptor)


def test_the_end_of_the_other_side_is_told(ends: tuple[Channel, Channel]) -> None:
    ends[0].close()
    with pytest.raises(EOFError):
        ends[1].receive()


def test_what_was_said_before_the_end_is_heard(ends: tuple[Channel, Channel]) -> None:
    ends[0].send("failed", {"message": "no"})
    ends[0].close()
    assert ends[1].receive() == [("failed", {"message": "no"}, None)]
    with pytest.raises(EOFError):
        ends[1].receive()


def test_a_side_that_does_not_wait_says_that_there_is_nothing(
    sockets: tuple[socket.socket, socket.socket], ends: tuple[Channel, Channel]
) -> None:
    sockets[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        ends[1].receive()


def test_to_send_to_nobody_is_an_error(ends: tuple[Channel, Channel]) -> None:
    ends[1].close()
    with pytest.raises(OSError, match="Broken pipe"):
        ends[0].send("lead")


def test_descriptors_that_nobody_took_are_closed_with_the_channel(ends: tuple[Channel, Channel]) -> None:
    reading, writing = os.pipe()
    # The line has no end yet, so that the message has not come.
    socket.send_fds(ends[0]._sock, [b'["listening"'], [writing])
    os.close(writing)
    assert ends[1].receive() == []
    ends[1].close()
    assert os.read(reading, 9) == b""
    os.close(reading)
