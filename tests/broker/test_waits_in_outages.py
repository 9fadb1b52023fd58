"""A broker that is killed while waits end loses nothing that it has confirmed."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, Retry, ServiceContainer, event_handler
from rpcservice.concurrency import Event, green
from rpcservice.core.context import WorkerContext
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker


class Later:
    name = "later"
    dispatch = EventDispatcher()
    failed: set[int] = set()
    handled: set[int] = set()
    gate: Event

    @event_handler("later", "due", retry=Retry(initial=0.3, jitter=0))
    def handle(self, number: int) -> None:
        if number not in self.failed:
            self.failed.add(number)
            raise ValueError("not yet")
        self.gate.wait(60)
        self.handled.add(number)


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    # Workers for all that is held back, and for what fails meanwhile.
    return {"AMQP_URI": rabbitmq_node.uri, "max_workers": 500, "prefetch_count": 500}


def test_what_waits_is_not_lost_when_the_broker_is_killed(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, quick_pauses: None, gate: Event
) -> None:
    """What has come out of a classic queue, and waits in the next one to be handled, may be on no disk."""
    Later.failed, Later.handled, Later.gate = set(), set(), gate
    service = container_factory(Later)
    service.start()
    (provider,) = service.dependencies
    dispatch = provider.get_dependency(WorkerContext(service, service.entrypoints[0]))
    acknowledged: list[int] = []

    def send(number: int) -> None:
        dispatch("due", number)
        acknowledged.append(number)

    tasks = []
    for number in range(400):
        tasks.append(green().spawn(send, number))
        green().sleep(0.005)
        if number == 250:
            rabbitmq_node.kill()
            rabbitmq_node.start()
            gate.set()
    assert all(task.wait(60) for task in tasks)
    assert len(acknowledged) == 400
    wait_until(lambda: Later.handled == set(acknowledged), "the last event", 30)
