"""ConfirmedSender where another thread may come between any two of its steps."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import pytest
from test_sender import Rig, message

from rpcservice.concurrency import Event, threads
from rpcservice.errors import ChannelClosed, ConnectionLost, PublishTimeout

PUBLISHERS, TURNS = 8, 40
AHEAD = 0.05
"""Seconds that a thread gets to run ahead of another one, if nothing keeps it from that."""


@pytest.fixture
def rig() -> Rig:
    return Rig(backend=threads())


@pytest.fixture
def full_rig() -> Rig:
    """A sender with room for one message, which is there."""
    rig = Rig(backend=threads(), publish_buffer=1)
    rig.sender._room = Flag(rig.sender._room)
    rig.send("first")
    return rig


def before(target: Any, name: str, act: Callable[[], object]) -> None:
    """Have something happen in the moment before a method is called, once."""
    method = getattr(target, name)

    def wrapped(*args: Any) -> Any:
        setattr(target, name, method)
        act()
        return method(*args)

    setattr(target, name, wrapped)


class Flag:
    """An event with methods that :func:`before` can replace."""

    def __init__(self, event: Event) -> None:
        self.is_set, self.set, self.clear, self.wait = event.is_set, event.set, event.clear, event.wait


def test_a_confirm_may_come_before_its_message_is_in_the_table(rig: Rig) -> None:
    publish = rig.channel.publish
    confirming: list[Any] = []

    def publish_and_confirm(given: Any) -> int:
        sequence = publish(given)
        confirming.append(rig.host.backend.spawn(rig.channel.on_confirm, (sequence,), False, True))
        confirming[0].wait(AHEAD)
        return sequence

    rig.channel.publish = publish_and_confirm  # type: ignore[method-assign]
    rig.sender.publish(message("a"), timeout=5)
    assert confirming[0].wait(5)
    assert not rig.sender._unconfirmed


def test_a_confirm_that_comes_when_time_is_up_counts(rig: Rig) -> None:
    before(rig.sender, "forget", lambda: rig.channel.on_confirm((1,), False, True))
    rig.sender.publish(message("a"), timeout=0.01)


def test_a_channel_that_another_message_has_closed_fails_no_other(rig: Rig) -> None:
    """It may be closed for a moment before the sender is told."""
    failure = ChannelClosed(404, "NOT_FOUND - no exchange 'missing'")
    rig.channel.failure = failure
    rig.send("a")
    rig.connection.lose(failure)
    channel = rig.connection.open()
    assert channel.keys == ["a"]
    channel.on_confirm((1,), False, True)
    assert rig.outcomes == {"a": None}


def test_a_late_confirm_of_a_lost_channel_means_no_message_of_the_next(rig: Rig) -> None:
    """Numbers begin anew, and the reader of the lost connection may still be at work."""
    rig.send("a")
    rig.connection.lose(ConnectionLost())
    channel = rig.connection.open()
    rig.channel.on_confirm((1,), False, True)
    assert rig.outcomes == {}
    channel.on_confirm((1,), False, True)
    assert rig.outcomes == {"a": None}


def test_what_waits_stays_in_order_when_the_new_channel_ends_too(rig: Rig) -> None:
    rig.connection.lose(ConnectionLost())
    rig.send("a", "b")
    channel = rig.connection.make_channel()
    channel.failure = ConnectionLost()
    rig.connection.use(channel)
    rig.connection.lose(ConnectionLost())
    assert rig.connection.open().keys == ["a", "b"]


def test_room_that_is_made_before_the_flag_is_lowered_is_seen(full_rig: Rig) -> None:
    before(full_rig.sender._room, "clear", lambda: full_rig.channel.on_confirm((1,), False, True))
    with pytest.raises(PublishTimeout, match="no confirm within"):
        full_rig.sender.publish(message("second"), timeout=AHEAD)
    assert full_rig.channel.keys == ["first", "second"]


def test_the_last_confirm_before_the_flag_is_lowered_ends_a_stop(full_rig: Rig) -> None:
    before(full_rig.sender._room, "clear", lambda: full_rig.channel.on_confirm((1,), False, True))
    assert full_rig.host.backend.spawn(full_rig.sender.stop).wait(2)


@pytest.mark.parametrize("end", ["confirm", "loss"])
def test_who_waits_is_told_when_the_sender_is_free_again(rig: Rig, end: str) -> None:
    """A log handler that sends messages has a lock of its own, which another thread may hold that wants the sender."""
    is_free: list[bool] = []

    def look(error: Exception | None) -> None:
        is_free.append(rig.host.backend.spawn(rig.send, "other").wait(1))

    rig.sender.send(message("a"), look)
    if end == "confirm":
        rig.channel.on_confirm((1,), False, True)
    else:
        rig.connection.lose(ChannelClosed(403, "ACCESS_REFUSED"))
    assert is_free == [True]


def test_a_connection_lost_after_admission_is_an_error_at_once_without_retries(rig: Rig) -> None:
    before(rig.sender, "_send", lambda: rig.connection.lose(ConnectionLost()))
    with pytest.raises(ConnectionLost, match="nothing was sent") as caught:
        rig.sender.publish(message("a"), timeout=5, retries=0)
    assert not caught.value.maybe_executed
    assert rig.connection.open().keys == []


def test_who_finds_room_leaves_the_rest_of_it_to_others(full_rig: Rig) -> None:
    """Whoever looks for room lowers the flag, which has been raised for all who wait."""
    room: Any = full_rig.sender._room

    def find_room_but_do_not_use_it() -> None:
        before(room, "clear", lambda: full_rig.channel.on_confirm((1,), False, True))
        full_rig.sender._admit(message("other"), 5, None)

    before(room, "wait", find_room_but_do_not_use_it)
    with pytest.raises(PublishTimeout, match="no confirm"):
        full_rig.sender.publish(message("second"), timeout=AHEAD)
    assert full_rig.channel.keys == ["first", "second"]


def test_messages_of_many_threads_end_with_one_outcome_each() -> None:
    """Channels end under them, by lost connections and by mistakes; each message has one outcome."""
    rig = Rig(backend=threads(), publish_buffer=20)
    broker = FlakyBroker(rig)
    outcomes: dict[str, Any] = {}

    def publish(number: int) -> None:
        for turn in range(TURNS):
            key = f"{'bad' if turn % 10 == 9 else 'good'}-{number}-{turn}"
            try:
                outcomes[key] = rig.sender.publish(message(key), timeout=30)
            except Exception as exc:
                outcomes[key] = exc

    tasks = [rig.host.backend.spawn(publish, number) for number in range(PUBLISHERS)]
    broker.serve(lambda: any(task.is_alive() for task in tasks))
    assert all(task.wait(0) for task in tasks)
    assert len(outcomes) == PUBLISHERS * TURNS
    for key, outcome in outcomes.items():
        if key.startswith("good"):
            assert outcome is None, (key, outcome)
            assert key in broker.taken
        else:
            assert isinstance(outcome, ChannelClosed)
    assert not rig.sender._unconfirmed and not rig.sender._again
    assert not rig.sender._suspects


class FlakyBroker:
    """Confirms what is published, in order; refuses what is bad; ends the connection now and then."""

    def __init__(self, rig: Rig) -> None:
        self.taken: set[str] = set()
        self._rig = rig
        self._channel = rig.channel
        self._seen = self._served = 0

    def serve(self, is_needed: Callable[[], bool]) -> None:
        deadline = monotonic() + 60
        while is_needed() and monotonic() < deadline:
            published = self._channel.published
            if self._seen == len(published):
                sleep(0.0005)
                continue
            key = published[self._seen].routing_key
            self._seen += 1
            self._served += 1
            if key.startswith("bad"):
                self._renew(ChannelClosed(406, "PRECONDITION_FAILED"))
            elif self._served % 50 == 0:
                self._renew(ConnectionLost("cut"))
            else:
                self.taken.add(key)
                self._channel.on_confirm((self._seen,), self._seen % 3 == 0, True)

    def _renew(self, failure: Exception) -> None:
        self._channel.failure = failure
        self._channel.is_open = False
        self._rig.connection.lose(failure)
        self._channel = self._rig.connection.make_channel()
        self._seen = 0
        self._rig.connection.use(self._channel)
