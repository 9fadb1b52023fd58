"""Links and channels that end between two steps of who takes them into use."""

from collections.abc import Callable
from itertools import repeat
from time import monotonic
from typing import Any

import pytest
from waiting import wait_until

from rpcservice.amqp.connection import AmqpConnection, ConnectionKey
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.concurrency import green, threads
from rpcservice.errors import ChannelClosed, ConnectionLost
from rpcservice.testing import FakeHost

KEY = ConnectionKey("amqp://here", None, None)


class FakeChannel:
    def __init__(self) -> None:
        self.is_open = True
        self.on_closed: Any = None

    def close(self) -> None:
        self.is_open = False


class FakeLink:
    """Connects at once; what happens then is the test's."""

    def __init__(self, when_connected: Callable[["FakeLink"], object]) -> None:
        self.failure: ConnectionLost | None = None
        self.on_lost: Any = None
        self.on_blocked: Any = None
        self.channels: list[FakeChannel] = []
        self.is_closed = False
        self._when_connected = when_connected

    def connect(self) -> None:
        self._when_connected(self)

    def lose(self) -> None:
        self.failure = ConnectionLost("lost")
        self.on_lost(self.failure)

    def channel(self, *, confirms: bool = False) -> FakeChannel:
        if self.failure is not None:
            raise self.failure
        self.channels.append(FakeChannel())
        return self.channels[-1]

    def close(self) -> None:
        self.is_closed = True


class Rig:
    """A connection whose links are the test's, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *when_connected: Callable[[FakeLink], object]) -> None:
        self.links = [FakeLink(act) for act in when_connected]
        left = iter(self.links)
        monkeypatch.setattr("rpcservice.amqp.connection.FIRST_PAUSE", 0.01)
        monkeypatch.setattr("rpcservice.amqp.connection.make_link", lambda *args: next(left))
        self.host = FakeHost(config={"startup_timeout": 5}, backend=threads())
        self.connection = self.host.resource(AmqpConnection, KEY)

    def add_channel(self, **options: Any) -> ManagedChannel:
        managed = ManagedChannel(
            self.connection, "tests", on_open=options.pop("on_open", lambda channel: None), **options
        )
        return self.connection.add_channel(managed)


def nothing(link: FakeLink) -> None:
    """Stay connected."""


def test_a_link_that_is_lost_before_it_is_kept_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be taken for a good one for ever, for it is lost only once."""
    rig = Rig(monkeypatch, FakeLink.lose, nothing)
    channel = rig.add_channel()
    rig.connection.start()
    assert rig.connection.link is rig.links[1]
    assert channel.current is rig.links[1].channels[0]
    rig.connection.stop()


def test_a_link_that_is_told_lost_late_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, nothing, nothing)
    rig.connection.start()
    rig.links[0].lose()
    wait_until(lambda: rig.connection.link is rig.links[1], "the second link")
    rig.links[0].on_lost(ConnectionLost("late"))
    assert rig.connection.link is rig.links[1]
    assert wait_until(lambda: rig.connection.health() is None, "a healthy connection")
    rig.connection.stop()


def test_a_connection_that_comes_while_the_process_stops_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, lambda link: rig.connection.kill())
    task = rig.host.backend.spawn(rig.connection._run)
    assert task.wait(5)
    assert rig.links[0].is_closed


def test_a_channel_that_ends_while_it_is_nobodys_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was waited for that could have failed, as for a channel on which nothing is declared."""
    lost: list[Exception] = []
    ready: list[Any] = []

    def end_the_first(channel: Any) -> None:
        if channel is rig.links[0].channels[0]:
            channel.is_open = False
            channel.on_closed(ChannelClosed(404, "gone"))

    rig = Rig(monkeypatch, nothing)
    channel = rig.add_channel(on_open=end_the_first, on_ready=ready.append, on_lost=lost.append)
    rig.connection.start()
    wait_until(lambda: ready, "another channel")
    assert [type(failure) for failure in lost] == [ConnectionLost]
    assert ready == [channel.current] == [rig.links[0].channels[1]]
    rig.connection.stop()


def test_a_channel_is_not_opened_while_its_owner_still_hears_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take what belongs to the next channel for what belonged to the last one."""
    rig = Rig(monkeypatch, nothing, nothing)
    seen: list[bool] = []

    def hear(failure: Exception) -> None:
        wait_until(lambda: rig.connection.link is rig.links[1] and rig.connection.health() is None, "the next link")
        seen.append(channel.current is None)

    channel = rig.add_channel(on_lost=hear)
    rig.connection.start()
    (lost,) = rig.links[0].channels
    rig.links[0].lose()
    lost.is_open = False
    lost.on_closed(ConnectionLost("lost"))
    assert seen == [True]
    wait_until(lambda: channel.current is not None, "the next channel")
    assert channel.current is rig.links[1].channels[0]
    rig.connection.stop()


def fail(link: FakeLink) -> None:
    raise ConnectionLost("refused")


def test_who_waits_has_attempts_made_soon_however_long_the_pause_has_become(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more of them than there are first pauses, however many wait."""
    rig = Rig(monkeypatch, nothing, *[fail] * 1000)
    monkeypatch.setattr("rpcservice.amqp.connection.FIRST_PAUSE", 0.2)
    monkeypatch.setattr("rpcservice.amqp.connection.pauses", lambda: repeat(600.0))
    channel = rig.add_channel()
    rig.connection.start()
    attempts = iter(rig.links)
    made: list[FakeLink] = []
    make_link: Any = lambda *args: made.append(next(attempts)) or made[-1]  # noqa: E731
    next(attempts)
    monkeypatch.setattr("rpcservice.amqp.connection.make_link", make_link)
    rig.links[0].lose()
    rig.links[0].channels[0].on_closed(rig.links[0].failure)
    wait_until(lambda: len(made) == 1, "the first attempt")

    def wait() -> None:
        with pytest.raises(ConnectionLost, match="refused"):
            channel.wait(monotonic() + 1)

    waiting = [rig.host.backend.spawn(wait) for _ in range(8)]
    assert all(task.wait(10) for task in waiting)
    assert 3 <= len(made) <= 7
    rig.connection.stop()


@pytest.mark.broker
def test_a_channel_that_is_opened_when_its_link_is_lost_is_lost_too(rabbitmq_uri: str) -> None:
    """The link tells all channels that it knows, and this one it does not know yet."""
    link = FrameLink(rabbitmq_uri, green())
    link.connect()
    call = link.call

    def call_and_lose(*args: Any, **options: Any) -> Any:
        opened = call(*args, **options)
        link.lose(ConnectionLost("lost"))
        return opened

    link.call = call_and_lose  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost, match="lost"):
        link.channel()


@pytest.mark.broker
@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_a_channel_whose_question_was_broken_off_takes_no_late_answer_for_another(
    kind: type[BaseException], rabbitmq_uri: str
) -> None:
    """As by an interrupt in a thread that declares: who asks next would get the answer that is still to come."""
    link = FrameLink(rabbitmq_uri, green())
    link.connect()
    channel = link.channel()
    lost: list[Exception] = []
    channel.on_closed = lost.append
    await_turn = link._amqp.drain_events

    def break_off(timeout: float | None = None) -> None:
        link._amqp.drain_events = await_turn
        link._release()
        raise kind

    link._amqp.drain_events = break_off
    with pytest.raises(kind):
        channel.declare_queue("first")
    assert [type(failure) for failure in lost] == [ConnectionLost]
    with pytest.raises(ConnectionLost, match=f"{kind.__name__} came while the broker was asked for something"):
        channel.declare_queue("second")
    assert link.channel().declare_queue("third").name == "third"
    wait_until(lambda: len(link._channels) == 1, "the end of the first channel")
    link.close()
