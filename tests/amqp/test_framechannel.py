"""FrameChannel: how it settles deliveries, on greenlets at the end of a turn and on threads at once."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from amqp.serialization import dumps

from rpcservice.amqp.acks import Acks, DirectAcks, make_acks
from rpcservice.amqp.framechannel import FrameChannel
from rpcservice.amqp.frames import ack_frame, nack_frame
from rpcservice.amqp.link import Delivery
from rpcservice.concurrency import Backend, green, threads
from rpcservice.errors import ConnectionLost

NUMBER = 7


def one(tag: int) -> bytes:
    return ack_frame(NUMBER, tag, False)


def up_to(tag: int) -> bytes:
    return ack_frame(NUMBER, tag, True)


class Wire:
    """Stands in for a link: it keeps what is written, and what is left for the end of the turn."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.frame_max = 4096
        self.writer = self
        self._written: list[bytes] = []
        self._left: list[Callable[[], object]] = []
        self.write = self._written.append
        self.channel = FrameChannel(self, SimpleNamespace(channel_id=NUMBER), confirms=False)  # type: ignore[arg-type]
        self.channel.amqp = SimpleNamespace(basic_consume=None, basic_cancel=None, close=lambda: None, collect=None)

    def leave(self, gather: Callable[[], object]) -> None:
        if self.backend.name == "threads":
            gather()
        else:
            self._left.append(gather)

    def call(self, channel: Any, function: Callable[..., Any] | None, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if function is not None else None

    def forget(self, channel: Any) -> None:
        """Nothing keeps it."""

    def deliver(self, *delivery_tags: int, consumer: str = "tag") -> None:
        for tag in delivery_tags:
            method = b"\x00\x3c\x00\x3c" + dumps("sLbss", (consumer, tag, False, "", "key"))
            self.channel.delivered(method, b"\x00\x3c\x00\x00" + bytes(10), b"body")

    def end_turn(self) -> list[bytes]:
        """Give what has been written since the last turn."""
        left, self._left = self._left, []
        for gather in left:
            gather()
        written = list(self._written)
        self._written.clear()
        return written


@pytest.fixture(params=[green, threads], ids=["greenlets", "threads"])
def wire(request: pytest.FixtureRequest) -> Wire:
    """A channel with five deliveries for one consumer."""
    wire = Wire(request.param())
    wire.channel.consume("queue", lambda delivery: None, consumer_tag="tag")
    wire.deliver(1, 2, 3, 4, 5)
    return wire


@pytest.fixture
def green_wire() -> Wire:
    """The same on greenlets, without deliveries."""
    return Wire(green())


def test_greenlets_gather_and_threads_do_not() -> None:
    wire = Wire(green())
    assert isinstance(make_acks(1, wire.write, wire.leave, green()), Acks)
    assert isinstance(make_acks(1, wire.write, wire.leave, threads()), DirectAcks)


def test_on_greenlets_a_turn_takes_one_frame_and_on_threads_each_ack_its_own(wire: Wire) -> None:
    for tag in (1, 2, 3):
        wire.channel.ack(tag)
    expected = [one(1), one(2), one(3)] if wire.backend.name == "threads" else [up_to(3)]
    assert wire.end_turn() == expected


def test_two_acks_of_one_message_in_two_turns_are_two_frames(wire: Wire) -> None:
    """The broker closes the channel for the second, and nobody hides the mistake."""
    wire.channel.ack(1)
    assert wire.end_turn() == [one(1)]
    wire.channel.ack(1)
    assert wire.end_turn() == [one(1)]


def test_what_was_acked_goes_before_an_ack_of_several(wire: Wire) -> None:
    wire.channel.ack(2)
    wire.channel.ack(3, multiple=True)
    assert wire.end_turn() == [one(2), up_to(3)]
    wire.channel.ack(4)
    assert wire.end_turn() == [one(4)]


def test_what_was_acked_goes_before_a_message_is_given_back(wire: Wire) -> None:
    wire.channel.ack(1)
    wire.channel.reject(2, requeue=True)
    wire.channel.ack(3)
    assert wire.end_turn() == [one(1), nack_frame(NUMBER, 2, False, True), one(3)]


def test_several_given_back_are_settled(wire: Wire) -> None:
    wire.channel.reject(3, multiple=True)
    assert wire.end_turn() == [nack_frame(NUMBER, 3, True, False)]
    wire.channel.ack(4)
    assert wire.end_turn() == [one(4)]


def test_what_was_given_back_holds_up_no_frame(green_wire: Wire) -> None:
    green_wire.channel.consume("queue", lambda delivery: None, consumer_tag="tag")
    green_wire.deliver(1, 2, 3)
    green_wire.channel.reject(1)
    green_wire.channel.ack(2)
    green_wire.channel.ack(3)
    assert green_wire.end_turn() == [nack_frame(NUMBER, 1, False, False), up_to(3)]


def test_a_channel_that_has_failed_writes_no_acks(wire: Wire) -> None:
    """Their deliveries are somebody else's by now."""
    wire.channel.ack(1)
    before = [one(1)] if wire.backend.name == "threads" else []
    wire.channel.fail(ConnectionLost())
    for multiple in (False, True):
        wire.channel.ack(2, multiple)
        wire.channel.reject(3, multiple=multiple)
    assert wire.end_turn() == before


def test_a_close_sends_what_was_acked_and_then_nothing(wire: Wire) -> None:
    wire.channel.ack(1)
    wire.channel.close()
    wire.channel.ack(2)
    assert wire.end_turn() == [one(1)]


def test_a_channel_that_is_given_up_sends_what_was_acked(wire: Wire) -> None:
    wire.channel.ack(1)
    wire.channel.abandon("a test says so")
    wire.channel.ack(2)
    assert wire.end_turn() == [one(1)]


def test_deliveries_of_a_consumer_without_acks_hold_up_no_frame(green_wire: Wire) -> None:
    seen: list[Delivery] = []
    green_wire.channel.consume("queue", seen.append, consumer_tag="tag")
    green_wire.channel.consume("other", seen.append, consumer_tag="other", no_ack=True)
    green_wire.deliver(1, consumer="other")
    green_wire.deliver(2, 3)
    green_wire.channel.ack(2)
    green_wire.channel.ack(3)
    assert green_wire.end_turn() == [up_to(3)]
    assert [one.delivery_tag for one in seen] == [1, 2, 3]


@pytest.mark.parametrize("end", ["cancel", "cancelled"])
def test_nothing_is_kept_of_a_consumer_that_has_ended(green_wire: Wire, end: str) -> None:
    """The tag may be used again, without acks."""
    channel = green_wire.channel
    channel.consume("queue", lambda delivery: None, consumer_tag="tag")
    getattr(channel, end)("tag")
    channel.consume("queue", lambda delivery: None, consumer_tag="tag", no_ack=True)
    channel.consume("queue", lambda delivery: None, consumer_tag="with-acks")
    green_wire.deliver(1)
    green_wire.deliver(2, 3, consumer="with-acks")
    channel.ack(2)
    channel.ack(3)
    assert green_wire.end_turn() == [up_to(3)]
