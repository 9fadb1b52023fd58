"""Declarations: what it remembers of exchanges, and who hears of what it finds."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Exchange

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


def test_brokers_that_do_not_know_exchanges_are_not_asked() -> None:
    host = FakeHost(config={"AMQP_URI": "memory://any/any"})
    key = ConnectionKey("redis://localhost:6379/0", None, None)
    assert host.resource(Declarations, key).check("any", 3) == 3
