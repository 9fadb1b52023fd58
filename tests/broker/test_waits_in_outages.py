"""A broker that is killed while waits end loses nothing that it has confirmed."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, Publisher, Retry, ServiceContainer, event_handler
from rpcservice.amqp import waiting
from rpcservice.concurrency import green
from rpcservice.core.context import WorkerContext, current_worker
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker

QUEUE_OF_DUE = "evt-sending-due--receiving.handle"
EVENTS = 500
KILLS = 3


class Sending:
    name = "sending"
    dispatch = EventDispatcher(delay=0.3, timeout=60)
    publish = Publisher(routing_key=QUEUE_OF_DUE, delay=0.3, timeout=60)
    dispatch_now = EventDispatcher()


class Receiving:
    name = "receiving"
    handled: list[int] = []

    @event_handler("sending", "due")
    def handle(self, number: int) -> None:
        self.handled.append(number)


class Failing:
    name = "failing"
    may_end: set[bool] = set()
    counts: dict[int, int] = {}
    """The most attempts that a message has said were made, by number."""
    handled: set[int] = set()

    @event_handler("sending", "failed", retry=Retry(max_attempts=1000, initial=0.3, factor=1, jitter=0))
    def handle(self, number: int) -> None:
        ctx = current_worker.get()
        assert ctx is not None
        attempts = ctx.message.headers.get("rpcservice-attempts", {}).get("evt-sending-failed--failing.handle", 0)
        self.counts[number] = max(attempts, self.counts.get(number, 0))
        # For so long the queue has it, and somebody is to acknowledge it.
        green().sleep(0.05)
        if not self.may_end:
            raise ValueError("not yet")
        self.handled.add(number)


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri, "max_workers": 100}


def outlet(service: ServiceContainer, name: str, entrypoint: Any) -> Callable[..., None]:
    """Give what a worker would have for a dependency."""
    (provider,) = (provider for provider in service.dependencies if provider.attr_name == name)
    send: Callable[..., None] = provider.get_dependency(WorkerContext(service, entrypoint))
    return send


def wait_for_trust() -> None:
    """Wait until quorum queues that are used now are on disk and take all messages, and others none."""
    green().sleep(waiting.YOUTH + 2)


def kill_and_go_on(node: RabbitMQNode) -> dict[int, int]:
    """Kill the broker and see attempts on the next one; gives the counts of before."""
    before = dict(Failing.counts)
    node.kill()
    node.start()
    wait_until(lambda: sum(Failing.counts.values()) > sum(before.values()) + EVENTS, "more attempts", 30)
    return before


def test_what_is_tried_again_when_the_broker_is_killed_is_not_lost(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All fail all the time, so that some are between two queues in the moment of the kill."""
    Failing.may_end, Failing.counts, Failing.handled = set(), {}, set()
    service = container_factory(Failing)
    service.start()
    sender = container_factory(Sending)
    sender.start()
    dispatch = outlet(sender, "dispatch_now", service.entrypoints[0])
    for number in range(EVENTS):
        dispatch("failed", number)
    wait_until(lambda: len(Failing.counts) == EVENTS, "the first attempts")
    wait_for_trust()
    # By now.
    monkeypatch.setattr(waiting, "YOUTH", 0)
    # A classic queue, too, may be lucky once.
    for _ in range(KILLS):
        before = kill_and_go_on(rabbitmq_node)
    Failing.may_end.add(True)
    wait_until(lambda: len(Failing.handled) == EVENTS, "all of them", 20)
    assert all(Failing.counts[number] >= before[number] for number in range(EVENTS))


@pytest.mark.parametrize("way", ["event", "queue"])
def test_what_is_due_when_the_broker_is_killed_arrives(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, way: str
) -> None:
    """Sent all the time, so that some messages are between two queues in the moment of the kill."""
    Receiving.handled = []
    # Declares the queue, in which messages stay for now: what it gives to a handler is seen, and not lost.
    receiver = container_factory(Receiving)
    receiver.start()
    receiver.stop()
    service = container_factory(Sending)
    service.start()
    dispatch, publish = (outlet(service, name, receiver.entrypoints[0]) for name in ("dispatch", "publish"))
    confirmed: list[int] = []
    numbers = count()
    has_to_end = green().event()

    def send_on() -> None:
        while not has_to_end.is_set():
            number = next(numbers)
            dispatch("due", number) if way == "event" else publish(number)
            confirmed.append(number)

    tasks = [green().spawn(send_on) for _ in range(8)]
    wait_until(lambda: rabbitmq_node.queues()[QUEUE_OF_DUE]["messages"] > 100, "messages whose delay has ended")
    wait_for_trust()
    rabbitmq_node.kill()
    rabbitmq_node.start()
    before = len(confirmed)
    wait_until(lambda: len(confirmed) > before + 50, "confirms of the new broker", 60)
    has_to_end.set()
    assert all(task.wait(60) for task in tasks)
    container_factory(Receiving).start()
    wait_until(lambda: set(confirmed) <= set(Receiving.handled), "all that was confirmed", 30)
