"""What stops first, what goes on meanwhile, and what a full pool leaves alone; in this process."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, ServiceRpc, ServiceRunner, event_handler, timer
from rpcservice import rpc as rpc_method
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.concurrency import Event, green
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import Dispatcher

pytestmark = pytest.mark.broker

MakeRunner = Callable[..., ServiceRunner]


class Shop:
    name = "shop"
    entered: list[str] = []
    heard: list[Any] = []
    ticks: list[int] = []
    gate: Event

    @rpc_method
    def say(self, text: str) -> str:
        return text

    @rpc_method
    def hold(self, text: str) -> str:
        self.entered.append(text)
        self.gate.wait(30)
        return text

    @event_handler("market", "moved")
    def hear(self, payload: Any) -> None:
        self.heard.append(payload)

    @timer(interval=0.01)
    def tick(self) -> None:
        self.ticks.append(1)


class Neighbour:
    name = "neighbour"

    @rpc_method
    def say(self, text: str) -> str:
        return text


@pytest.fixture(autouse=True)
def shop(gate: Event) -> None:
    Shop.entered, Shop.heard, Shop.ticks, Shop.gate = [], [], [], gate


def _hold(rpc: Any, count: int = 1) -> list[Any]:
    calls = [rpc["shop"].hold.call_async(f"held {number}") for number in range(count)]
    wait_until(lambda: len(Shop.entered) == count, f"{count} calls in flight")
    return calls


def _consumers(rabbitmq: RabbitMQNode, uri: str, queue: str) -> int:
    return int(rabbitmq.queues(uri)[queue]["consumers"])


def test_events_stop_first_and_wait_in_their_queue(
    runner_factory: MakeRunner, rpc: Any, dispatch: Dispatcher, rabbitmq: RabbitMQNode, rabbitmq_uri: str, gate: Event
) -> None:
    runner = runner_factory(Shop)
    runner.start()
    _hold(rpc)
    stopping = green().spawn(runner.stop)
    queue = "evt-market-moved--shop.hear"
    wait_until(lambda: _consumers(rabbitmq, rabbitmq_uri, queue) == 0, "the end of the consumer")
    dispatch("market", "moved", "late")
    assert rabbitmq.queues(rabbitmq_uri)[queue]["messages_ready"] == 1
    assert stopping.is_alive()
    gate.set()
    assert stopping.wait(5)
    assert Shop.heard == []


def test_timers_stop_first(runner_factory: MakeRunner, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> None:
    runner = runner_factory(Shop)
    runner.start()
    _hold(rpc)
    wait_until(lambda: len(Shop.ticks) > 2, "the timer")
    green().spawn(runner.stop)
    queue = "evt-market-moved--shop.hear"
    wait_until(lambda: _consumers(rabbitmq, rabbitmq_uri, queue) == 0, "the end of the sources")
    ticks = len(Shop.ticks)
    assert rpc["shop"].say("once more") == "once more"
    assert len(Shop.ticks) - ticks <= 1


def test_calls_of_anybody_are_served_while_a_call_is_running(
    runner_factory: MakeRunner, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str, gate: Event
) -> None:
    runner = runner_factory(Shop, Neighbour)
    runner.start()
    (call,) = _hold(rpc)
    stopping = green().spawn(runner.stop)
    queue = "evt-market-moved--shop.hear"
    wait_until(lambda: _consumers(rabbitmq, rabbitmq_uri, queue) == 0, "the end of the sources")
    assert rpc["neighbour"].say("still here") == "still here"
    gate.set()
    assert stopping.wait(5)
    assert call.result() == "held 0"


def test_a_stop_leaves_no_reply_queue_and_no_connection(
    runner_factory: MakeRunner, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    class Caller:
        name = "caller"
        shop = ServiceRpc("shop")

        @rpc_method
        def call(self) -> str: ...

    runner = runner_factory(Caller)
    runner.start()
    assert [name for name in rabbitmq.queues(rabbitmq_uri) if name.startswith("rpc.reply-")]
    runner.stop()
    assert list(rabbitmq.queues(rabbitmq_uri)) == ["rpc-caller"]
    wait_until(lambda: not rabbitmq.connections(rabbitmq_uri), "the end of the connection")


def _many_services() -> list[type]:
    def make(number: int) -> type:
        class Service:
            name = f"service{number}"
            dispatch = EventDispatcher()
            others = ServiceRpc("service0")

            @rpc_method
            def first(self) -> None: ...

            @rpc_method
            def second(self) -> None: ...

            @event_handler("service0", "one")
            def third(self, payload: Any) -> None: ...

            @event_handler("service0", "two")
            def fourth(self, payload: Any) -> None: ...

            @timer(interval=60)
            def fifth(self) -> None: ...

        return Service

    return [make(number) for number in range(20)]


def test_twenty_services_share_one_connection(
    runner_factory: MakeRunner, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    runner = runner_factory(*_many_services())
    runner.start()
    assert len(rabbitmq.connections(rabbitmq_uri)) == 1
    assert len(rabbitmq.channels(rabbitmq_uri)) == 20 + 3


def test_twenty_idle_services_stop_within_a_second(runner_factory: MakeRunner) -> None:
    runner = runner_factory(*_many_services())
    runner.start()
    begin = monotonic()
    runner.stop()
    assert monotonic() - begin < 1


@pytest.mark.parametrize("prefetch", [None, 50])
def test_a_full_pool_stops_neither_heartbeats_nor_other_services(
    prefetch: int | None, runner_factory: MakeRunner, rpc: Any, gate: Event
) -> None:
    """All workers stay busy, with more to do, for longer than the broker would wait for a sign of life."""
    runner = runner_factory(Shop, Neighbour, config={"HEARTBEAT": 1, "max_workers": 2, "PREFETCH_COUNT": prefetch})
    runner.start()
    link = runner.resources.get(AmqpConnection, connection_key(runner.config)).link
    _hold(rpc, 2)
    waiting = [rpc["shop"].hold.call_async("more") for _ in range(20)]
    begin = monotonic()
    while monotonic() - begin < 2.5:
        assert rpc["neighbour"].say.with_options(timeout=2)("quick") == "quick"
    assert runner.resources.get(AmqpConnection, connection_key(runner.config)).link is link
    gate.set()
    assert [call.result(5) for call in waiting] == ["more"] * 20


def test_a_service_that_is_killed_takes_no_more_while_others_go_on(
    runner_factory: MakeRunner, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    """It would give back what it takes, and get it again at once, until the whole process has stopped."""
    runner = runner_factory(Shop, Neighbour)
    runner.start()
    _hold(rpc)
    runner.containers["shop"].kill()
    for queue in ("rpc-shop", "evt-market-moved--shop.hear"):
        wait_until(lambda queue=queue: _consumers(rabbitmq, rabbitmq_uri, queue) == 0, "the end of its consumers")
    assert rabbitmq.queues(rabbitmq_uri)["rpc-shop"]["messages_ready"] == 1
    assert rpc["neighbour"].say("still here") == "still here"
