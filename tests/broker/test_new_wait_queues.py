"""A node that is killed while a wait queue is new may bring it back without a leader; nothing waits for that queue."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, Retry, ServiceContainer, event_handler, rpc
from rpcservice.amqp import waiting
from rpcservice.concurrency import green
from rpcservice.core.context import WorkerContext
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker

NEW = {
    "late": "rpcservice.delay.300.sending.events",
    "dispatch": "rpcservice.retry.400.evt-sending-failed--receiving.take_at_last",
}


class Sending:
    name = "sending"
    late = EventDispatcher(delay=0.3)
    dispatch = EventDispatcher()

    @rpc
    def work(self) -> None:
        """Have an entrypoint."""


class Receiving:
    name = "receiving"
    due: set[Any] = set()
    tried: set[Any] = set()
    retried: set[Any] = set()

    @event_handler("sending", "plain")
    def take_at_once(self, number: Any) -> None:
        self.due.add(number)

    @event_handler("sending", "due")
    def take(self, number: Any) -> None:
        self.due.add(number)

    @event_handler("sending", "failed", retry=Retry(initial=0.4, jitter=0))
    def take_at_last(self, number: Any) -> None:
        if number not in self.tried:
            self.tried.add(number)
            raise ValueError("not yet")
        self.retried.add(number)


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri, "max_workers": 50}


@pytest.fixture
def outlets(container_factory: Callable[..., ServiceContainer]) -> dict[str, Callable[..., None]]:
    """Start both services; gives the dispatchers by name."""
    Receiving.due, Receiving.tried, Receiving.retried = set(), set(), set()
    container_factory(Receiving).start()
    service = container_factory(Sending)
    service.start()
    ctx = WorkerContext(service, service.entrypoints[0])
    return {provider.attr_name: provider.get_dependency(ctx) for provider in service.dependencies}


def test_a_node_that_is_killed_while_wait_queues_are_new_loses_nothing_that_waits(
    outlets: dict[str, Callable[..., None]], rabbitmq_node: RabbitMQNode
) -> None:
    for number in range(20):
        outlets["late"]("due", number, delay=2)
        outlets["dispatch"]("failed", number)
    wait_until(lambda: len(Receiving.tried) == 20, "the first attempts")
    rabbitmq_node.kill()
    rabbitmq_node.start()
    wait_until(lambda: len(Receiving.due) == len(Receiving.retried) == 20, "all of them", 30)


@pytest.mark.parametrize(("way", "queue"), NEW.items())
def test_a_service_goes_on_without_a_wait_queue_that_has_no_leader(
    outlets: dict[str, Callable[..., None]],
    rabbitmq_node: RabbitMQNode,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
    queue: str,
) -> None:
    """As it is left by a program that is killed, too."""

    def send(number: Any) -> None:
        if way == "late":
            outlets["late"]("due", number)
        else:
            outlets["dispatch"]("failed", number)

    def arrived() -> set[Any]:
        return Receiving.due if way == "late" else Receiving.retried

    send("first")
    wait_until(lambda: queue in rabbitmq_node.queues(), "the new queue")
    rabbitmq_node.kill()
    rabbitmq_node.start()
    monkeypatch.setattr(waiting, "YOUTH", 0)
    sending = [green().spawn(send, number) for number in range(5)]
    assert all(task.wait(25) for task in sending)
    # What does not wait is not held up for long.
    outlets["dispatch"]("plain", "beside")
    wait_until(lambda: "beside" in Receiving.due, "an event without a delay", 10)
    wait_until(lambda: {*range(5)} <= arrived(), "those that were sent meanwhile", 20)
    assert f"rabbitmqctl delete_queue {queue}," in caplog.text
    # Known by now.
    send("last")
    wait_until(lambda: "last" in arrived(), "what is sent later", 5)
