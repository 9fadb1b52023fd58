"""Acknowledgements of one turn go out in as few frames as they need, and settle nothing else."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpcservice.amqp.acks import Acks
from rpcservice.amqp.frames import ack_frame


class Turn:
    """Keeps what is left for the end of the turn, and what is written then."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.left: list[Callable[[], object]] = []
        self.acks = Acks(7, self.written.append, self.left.append)

    def end(self) -> list[bytes]:
        left, self.left[:] = list(self.left), []
        for call in left:
            call()
        written, self.written[:] = list(self.written), []
        return written


def one(tag: int) -> bytes:
    return ack_frame(7, tag, False)


def up_to(tag: int) -> bytes:
    return ack_frame(7, tag, True)


@pytest.fixture
def turn() -> Turn:
    turn = Turn()
    for tag in range(1, 7):
        turn.acks.hold(tag)
    return turn


def test_all_that_came_first_take_one_frame(turn: Turn) -> None:
    for tag in (2, 1, 3):
        turn.acks.add(tag)
    assert turn.end() == [up_to(3)]


def test_nothing_is_written_before_the_end_of_the_turn(turn: Turn) -> None:
    turn.acks.add(1)
    assert turn.written == []
    assert len(turn.left) == 1


def test_a_single_one_settles_itself_alone(turn: Turn) -> None:
    turn.acks.add(1)
    assert turn.end() == [one(1)]


def test_what_comes_behind_one_that_is_worked_on_is_named_singly(turn: Turn) -> None:
    for tag in (5, 1, 2, 4):
        turn.acks.add(tag)
    assert turn.end() == [up_to(2), one(4), one(5)]
    turn.acks.add(3)
    assert turn.end() == [one(3)]
    turn.acks.add(6)
    assert turn.end() == [one(6)]


def test_what_was_given_back_holds_up_no_frame(turn: Turn) -> None:
    turn.acks.forget(1)
    for tag in (2, 3):
        turn.acks.add(tag)
    assert turn.end() == [up_to(3)]


def test_what_was_given_back_with_others_holds_up_no_frame(turn: Turn) -> None:
    turn.acks.forget(4, multiple=True)
    for tag in (5, 6):
        turn.acks.add(tag)
    assert turn.end() == [up_to(6)]


def test_zero_stands_for_all(turn: Turn) -> None:
    turn.acks.forget(0, multiple=True)
    turn.acks.hold(7)
    turn.acks.add(7)
    assert turn.end() == [one(7)]


def test_a_channel_that_is_gone_writes_nothing(turn: Turn) -> None:
    turn.acks.add(1)
    turn.acks.clear()
    assert turn.end() == []


def test_the_second_ack_of_a_message_is_told_as_it_is(turn: Turn) -> None:
    """The broker closes the channel for it, as it does for any client."""
    turn.acks.add(1)
    assert turn.end() == [one(1)]
    turn.acks.add(1)
    assert turn.end() == [one(1)]


def test_a_message_that_is_acknowledged_twice_in_a_turn_is_told_of_once(turn: Turn) -> None:
    turn.acks.add(1)
    turn.acks.add(1)
    assert turn.end() == [one(1)]


def test_ctrl_c_before_the_end_of_the_turn_is_asked_for_holds_up_no_ack(turn: Turn) -> None:
    def interrupt(call: Callable[[], object]) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(turn.acks, "_leave", interrupt)
        turn.acks.add(1)
    turn.acks.add(2)
    assert turn.end() == [up_to(2)]


def test_what_has_gathered_is_written_before_a_frame_that_settles_others(turn: Turn) -> None:
    turn.acks.add(1)
    turn.acks.add(3)
    turn.acks.forget(2)
    assert turn.written == [one(1), one(3)]
    assert turn.end() == [one(1), one(3)]
    turn.acks.add(4)
    turn.acks.add(5)
    assert turn.end() == [up_to(5)]


def test_a_consumer_without_acks_has_nothing_noted(turn: Turn) -> None:
    assert turn.acks.holder(no_ack=True) is None
    assert turn.acks.holder(no_ack=False) == turn.acks.hold


@given(st.lists(st.lists(st.integers(1, 40), max_size=12, unique=True), max_size=12))
def test_exactly_what_was_acknowledged_is_settled(turns: list[list[int]]) -> None:
    turn, unsettled, done = Turn(), dict.fromkeys(range(1, 41)), set[int]()
    for tag in unsettled:
        turn.acks.hold(tag)
    for tags in turns:
        new = [tag for tag in tags if tag not in done]
        for tag in new:
            turn.acks.add(tag)
        done.update(new)
        for frame in turn.end():
            tag, multiple = int.from_bytes(frame[11:19], "big"), frame[19]
            # As a broker reads it.
            settled = [known for known in unsettled if known <= tag] if multiple else [tag]
            assert set(settled) <= done
            for known in settled:
                del unsettled[known]
        assert set(unsettled) == set(range(1, 41)) - done
