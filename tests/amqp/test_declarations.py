"""Declarations: what it remembers of exchanges, and who hears of what it finds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Exchange
from waiting import wait_until

from rpcservice.amqp import declarations
from rpcservice.amqp.connection import AmqpConnection, ConnectionKey, connection_key
from rpcservice.amqp.declarations import Declarations
from rpcservice.concurrency import Backend, green, threads
from rpcservice.errors import ChannelClosed, ConnectionLost
from rpcservice.testing import FakeHost

BACKENDS: dict[str, Callable[[], Backend]] = {"greenlets": green, "threads": threads}


class Rig:
    """Declarations on a connection to the embedded broker, and what is asked of it."""

    def __init__(self, backend: Backend, uri: str) -> None:
        self.host = FakeHost(config={"AMQP_URI": uri, "publish_timeout": 5}, backend=backend)
        key = connection_key(self.host.config)
        self.connection = self.host.resource(AmqpConnection, key)
        self.declarations = self.host.resource(Declarations, key)
        self.connection.start()
        self.asked: list[str] = []
        assert self.connection.link is not None
        self.channel = self.connection.link.channel()

    def watch(self) -> None:
        """Note from now on what is asked on the present channel."""
        channel = self.declarations._open().wait(None)
        method = channel.declare_exchange

        def noted(name: str, *args: Any, **options: Any) -> None:
            self.asked.append(name)
            self.host.backend.sleep(0.01)  # while others come with the same question
            method(name, *args, **options)

        channel.declare_exchange = noted

    def together(self, *works: Callable[[], object]) -> list[Exception | None]:
        """Do several things beside each other; gives their errors."""
        outcomes: list[Exception | None] = [None] * len(works)

        def run(number: int, work: Callable[[], object]) -> None:
            try:
                work()
            except Exception as exc:
                outcomes[number] = exc

        tasks = [self.host.backend.spawn(run, number, work) for number, work in enumerate(works)]
        assert all(task.wait(10) for task in tasks)
        return outcomes


@pytest.fixture(params=BACKENDS)
def rig(request: pytest.FixtureRequest, memory_uri: str) -> Iterator[Rig]:
    made = Rig(BACKENDS[request.param](), memory_uri)
    yield made
    made.connection.stop()


@pytest.fixture
def memory_uri(request: pytest.FixtureRequest) -> str:
    return f"memory://declarations/{abs(hash(request.node.name))}"


def test_all_who_ask_at_the_same_time_ask_once(rig: Rig) -> None:
    rig.channel.declare_exchange("there")
    rig.watch()
    assert rig.together(*[lambda: rig.declarations.check("there", 5)] * 10) == [None] * 10
    assert rig.asked == ["there"]


def test_each_who_asks_for_what_is_missing_gets_an_error_of_his_own(rig: Rig) -> None:
    rig.watch()
    outcomes = rig.together(*[lambda: rig.declarations.check("absent", 5)] * 3)
    assert all(isinstance(outcome, ChannelClosed) and outcome.code == 404 for outcome in outcomes)
    assert len({id(outcome) for outcome in outcomes}) == 3


def test_what_closes_the_channel_is_no_error_of_those_who_wait_for_it(rig: Rig) -> None:
    rig.channel.declare_exchange("there")
    names = ["absent", "there", "made", "gone", "there", "other"]
    works: list[Callable[[], object]] = [lambda name=name: rig.declarations.check(name, 5) for name in names]  # type: ignore[misc]
    works[2] = works[5] = lambda: rig.declarations.ensure([Exchange("made")], 5)
    found = [getattr(outcome, "code", outcome) for outcome in rig.together(*works)]
    assert found == [404, None, None, 404, None, None]


def test_so_many_names_are_remembered_and_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declarations, "MOST_REMEMBERED", 3)
    names = [f"exchange-{number}" for number in range(10)]
    for name in names:
        rig.channel.declare_exchange(name)
        rig.declarations.check(name, 5)
        rig.declarations.ensure([Exchange(name)], 5)
        assert rig.declarations.knows(name)
        assert len(rig.declarations._seen[1]) <= 3
        assert len(rig.declarations._declared) <= 3


def test_the_seconds_that_are_left_are_given(rig: Rig) -> None:
    rig.channel.declare_exchange("there")
    rig.watch()
    left = rig.declarations.check("there", 5)
    assert left is not None
    assert 0 < left < 5
    assert rig.declarations.check("there", 5) == 5
    assert rig.declarations.check("there", None) is None


def test_a_broker_that_does_not_answer_is_waited_for_as_long_as_told(rig: Rig) -> None:
    rig.channel.declare_exchange("there")
    channel = rig.declarations._open().wait(None)
    goes_on = rig.host.backend.event()
    method = channel.declare_exchange

    def hang(name: str, **options: Any) -> None:
        goes_on.wait(10)
        method(name, **options)

    channel.declare_exchange = hang
    with pytest.raises(ConnectionLost, match=r"nothing was sent: the broker does not say whether it has .* 'there'"):
        rig.declarations.check("there", 0.05)
    goes_on.set()
    rig.declarations.check("there", 5)


def test_a_connection_that_breaks_meanwhile_is_waited_for(rig: Rig) -> None:
    rig.channel.declare_exchange("there")
    channel = rig.declarations._open().wait(None)

    def lose(name: str, **options: Any) -> None:
        link: Any = rig.connection.link
        link.lose(ConnectionLost("cut"))
        raise ConnectionLost("cut")

    channel.declare_exchange = lose
    rig.declarations.check("there", 10)
    assert rig.declarations.knows("there")


def test_where_no_thread_can_be_started_who_asks_does_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on, when the interpreter ends."""
    rig.channel.declare_exchange("there")
    rig.declarations._open().wait(None)

    def refuse(*args: Any) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(rig.host.backend, "spawn", refuse, raising=False)
    rig.declarations.check("there", 5)
    assert rig.declarations.knows("there")


# While the broker is away


def send_away(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lose the connection, and let none be made any more until the patch is undone."""
    link: Any = rig.connection.link
    rig.declarations._open().wait(None)

    def refuse() -> None:
        raise ConnectionLost("the broker is away")

    monkeypatch.setattr(rig.connection, "_connect", refuse)
    link.lose(ConnectionLost("cut"))
    wait_until(lambda: rig.declarations.current is None, "the end of the channel")


def test_many_who_ask_while_the_broker_is_away_need_one_task(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    send_away(rig, monkeypatch)
    spawned: list[Any] = []
    spawn = rig.host.backend.spawn

    def counted(function: Any, *args: Any) -> Any:
        spawned.append(getattr(function, "__self__", None))
        return spawn(function, *args)

    def ask(number: int) -> None:
        with pytest.raises(ConnectionLost):
            rig.declarations.check(f"exchange-{number}", 30)

    monkeypatch.setattr(rig.host.backend, "spawn", counted, raising=False)
    asking = [spawn(ask, number) for number in range(20)]
    wait_until(lambda: len(rig.declarations._errands) == 20, "the questions")
    assert spawned.count(rig.declarations) == 1
    rig.connection.stop()
    assert all(task.wait(10) for task in asking)


def test_what_nobody_waits_for_any_more_is_given_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is not asked when it is back, and nothing stays until then."""
    with monkeypatch.context() as patch:
        send_away(rig, patch)
        outcomes = rig.together(*[lambda n=n: rig.declarations.check(f"exchange-{n}", 0.1) for n in range(10)])
        assert all(isinstance(outcome, ConnectionLost) for outcome in outcomes)
        assert rig.declarations._errands == {}
        wait_until(lambda: not rig.declarations._is_running, "the end of the task")
    rig.connection.call_attention()
    rig.channel = wait_until(lambda: rig.connection.link).channel()
    rig.channel.declare_exchange("there")
    rig.watch()
    rig.declarations.check("there", 5)
    assert rig.asked == ["there"]


def test_who_still_waits_has_it_done_when_another_has_gone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.channel.declare_exchange("there")
    with monkeypatch.context() as patch:
        send_away(rig, patch)
        patient = rig.host.backend.spawn(rig.declarations.check, "there", 30)
        wait_until(lambda: rig.declarations._errands, "the question")
        with pytest.raises(ConnectionLost):
            rig.declarations.check("there", 0.05)
        assert patient.is_alive()
    assert patient.wait(10)
    assert rig.declarations.knows("there")


def test_a_stop_wakes_all_who_wait(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    send_away(rig, monkeypatch)
    errors: list[str] = []

    def ask(number: int) -> None:
        with pytest.raises(ConnectionLost) as caught:
            rig.declarations.check(f"exchange-{number}", 60)
        errors.append(str(caught.value))

    asking = [rig.host.backend.spawn(ask, number) for number in range(3)]
    wait_until(lambda: len(rig.declarations._errands) == 3, "the questions")
    rig.connection.stop()
    assert all(task.wait(10) for task in asking)
    assert errors == ["nothing was sent: this process is stopping"] * 3
    wait_until(lambda: not rig.declarations._is_running, "the end of the task")


def test_nobody_waits_for_a_channel_after_the_stop(rig: Rig) -> None:
    """One that is lost after it was told that it will not come back is no longer told so."""
    managed = rig.declarations._open()
    channel = managed.wait(None)
    rig.connection.stop()
    assert channel.on_closed is not None
    channel.on_closed(ConnectionLost("closed"))
    errors: list[str] = []

    def wait() -> None:
        with pytest.raises(ConnectionLost) as caught:
            managed.wait(None)
        errors.append(str(caught.value))

    assert rig.host.backend.spawn(wait).wait(5)
    assert errors == ["nothing was sent: this process is stopping"]


def refuse_threads(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(rig.host.backend, "spawn", refuse, raising=False)


def test_where_no_thread_can_be_started_who_asks_waits_no_longer_than_told(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_away(rig, monkeypatch)

    def ask() -> None:
        with pytest.raises(ConnectionLost, match=r"nothing was sent: .* the broker is away"):
            rig.declarations.check("there", 1.5)

    task = rig.host.backend.spawn(ask)
    refuse_threads(rig, monkeypatch)
    assert task.wait(5)
    assert rig.declarations._errands == {}


def test_where_no_thread_can_be_started_a_broker_with_an_alarm_is_not_asked(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could end the wait for its answer."""
    rig.watch()
    rig.connection._set_blocked("low on memory")
    refuse_threads(rig, monkeypatch)
    with pytest.raises(ConnectionLost, match="takes no messages: low on memory"):
        rig.declarations.ensure([Exchange("made")], 5)
    assert rig.asked == []
    assert rig.declarations._errands == {}
    rig.connection._set_blocked(None)
    rig.declarations.ensure([Exchange("made")], 5)
    assert rig.asked == ["made"]


def test_brokers_that_do_not_know_exchanges_are_not_asked() -> None:
    host = FakeHost(config={"AMQP_URI": "memory://any/any"})
    key = ConnectionKey("redis://localhost:6379/0", None, None)
    assert host.resource(Declarations, key).check("any", 3) == 3
