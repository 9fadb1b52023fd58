"""A broker that is killed while waits end loses nothing that it has confirmed."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, Retry, ServiceContainer, event_handler
from rpcservice.concurrency import green
from rpcservice.core.context import WorkerContext
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker


QUEUE = "evt-later-due--later.handle"


class Later:
    name = "later"
    dispatch = EventDispatcher()
    failed: set[int] = set()
    handled: set[int] = set()

    @event_handler("later", "due", retry=Retry(initial=3, jitter=0))
    def handle(self, number: int) -> None:
        if number not in self.failed:
            self.failed.add(number)
            raise ValueError("not yet")
        self.handled.add(number)


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri}


def test_what_has_just_waited_is_not_lost_when_the_broker_is_killed(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode
) -> None:
    """What has come out of a classic queue, and waits in the next one to be handled, may be on no disk."""
    Later.failed, Later.handled = set(), set()
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
