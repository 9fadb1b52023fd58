"""The writer of greenlets: what is written goes out, in that order, whatever comes in between."""

import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpcservice.amqp.framesocket import EARLY, SocketWriter
from rpcservice.concurrency import green

MUCH = 20_000_000


class Turns:
    """A backend whose turns the test ends."""

    name = "eventlet"

    def __init__(self) -> None:
        self.left: list[Callable[[], object]] = []
        self.interruption: BaseException | None = None
        self.event, self.spawn = green().event, green().spawn

    def post_last(self, function: Callable[[], object]) -> None:
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            raise interruption
        self.left.append(function)

    def end(self) -> None:
        left, self.left = self.left, []
        for function in left:
            function()


class Rig:
    """A writer, and what has come at the other end of its socket."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.turns = Turns()
        self.failures: list[Exception] = []
        backend: Any = self.turns
        self.ours = ours
        self.writer = SocketWriter(ours, backend, self.failures.append)

    def read(self, size: int) -> bytes:
        """Read so many bytes, while the writer's greenlet has its turns."""
        self.theirs.settimeout(10)
        parts = []
        while size:
            part = self.theirs.recv(size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.writer.end()
    green().sleep(0)
    made.ours.close()
    made.theirs.close()


def test_all_of_one_turn_goes_out_at_its_end(rig: Rig) -> None:
    for data in (b"one ", b"two ", b"three"):
        rig.writer.write(data)
    assert len(rig.turns.left) == 1
    rig.turns.end()
    assert rig.read(13) == b"one two three"


def test_much_within_one_turn_is_sent_before_its_end(rig: Rig) -> None:
    for number in range(2 * EARLY + 1):
        rig.writer.write(b"%04d" % number)
    sent = b"".join(b"%04d" % number for number in range(2 * EARLY + 1))
    assert rig.read(8 * EARLY) == sent[:-4]
    rig.turns.end()
    assert rig.read(4) == sent[-4:]


def test_what_the_socket_does_not_take_before_the_end_of_a_turn_goes_out_in_order(rig: Rig) -> None:
    rig.writer.write(b"a" * MUCH)
    for _ in range(2 * EARLY):
        rig.writer.write(b"b")
    rig.turns.end()
    rig.writer.write(b"c")
    rig.turns.end()
    assert rig.read(MUCH + 2 * EARLY + 1) == b"a" * MUCH + b"b" * 2 * EARLY + b"c"


def test_a_full_socket_is_not_asked_again_for_every_frame_of_a_turn(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Full:
        def send(self, data: bytes) -> int:
            asked.append(len(data))
            raise BlockingIOError

    monkeypatch.setattr(rig.writer, "_plain", Full())
    for _ in range(100 * EARLY):
        rig.writer.write(b"x")
    assert asked == [EARLY]
    rig.turns.end()
    assert rig.read(100 * EARLY) == b"x" * 100 * EARLY


def test_a_socket_that_breaks_within_a_turn_is_told_of_after_it(rig: Rig) -> None:
    rig.theirs.close()
    for _ in range(2 * EARLY):
        rig.writer.write(b"x")
    assert rig.failures == []
    rig.turns.end()
    green().sleep(0)
    assert [type(failure) for failure in rig.failures] == [BrokenPipeError]


def test_ctrl_c_before_the_flush_is_planned_leaves_the_writer_awake(rig: Rig) -> None:
    rig.turns.interruption = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        rig.writer.write(b"one ")
    rig.writer.write(b"two")
    rig.turns.end()
    assert rig.read(7) == b"one two"


class Interrupted:
    """A socket that sends, whereupon Ctrl-C comes before anybody knows."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def send(self, data: bytes) -> int:
        self._sock.send(data)
        raise KeyboardInterrupt


def test_ctrl_c_within_a_flush_ends_the_connection(rig: Rig) -> None:
    """What is to be sent may be lost with it, and the writer must not be taken for one that still sends it."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    rig.writer.write(b"one")
    rig.writer.leave(interrupt)
    with pytest.raises(KeyboardInterrupt):
        rig.turns.end()
    assert [str(failure) for failure in rig.failures] == ["KeyboardInterrupt came while something was sent"]


@pytest.mark.parametrize("count", [1, EARLY])
def test_ctrl_c_within_a_send_ends_the_connection(rig: Rig, count: int) -> None:
    """Nobody knows what was sent; sent twice, a message's confirm would be taken for that of the next."""
    rig.writer._plain = Interrupted(rig.writer._plain)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(count):
            rig.writer.write(b"one")
        rig.turns.end()
    assert [type(failure) for failure in rig.failures] == [InterruptedError]
    assert rig.writer._pending == deque()


def test_ctrl_c_within_the_greenlet_ends_the_connection(rig: Rig) -> None:
    def interrupt(data: bytes) -> None:
        raise KeyboardInterrupt

    rig.writer._sendall = interrupt
    rig.writer.write(b"a" * MUCH)
    rig.turns.end()
    with pytest.raises(KeyboardInterrupt):
        green().sleep(5)
    assert [type(failure) for failure in rig.failures] == [InterruptedError]


def test_a_flush_too_many_sends_nothing_into_what_the_greenlet_sends(rig: Rig) -> None:
    """As Ctrl-C may leave one behind."""
    rig.writer.write(b"a" * MUCH)
    rig.turns.end()
    # The greenlet begins to wait for the socket.
    green().sleep(0)
    green().sleep(0)
    rig.writer.write(b"b" * 10)
    assert rig.turns.left == []
    # Without a turn for the greenlet: there is room now, which is for the rest of what it sends.
    first = rig.theirs.fd.recv(MUCH)  # type: ignore[attr-defined]  # the plain socket below eventlet's
    rig.writer._flush()
    assert first + rig.read(MUCH + 10 - len(first)) == b"a" * MUCH + b"b" * 10
    green().sleep(0)
    rig.writer.write(b"c")
    rig.turns.end()
    assert rig.read(1) == b"c"
    assert rig.failures == []
