"""A broker that is killed while waits end loses nothing that it has confirmed."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, Publisher, Retry, ServiceContainer, event_handler
from rpcservice.concurrency import green
from rpcservice.core.context import WorkerContext, current_worker
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker


QUEUE = "evt-later-due--later.handle"


class Later:
    name = "later"
    dispatch = EventDispatcher()
    failed: set[int] = set()
    handled: set[int] = set()
    counts: set[int] = set()

    @event_handler("later", "due", retry=Retry(initial=3, jitter=0))
    def handle(self, number: int) -> None:
        if number not in self.failed:
            self.failed.add(number)
            raise ValueError("not yet")
        self.handled.add(number)
        ctx = current_worker.get()
        assert ctx is not None
        self.counts.add(ctx.message.headers["rpcservice-attempts"][QUEUE])


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri}


def test_what_has_just_waited_is_not_lost_when_the_broker_is_killed(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode
) -> None:
    """What has come out of a classic queue, and waits in the next one to be handled, may be on no disk."""
    Later.failed, Later.handled, Later.counts = set(), set(), set()
    service = container_factory(Later)
    service.start()
    (provider,) = service.dependencies
    dispatch = provider.get_dependency(WorkerContext(service, service.entrypoints[0]))
    for number in range(200):
        dispatch("due", number)
        green().sleep(0.01)
    wait_until(lambda: len(Later.failed) == 200, "the first attempts")
    service.stop()
    wait_until(lambda: rabbitmq_node.queues()[QUEUE]["messages"], "the end of the first wait", 30)
    # They end one after the other, some of them now.
    green().sleep(0.7)
    rabbitmq_node.kill()
    rabbitmq_node.start()
    container_factory(Later).start()
    wait_until(lambda: len(Later.handled) == 200, "the second attempts", 30)
    assert Later.counts == {1}


QUEUE_OF_DUE = "evt-sending-due--receiving.handle"


class Receiving:
    name = "receiving"
    handled: list[int] = []

    @event_handler("sending", "due")
    def handle(self, number: int) -> None:
        self.handled.append(number)


class Sending:
    name = "sending"
    dispatch = EventDispatcher(delay=0.3, timeout=60)
    publish = Publisher(routing_key=QUEUE_OF_DUE, delay=0.3, timeout=60)


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
    outlets = {provider.attr_name: provider for provider in service.dependencies}
    ctx = WorkerContext(service, service.entrypoints[0] if service.entrypoints else receiver.entrypoints[0])
    dispatch, publish = (outlets[name].get_dependency(ctx) for name in ("dispatch", "publish"))
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
    # A quorum queue is on disk some seconds after it was made.
    green().sleep(5)
    rabbitmq_node.kill()
    rabbitmq_node.start()
    before = len(confirmed)
    wait_until(lambda: len(confirmed) > before + 50, "confirms of the new broker", 60)
    has_to_end.set()
    assert all(task.wait(60) for task in tasks)
    container_factory(Receiving).start()
    wait_until(lambda: set(confirmed) <= set(Receiving.handled), "all that was confirmed", 30)
