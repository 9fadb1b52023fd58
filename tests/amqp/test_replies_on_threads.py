"""RpcCall and ReplyListener where another thread may come between any two of their steps."""

from contextlib import nullcontext
from typing import Any

import pytest
from test_sender import FakeChannel

from rpcservice.amqp.connection import AmqpConnection, ConnectionKey
from rpcservice.amqp.link import Delivery, Message
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.replies import ReplyListener
from rpcservice.amqp.rpccall import RpcCall
from rpcservice.concurrency import threads
from rpcservice.core.resource import Resources
from rpcservice.errors import ChannelClosed, ConnectionLost, RpcTimeout
from rpcservice.testing import FakeHost

KEY = ConnectionKey("amqp://here", None, None)


class RequestChannel(FakeChannel):
    """Keeps requests; what declares and consumes does nothing."""

    def declare_exchange(self, *args: Any, **options: Any) -> None: ...

    def declare_queue(self, *args: Any, **options: Any) -> None: ...

    def bind_queue(self, *args: Any, **options: Any) -> None: ...

    def consume(self, *args: Any, **options: Any) -> None: ...


class TwoChannels:
    """A connection that opens the channels for replies and requests when told."""

    is_stopping = False

    def __init__(self, host: FakeHost) -> None:
        self.backend = host.backend
        self.managed: list[ManagedChannel] = []

    def add_channel(self, managed: ManagedChannel) -> ManagedChannel:
        self.managed.append(managed)
        return managed

    def call_attention(self) -> None:
        """Nothing looks by itself."""

    def awaited(self) -> Any:
        return nullcontext()

    def health(self) -> str | None:
        return "away"

    def open(self) -> RequestChannel:
        """Open both; gives the one for requests."""
        for managed in self.managed:
            channel = RequestChannel()
            link: Any = type("FakeLink", (), {"channel": lambda self, confirms, channel=channel: channel})()
            managed.open(link)
        return channel

    def lose(self, failure: Exception) -> None:
        for managed in self.managed:
            current: Any = managed.current
            current.on_closed(failure)


class Rig:
    def __init__(self) -> None:
        self.host = FakeHost(backend=threads())
        self.connection = TwoChannels(self.host)
        resources: Resources = self.host.resources
        resources._known[AmqpConnection, KEY] = self.connection  # type: ignore[assignment]
        self.listener = self.host.resource(ReplyListener, KEY)
        self.channel = self.connection.open()
        self._count = 0

    def send(self, timeout: float = 5) -> RpcCall:
        self._count += 1
        request = Message("nameko-rpc", "desk.say", b"", {"correlation_id": f"id {self._count}"})
        return self.listener.send(request, "desk", "say", timeout)

    def reply(self, number: int = 1) -> Delivery:
        properties = {"correlation_id": f"id {number}", "content_type": "application/json"}
        channel: Any = self.channel
        return Delivery(channel, "", 1, False, "", "", b'{"result": "here", "error": null}', properties)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def start_sending(rig: Rig) -> tuple[Any, list[RpcCall]]:
    sent: list[RpcCall] = []
    return rig.host.backend.spawn(lambda: sent.append(rig.send())), sent


@pytest.mark.parametrize("failure", [ConnectionLost("gone"), ChannelClosed(404, "gone")])
def test_a_request_on_a_channel_that_has_just_ended_is_sent_on_the_next(rig: Rig, failure: Exception) -> None:
    """It may have ended for a moment before the listener is told."""
    rig.channel.failure = failure
    publish, told = rig.channel.publish, rig.host.backend.event()

    def publish_and_tell(message: Message) -> int:
        told.set()
        return publish(message)

    rig.channel.publish = publish_and_tell  # type: ignore[method-assign]
    task, sent = start_sending(rig)
    assert told.wait(5)
    rig.connection.lose(failure)
    channel = rig.connection.open()
    assert task.wait(5)
    assert channel.keys == ["desk.say"]
    rig.listener.receive(rig.reply())
    assert sent[0].result() == "here"


def test_a_call_that_is_failed_before_it_is_sent_begins_anew(rig: Rig) -> None:
    """Whoever loses the channels settles all that is in the table, also a call that finds them lost only then."""

    class Table(dict[str, RpcCall]):
        def __setitem__(self, key: str, call: RpcCall) -> None:
            super().__setitem__(key, call)
            if rig.channel.failure is None:
                rig.channel.failure = ConnectionLost("gone")
                rig.connection.lose(rig.channel.failure)
                lost.set()

    lost = rig.host.backend.event()
    rig.listener._pending = Table()
    task, sent = start_sending(rig)
    assert lost.wait(5)
    channel = rig.connection.open()
    assert task.wait(5)
    assert channel.keys == ["desk.say"]
    assert not sent[0].is_done()
    assert rig.listener._pending == {"id 1": sent[0]}


def test_a_reply_that_comes_when_time_is_up_counts(rig: Rig) -> None:
    """Who takes a call out of the table settles it, and who is late waits for that."""
    call = rig.send(timeout=0.01)
    del rig.listener._pending["id 1"]
    results: list[Any] = []
    task = rig.host.backend.spawn(lambda: results.append(call.result()))
    assert not task.wait(0.1)
    call.reply = rig.reply()
    call.settle(None)
    assert task.wait(5)
    assert results == ["here"]


def test_a_timeout_leaves_a_reply_nothing_to_settle(rig: Rig) -> None:
    call = rig.send(timeout=0)
    call.expire()
    rig.listener.receive(rig.reply())
    with pytest.raises(RpcTimeout):
        call.result()


def test_replies_that_come_while_all_calls_fail_are_no_error(rig: Rig) -> None:
    class Table(dict[str, RpcCall]):
        def popitem(self) -> tuple[str, RpcCall]:
            rig.listener.receive(rig.reply())
            return super().popitem()

    call = rig.send()
    rig.listener._pending = Table(rig.listener._pending)
    rig.connection.lose(ConnectionLost("gone"))
    assert call.result() == "here"


def test_a_callback_that_is_added_when_the_outcome_comes_is_called_once(rig: Rig) -> None:
    call = rig.send()
    called: list[RpcCall] = []
    event = call._event

    class Looked:
        set = event.set

        def is_set(self) -> bool:
            found = event.is_set()
            call._event = event
            rig.listener.receive(rig.reply())
            return found

    looked: Any = Looked()
    call._event = looked
    call.add_done_callback(called.append)
    assert called == [call]


def test_a_callbacks_timer_is_called_off_with_the_outcome(rig: Rig) -> None:
    """Each would stay for as long as its call might have taken."""
    clock: Any = rig.host.backend._clock  # type: ignore[attr-defined]
    for number in range(1, 1001):
        rig.send(timeout=60).add_done_callback(lambda call: None)
        rig.listener.receive(rig.reply(number))
    assert len(clock._timers) < 300


def test_an_error_that_is_raised_again_has_a_traceback_of_its_own(rig: Rig) -> None:
    """Many threads may ask for one call, and a future keeps what it raises; the cause stays."""
    call = rig.send()
    rig.connection.lose(ConnectionLost("gone"))
    cause = call._outcome[1].__cause__ = ValueError("cause")  # type: ignore[index, union-attr]
    lengths = []
    for _ in range(3):
        with pytest.raises(ConnectionLost) as raised:
            call.result()
        assert raised.value.__cause__ is cause
        lengths.append(len(raised.traceback))
    assert lengths == lengths[:1] * 3
