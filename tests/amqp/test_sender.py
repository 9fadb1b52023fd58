"""ConfirmedSender on a channel whose confirms, returns and failures the test plays."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from rpcservice.amqp.connection import AmqpConnection
from rpcservice.amqp.link import Message, Returned
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.pending import MARK
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import Backend
from rpcservice.core.resource import Resources
from rpcservice.errors import (
    ChannelClosed,
    ConnectionLost,
    MessageTooLarge,
    PublishRejected,
    PublishTimeout,
    UndeliverableMessage,
)
from rpcservice.testing import FakeHost

KEY: Any = "the connection"


class FakeChannel:
    """Keeps what is published; confirms, returns and closes when told."""

    def __init__(self) -> None:
        self.published: list[Message] = []
        self.on_confirm: Any = None
        self.on_return: Any = None
        self.on_closed: Any = None
        self.failure: Exception | None = None
        self.is_open = True

    def publish(self, message: Message) -> int:
        if self.failure is not None:
            raise self.failure
        self.published.append(message)
        return len(self.published)

    @property
    def keys(self) -> list[str]:
        return [message.routing_key for message in self.published]


class FakeConnection:
    """Opens the sender's channel when told."""

    is_stopping = False

    def __init__(self, host: FakeHost) -> None:
        self.backend = host.backend
        self.managed: Any = None
        self.reason: str | None = None

    def add_channel(self, managed: ManagedChannel) -> ManagedChannel:
        self.managed = managed
        return managed

    def awaited(self) -> AbstractContextManager[None]:
        return nullcontext()

    def call_attention(self) -> None:
        """Nothing looks by itself."""

    def health(self) -> str | None:
        return self.reason

    def make_channel(self) -> FakeChannel:
        return FakeChannel()

    def use(self, channel: FakeChannel) -> FakeChannel:
        """Open the sender's channel: this one."""
        link: Any = type("FakeLink", (), {"channel": lambda self, confirms: channel})()
        self.managed.open(link)
        return channel

    def open(self) -> FakeChannel:
        return self.use(self.make_channel())

    def lose(self, failure: Exception) -> None:
        self.managed.current.on_closed(failure)


class Rig:
    """A sender, its connection and an open channel."""

    def __init__(self, backend: Backend | None = None, **settings: Any) -> None:
        self.host = FakeHost(config={"publish_timeout": 5, **settings}, backend=backend)
        self.connection = FakeConnection(self.host)
        resources: Resources = self.host.resources
        resources._known[AmqpConnection, KEY] = self.connection  # type: ignore[assignment]
        self.sender = self.host.resource(ConfirmedSender, KEY)
        self.channel = self.connection.open()
        self.outcomes: dict[str, Exception | None] = {}

    def send(self, *keys: str, exchange: str = "exchange") -> None:
        for key in keys:
            self.sender.send(message(key, exchange), lambda error, key=key: self.outcomes.update({key: error}))

    def retried(self, key: str, retries: int) -> None:
        self.sender.send(message(key), lambda error: self.outcomes.update({key: error}), retries=retries)

    def publish(
        self, key: str, timeout: float | None = None, retries: int | None = None, **options: Any
    ) -> Callable[[], Any]:
        """Publish in a greenlet; gives a function that waits for the outcome."""
        outcome: list[Any] = []

        def work() -> None:
            try:
                self.sender.publish(message(key, **options), timeout, retries=retries)
                outcome.append(None)
            except Exception as exc:
                outcome.append(exc)

        task = self.host.backend.spawn(work)
        self.host.backend.sleep(0)

        def wait() -> Any:
            assert task.wait(10)
            return outcome[0]

        return wait


def message(key: str, exchange: str = "exchange", mandatory: bool = False, **properties: Any) -> Message:
    return Message(exchange, key, b"body", {"message_id": f"id of {key}", **properties}, mandatory)


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    return Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_publish_waits_for_its_confirm(rig: Rig) -> None:
    wait = rig.publish("a")
    assert rig.channel.keys == ["a"]
    assert rig.sender._unconfirmed
    rig.channel.on_confirm((1,), False, True)
    assert wait() is None
    assert not rig.sender._unconfirmed


def test_confirms_may_come_in_any_order(rig: Rig) -> None:
    rig.send("a", "b", "c")
    rig.channel.on_confirm((3,), False, True)
    rig.channel.on_confirm((1,), False, True)
    assert rig.outcomes == {"a": None, "c": None}


def test_a_confirm_of_many_confirms_all_up_to_it(rig: Rig) -> None:
    rig.send("a", "b", "c", "d")
    rig.channel.on_confirm((2,), False, True)
    rig.channel.on_confirm((3,), True, True)
    assert rig.outcomes == {"a": None, "b": None, "c": None}


def test_a_nack_raises_publish_rejected(rig: Rig) -> None:
    wait = rig.publish("a")
    rig.channel.on_confirm((1,), False, False)
    error = wait()
    assert type(error) is PublishRejected
    assert "refused the message 'a' on exchange 'exchange'" in str(error)


def test_a_confirm_that_nobody_waits_for_is_ignored(rig: Rig) -> None:
    rig.channel.on_confirm((17,), False, True)
    rig.channel.on_confirm((17,), True, True)
    assert rig.outcomes == {}


def test_a_timeout_names_message_seconds_and_reason(rig: Rig) -> None:
    rig.connection.reason = "broker at here takes no messages: low on memory"
    error = rig.publish("a", timeout=0.01)()
    assert type(error) is PublishTimeout
    assert str(error) == (
        "no confirm within 0.01 s for 'a' on exchange 'exchange': broker at here takes no messages: low on memory; "
        "whether the broker has the message is unknown"
    )


def test_the_configured_timeout_holds_where_none_is_given(make_rig: Callable[..., Rig]) -> None:
    assert "within 0.02 s" in str(make_rig(publish_timeout=0.02).publish("a")())


def test_what_timed_out_is_forgotten(rig: Rig) -> None:
    rig.publish("a", timeout=0.01)()
    rig.channel.on_confirm((1,), False, True)
    rig.connection.lose(ConnectionLost())
    assert rig.connection.open().keys == []


def test_a_full_buffer_makes_publish_wait_for_room(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(publish_buffer=2)
    waits = [rig.publish(key) for key in "abc"]
    assert rig.channel.keys == ["a", "b"]
    rig.channel.on_confirm((1,), False, True)
    assert waits[0]() is None
    assert rig.channel.keys == ["a", "b", "c"]
    rig.channel.on_confirm((3,), True, True)
    assert [wait() for wait in waits] == [None] * 3


def test_a_buffer_that_stays_full_is_a_timeout_and_nothing_is_kept(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(publish_buffer=1)
    rig.publish("a")
    error = rig.publish("b", timeout=0.01)()
    assert type(error) is PublishTimeout
    assert str(error) == (
        "no room within 0.01 s for 'b' on exchange 'exchange': the broker sent no confirm; "
        "the message was not sent, since publish_buffer (1) is full"
    )
    assert rig.channel.keys == ["a"]
    assert len(rig.sender._unconfirmed) + len(rig.sender._again) == 1


def test_the_buffer_bounds_what_waits_for_a_connection_too(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(publish_buffer=2)
    rig.connection.lose(ConnectionLost())
    waits = [rig.publish(key) for key in "ab"]
    error = rig.publish("c", timeout=0.01)()
    assert type(error) is ConnectionLost
    assert str(error) == (
        "nothing was sent: the connection is being set up again; the message had no room within 0.01 s for 'c' on "
        "exchange 'exchange', since publish_buffer (2) is full"
    )
    channel = rig.connection.open()
    assert channel.keys == ["a", "b"]
    channel.on_confirm((2,), True, True)
    assert [wait() for wait in waits] == [None, None]


def test_a_timeout_makes_room_for_others(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(publish_buffer=1)
    first = rig.publish("a", timeout=0.01)
    second = rig.publish("b")
    assert type(first()) is PublishTimeout
    rig.host.backend.sleep(0)
    rig.channel.on_confirm((2,), False, True)
    assert second() is None


def test_replies_are_sent_however_full_the_buffer_is(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(publish_buffer=1)
    rig.send("a", "b", "c")
    assert rig.channel.keys == ["a", "b", "c"]


def test_unconfirmed_messages_are_published_again_in_order(rig: Rig) -> None:
    rig.send("a", "b", "c")
    rig.channel.on_confirm((2,), False, True)
    rig.connection.lose(ConnectionLost())
    rig.send("d")
    channel = rig.connection.open()
    assert channel.keys == ["a", "c", "d"]
    channel.on_confirm((3,), True, True)
    assert rig.outcomes == dict.fromkeys("abcd")


def test_a_connection_that_breaks_again_and_again_loses_nothing(rig: Rig) -> None:
    rig.send("a", "b")
    for _ in range(3):
        rig.connection.lose(ConnectionLost())
        channel = rig.connection.open()
        assert channel.keys == ["a", "b"]
    channel.on_confirm((2,), True, True)
    assert rig.outcomes == dict.fromkeys("ab")


def test_a_link_that_broke_unnoticed_keeps_the_message(rig: Rig) -> None:
    rig.channel.failure = ConnectionLost()
    wait = rig.publish("a")
    rig.connection.lose(ConnectionLost())
    channel = rig.connection.open()
    assert channel.keys == ["a"]
    channel.on_confirm((1,), False, True)
    assert wait() is None


def test_an_exchange_that_is_missing_fails_only_its_messages(rig: Rig) -> None:
    rig.send("a", "c")
    rig.send("b", exchange="missing")
    rig.connection.lose(ChannelClosed(404, "NOT_FOUND - no exchange 'missing' in vhost '/'"))
    assert {key: type(error) for key, error in rig.outcomes.items()} == {"b": ChannelClosed}
    channel = rig.connection.open()
    assert channel.keys == ["a", "c"]


def test_a_mistake_without_a_name_is_found_by_one_message_at_a_time(rig: Rig) -> None:
    rig.send("a", "b", "c")
    failure = ChannelClosed(406, "PRECONDITION_FAILED")
    rig.connection.lose(failure)
    assert rig.outcomes == {}
    channel = rig.connection.open()
    assert channel.keys == ["a"]
    channel.on_confirm((1,), False, True)
    assert channel.keys == ["a", "b"]
    rig.connection.lose(failure)
    assert rig.outcomes == {"a": None, "b": failure}
    channel = rig.connection.open()
    rig.send("d")
    assert channel.keys == ["c"]
    channel.on_confirm((1,), False, True)
    channel.on_confirm((2,), False, True)
    assert rig.outcomes == {"a": None, "b": failure, "c": None, "d": None}
    rig.send("e", "f")
    assert channel.keys == ["c", "d", "e", "f"]


def test_a_mistake_of_the_only_message_is_its_own(rig: Rig) -> None:
    wait = rig.publish("a")
    failure = ChannelClosed(403, "ACCESS_REFUSED")
    rig.connection.lose(failure)
    assert wait() is failure
    assert rig.connection.open().keys == []


def test_a_returned_message_is_undeliverable(rig: Rig) -> None:
    wait = rig.publish("a", mandatory=True)
    rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", {"message_id": "id of a"}, b"body"))
    rig.channel.on_confirm((1,), False, True)
    error = wait()
    assert type(error) is UndeliverableMessage
    assert (error.exchange, error.routing_key) == ("exchange", "a")
    assert not rig.sender._mandatory


def test_a_returned_message_that_nobody_knows_is_ignored(rig: Rig) -> None:
    rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", {}, b"body"))
    assert rig.outcomes == {}


@pytest.mark.parametrize("order", [("there", "nowhere"), ("nowhere", "there"), ("nowhere", "nowhere", "there")])
def test_of_several_with_one_id_those_that_came_back_are_undeliverable(rig: Rig, order: tuple[str, ...]) -> None:
    outcomes = [(key, rig.publish(key, mandatory=True, message_id="same")) for key in order]
    for number, sent in enumerate(rig.channel.published, 1):
        if sent.routing_key == "nowhere":
            rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "nowhere", sent.properties, b"body"))
        rig.channel.on_confirm((number,), False, True)
    for key, wait in outcomes:
        assert type(wait()) is (UndeliverableMessage if key == "nowhere" else type(None))
    assert not rig.sender._mandatory


def test_only_of_several_with_one_id_all_but_the_first_have_a_mark(rig: Rig) -> None:
    waits = [rig.publish("a", mandatory=True, message_id="same") for _ in range(3)]
    waits.append(rig.publish("a", mandatory=True, message_id="another"))
    rig.channel.on_confirm((4,), True, True)
    waits.append(rig.publish("a", mandatory=True, message_id="same"))
    rig.channel.on_confirm((5,), True, True)
    assert [wait() for wait in waits] == [None] * 5
    marks = [sent.properties.get("headers", {}).get(MARK) for sent in rig.channel.published]
    assert [bool(mark) for mark in marks] == [False, True, True, False, False]
    assert marks[1] != marks[2]
    assert [sent.properties["message_id"] for sent in rig.channel.published] == ["same"] * 3 + ["another", "same"]


def test_a_mark_that_several_have_from_their_sender_gives_way(rig: Rig) -> None:
    given = {"message_id": "same", "headers": {MARK: "theirs", "own": 1}}
    first, second = (rig.publish("a", mandatory=True, **given) for _ in range(2))
    returned = rig.channel.published[1].properties
    assert returned["headers"]["own"] == 1 and returned["headers"][MARK] != "theirs"
    rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", returned, b"body"))
    rig.channel.on_confirm((2,), True, True)
    assert (first(), type(second())) == (None, UndeliverableMessage)


def test_several_with_one_id_are_told_apart_on_the_next_channel_too(rig: Rig) -> None:
    first, second = (rig.publish("a", mandatory=True, message_id="same") for _ in range(2))
    rig.connection.lose(ConnectionLost())
    channel = rig.connection.open()
    assert len(channel.published) == 2
    channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", channel.published[0].properties, b"body"))
    channel.on_confirm((2,), True, True)
    assert (type(first()), second()) == (UndeliverableMessage, None)


def test_who_gives_up_with_the_same_id_takes_no_return_from_another(rig: Rig) -> None:
    first = rig.publish("a", mandatory=True, message_id="same")
    assert type(rig.publish("b", timeout=0.01, message_id="same")()) is PublishTimeout
    rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", {"message_id": "same"}, b"body"))
    rig.channel.on_confirm((1,), False, True)
    assert type(first()) is UndeliverableMessage


def test_a_message_that_is_too_large_leaves_nothing_behind(rig: Rig) -> None:
    rig.channel.failure = MessageTooLarge("headers", 140_000, 131_064)
    assert type(rig.publish("a", mandatory=True)()) is MessageTooLarge
    assert not rig.sender._mandatory
    assert not rig.sender._unconfirmed


def test_a_message_that_proves_too_large_while_it_waits_fails_alone(rig: Rig) -> None:
    rig.connection.lose(ConnectionLost())
    rig.send("a")
    wait = rig.publish("b", mandatory=True)
    channel = FakeChannel()
    failure = MessageTooLarge("headers", 140_000, 131_064)
    publish = channel.publish

    def refuse(given: Message) -> int:
        if given.routing_key == "b":
            raise failure
        return publish(given)

    channel.publish = refuse  # type: ignore[method-assign]
    rig.connection.use(channel)
    assert wait() is failure
    assert channel.keys == ["a"]
    assert not rig.sender._mandatory


def test_the_topology_is_declared_each_time_the_channel_is_opened(rig: Rig) -> None:
    declared: list[Any] = []
    rig.sender.declare(declared.append)
    rig.connection.lose(ConnectionLost())
    assert declared == [rig.connection.open()]


def test_stopping_waits_for_outstanding_confirms(rig: Rig) -> None:
    rig.send("a")
    task = rig.host.backend.spawn(rig.sender.stop)
    rig.host.backend.sleep(0)
    assert task.is_alive()
    rig.channel.on_confirm((1,), False, True)
    assert task.wait(5)


def test_stopping_says_how_many_messages_were_not_confirmed(
    make_rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    rig = make_rig(publish_timeout=0.01)
    rig.send("a", "b")
    with caplog.at_level(logging.ERROR):
        rig.sender.stop()
    assert "2 messages were not confirmed" in caplog.text


# What was never sent


def test_a_message_that_had_no_channel_was_not_sent(rig: Rig) -> None:
    rig.connection.lose(ConnectionLost())
    rig.connection.reason = "broker at here: gone"
    error = rig.publish("a", timeout=0.01)()
    assert type(error) is ConnectionLost
    assert not error.maybe_executed
    assert str(error) == (
        "nothing was sent: broker at here: gone; the message had no channel within 0.01 s for 'a' "
        "on exchange 'exchange'"
    )


def test_a_message_behind_suspects_was_not_sent(rig: Rig) -> None:
    rig.send("a", "b")
    rig.connection.lose(ChannelClosed(406, "PRECONDITION_FAILED"))
    rig.connection.open()
    error = rig.publish("c", timeout=0.01)()
    assert type(error) is ConnectionLost
    assert "nothing was sent: others go first, one at a time" in str(error)


def test_a_message_that_was_sent_before_may_be_there(rig: Rig) -> None:
    wait = rig.publish("a", timeout=0.05)
    rig.connection.lose(ConnectionLost())
    error = wait()
    assert type(error) is PublishTimeout
    assert "whether the broker has the message is unknown" in str(error)


def test_a_channel_that_has_ended_takes_nothing(rig: Rig) -> None:
    rig.channel.failure = ConnectionLost()
    rig.channel.is_open = False
    error = rig.publish("a", timeout=0.01)()
    assert type(error) is ConnectionLost
    assert not error.maybe_executed


def test_the_last_time_that_a_message_may_be_sent_is_waited_for(rig: Rig) -> None:
    """One channel more may end before it is sent on it; that was not the time."""
    rig.retried("a", retries=1)
    rig.connection.lose(ConnectionLost())
    channel = rig.connection.make_channel()
    channel.failure = ConnectionLost()
    rig.connection.use(channel)
    rig.connection.lose(ConnectionLost())
    assert rig.outcomes == {}
    channel = rig.connection.open()
    assert channel.keys == ["a"]
    rig.connection.lose(ConnectionLost("cut"))
    lost = rig.outcomes["a"]
    assert isinstance(lost, ConnectionLost)
    assert lost.maybe_executed


def test_who_waits_for_room_without_retries_hears_of_the_loss_at_once(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig(publish_buffer=1)
    rig.send("first")
    wait = rig.publish("a", retries=0)
    rig.connection.lose(ConnectionLost())
    error = wait()
    assert type(error) is ConnectionLost
    assert not error.maybe_executed


def test_what_a_killed_worker_sent_is_not_sent_later(rig: Rig) -> None:
    rig.connection.lose(ConnectionLost())
    task = rig.host.backend.spawn(rig.sender.publish, message("a"))
    rig.host.backend.sleep(0)
    task.kill()
    assert rig.connection.open().keys == []


# What comes back on a channel that is lost


def test_a_returned_message_is_undeliverable_when_the_channel_is_lost_before_its_confirm(rig: Rig) -> None:
    wait = rig.publish("a", mandatory=True)
    rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", {"message_id": "id of a"}, b"body"))
    rig.connection.lose(ConnectionLost())
    assert type(wait()) is UndeliverableMessage
    assert rig.connection.open().keys == []


def test_a_late_return_of_a_lost_channel_means_no_message_of_the_next(rig: Rig) -> None:
    wait = rig.publish("a", mandatory=True)
    rig.connection.lose(ConnectionLost())
    channel = rig.connection.open()
    rig.channel.on_return(Returned(312, "NO_ROUTE", "exchange", "a", {"message_id": "id of a"}, b"body"))
    channel.on_confirm((1,), False, True)
    assert wait() is None


# Whose mistake it was


def test_messages_flow_again_while_others_keep_coming(rig: Rig) -> None:
    """Only those that were under way are suspects, and not what comes afterwards."""
    rig.send("a", "b")
    rig.connection.lose(ChannelClosed(406, "PRECONDITION_FAILED"))
    channel = rig.connection.open()
    rig.send("c", "d", "e")
    channel.on_confirm((1,), False, True)
    assert channel.keys == ["a", "b"]
    channel.on_confirm((2,), False, True)
    assert channel.keys == ["a", "b", "c", "d", "e"]


def test_an_exchange_whose_name_cannot_be_read_does_not_close_channels_without_end(rig: Rig) -> None:
    failure = ChannelClosed(404, "NOT_FOUND - no exchange 'it's' in vhost '/'")
    rig.send("a")
    rig.send("b", exchange="it's")
    rig.connection.lose(failure)
    channel = rig.connection.open()
    channel.on_confirm((1,), False, True)
    assert channel.keys == ["a", "b"]
    rig.connection.lose(failure)
    assert rig.outcomes == {"a": None, "b": failure}
    assert rig.connection.open().keys == []


def test_a_topic_that_is_refused_fails_only_its_messages(rig: Rig) -> None:
    rig.send("a", "b")
    failure = ChannelClosed(403, "ACCESS_REFUSED - access to topic 'a' in exchange 'exchange' in vhost '/' refused")
    rig.connection.lose(failure)
    assert rig.outcomes == {"a": failure}
    assert rig.connection.open().keys == ["b"]


def test_the_mistake_of_a_message_that_timed_out_is_nobody_elses(rig: Rig) -> None:
    assert type(rig.publish("a", timeout=0.01)()) is PublishTimeout
    rig.send("b")
    rig.connection.lose(ChannelClosed(406, "PRECONDITION_FAILED"))
    assert rig.outcomes == {}
    channel = rig.connection.open()
    assert channel.keys == ["b"]
    channel.on_confirm((1,), False, True)
    assert rig.outcomes == {"b": None}


def test_a_suspect_that_times_out_keeps_nobody_waiting(rig: Rig) -> None:
    wait = rig.publish("a", timeout=0.05)
    rig.send("b")
    rig.connection.lose(ChannelClosed(406, "PRECONDITION_FAILED"))
    channel = rig.connection.open()
    assert type(wait()) is PublishTimeout
    rig.send("c")
    channel.on_confirm((1,), False, True)
    channel.on_confirm((2,), False, True)
    assert channel.keys == ["a", "b", "c"]


# What goes wrong while others wait


def test_a_message_that_cannot_be_encoded_keeps_nobody_waiting(rig: Rig) -> None:
    """Whatever a link raises for it."""
    rig.connection.lose(ConnectionLost())
    wait = rig.publish("a")
    rig.send("b")
    channel = rig.connection.make_channel()
    publish = channel.publish

    def refuse(given: Message) -> int:
        if given.routing_key == "a":
            raise TypeError("no such thing")
        return publish(given)

    channel.publish = refuse  # type: ignore[method-assign]
    rig.connection.use(channel)
    assert type(wait()) is TypeError
    assert channel.keys == ["b"]


def test_who_fails_to_hear_of_an_outcome_keeps_nobody_waiting(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def fail(error: Exception | None) -> None:
        raise OSError("deaf")

    rig.sender.send(message("a"), fail)
    wait = rig.publish("b")
    rig.channel.on_confirm((2,), True, True)
    assert wait() is None
    assert "who sent the message 'a' failed to hear of its outcome" in caplog.text
