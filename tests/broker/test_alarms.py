"""A broker with an alarm takes nothing from connections that publish; one for publishing keeps the others working."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from kombu import Queue
from waiting import wait_until

from rpcservice import ConnectionLost, EventDispatcher, PublishTimeout, Retry, ServiceContainer, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.concurrency import Event, green
from rpcservice.core.context import WorkerContext
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import cluster_client

pytestmark = pytest.mark.broker

QUEUE = "evt-shop-sold--shop.handle"


class Shop:
    name = "shop"
    dispatch = EventDispatcher()
    taken: list[Any] = []
    gate: Event

    @event_handler("shop", "sold")
    def handle(self, payload: Any) -> None:
        self.taken.append(payload)
        self.gate.wait(30)

    @rpc_method
    def hold(self) -> str:
        self.taken.append("call")
        self.gate.wait(30)
        return "held"


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri, "publish_connection": "dedicated", "publish_timeout": 20}


@pytest.fixture
def shop(container_factory: Callable[..., ServiceContainer], gate: Event) -> ServiceContainer:
    Shop.taken, Shop.gate = [], gate
    container = container_factory(Shop)
    container.start()
    return container


def _dispatch(container: ServiceContainer, payload: Any) -> None:
    (provider,) = container.dependencies
    provider.get_dependency(WorkerContext(container, container.entrypoints[0]))("sold", payload)


def test_acks_go_through_while_publishing_is_blocked(
    shop: ServiceContainer, rabbitmq_node: RabbitMQNode, gate: Event
) -> None:
    _dispatch(shop, 1)
    wait_until(lambda: Shop.taken, "the event")
    rabbitmq_node.block_publishers()
    blocked = green().spawn(_dispatch, shop, 2)
    publishing = shop.resources.get(AmqpConnection, connection_key(shop.config, publishes=True))
    complaint = wait_until(publishing.health, "the notice of the block")
    assert "takes no messages" in complaint
    gate.set()
    wait_until(lambda: rabbitmq_node.queues()[QUEUE]["messages"] == 0, "the ack")
    assert blocked.is_alive()


def test_what_was_blocked_goes_out_when_the_alarm_ends(shop: ServiceContainer, rabbitmq_node: RabbitMQNode) -> None:
    rabbitmq_node.block_publishers()
    blocked = green().spawn(_dispatch, shop, "late")
    publishing = shop.resources.get(AmqpConnection, connection_key(shop.config, publishes=True))
    wait_until(publishing.health, "the notice of the block")
    rabbitmq_node.unblock_publishers()
    assert blocked.wait(10)
    wait_until(lambda: Shop.taken == ["late"], "the event")
    assert publishing.health() is None


def test_a_call_is_answered_when_the_alarm_ends(
    shop: ServiceContainer,
    container_factory: Callable[..., ServiceContainer],
    rabbitmq_node: RabbitMQNode,
    gate: Event,
) -> None:
    """Its reply waits, and its request is not acked before the broker has the reply."""
    client = cluster_client(container_factory)
    call = client["shop"].hold.call_async()
    wait_until(lambda: Shop.taken, "the call")
    rabbitmq_node.block_publishers()
    gate.set()
    wait_until(shop.resources.get(AmqpConnection, connection_key(shop.config, publishes=True)).health, "the block")
    assert rabbitmq_node.queues()["rpc-shop"]["messages_unacknowledged"] == 1
    rabbitmq_node.unblock_publishers()
    assert call.result(10) == "held"
    wait_until(lambda: rabbitmq_node.queues()["rpc-shop"]["messages"] == 0, "the ack")


def test_a_service_that_publishes_apart_has_two_connections(
    shop: ServiceContainer, rabbitmq_node: RabbitMQNode
) -> None:
    assert len(rabbitmq_node.connections()) == 2


def test_a_reply_that_is_confirmed_at_the_stop_is_still_acked(
    shop: ServiceContainer,
    container_factory: Callable[..., ServiceContainer],
    rabbitmq_node: RabbitMQNode,
    gate: Event,
) -> None:
    """The connection that acks outlives the one that publishes; otherwise the call would run twice."""
    client = cluster_client(container_factory)
    call = client["shop"].hold.call_async()
    wait_until(lambda: Shop.taken, "the call")
    rabbitmq_node.block_publishers()
    stopping = green().spawn(shop.stop)
    gate.set()
    wait_until(shop.resources.get(AmqpConnection, connection_key(shop.config, publishes=True)).health, "the block")
    rabbitmq_node.unblock_publishers()
    assert stopping.wait(10)
    assert call.result(10) == "held"
    assert rabbitmq_node.queues()["rpc-shop"]["messages"] == 0


def test_a_stop_waits_for_the_end_of_an_alarm_only_once(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, gate: Event
) -> None:
    """Replies and events share a sender, and its ``publish_timeout``."""
    begin = _stop_during_an_alarm(container_factory, rabbitmq_node, gate, publish_timeout=2.0, meanwhile=lambda: None)
    # A broker that reads nothing does not answer the goodbye either, for which there are two seconds more.
    assert 2 <= monotonic() - begin < 5.5


def test_a_stop_does_not_wait_for_a_broker_that_went_away(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, gate: Event
) -> None:
    begin = _stop_during_an_alarm(
        container_factory,
        rabbitmq_node,
        gate,
        publish_timeout=20.0,
        meanwhile=lambda: rabbitmq_node.close_connections("closed during the stop"),
    )
    assert monotonic() - begin < 5


def _stop_during_an_alarm(
    container_factory: Callable[..., ServiceContainer],
    node: RabbitMQNode,
    gate: Event,
    *,
    publish_timeout: float,
    meanwhile: Callable[[], None],
) -> float:
    """Stop a service whose reply the broker does not take; gives when the stop began."""
    Shop.taken, Shop.gate = [], gate
    shop = container_factory(Shop, {"publish_timeout": publish_timeout})
    shop.start()
    cluster_client(container_factory)["shop"].hold.call_async()
    wait_until(lambda: Shop.taken, "the call")
    node.block_publishers()
    begin = monotonic()
    stopping = green().spawn(shop.stop)
    gate.set()
    wait_until(shop.resources.get(AmqpConnection, connection_key(shop.config, publishes=True)).health, "the block")
    meanwhile()
    assert stopping.wait(15)
    return begin


class Failing:
    name = "failing"
    dispatch = EventDispatcher()
    runs: list[str] = []
    gate: Event

    @event_handler("shop", "buried", dead_letter=True)
    def bury(self, payload: Any) -> None:
        self._fail("bury")

    @event_handler("shop", "retried", retry=Retry(max_attempts=2, initial=0.1, jitter=0))
    def retry(self, payload: Any) -> None:
        self._fail("retry")

    def _fail(self, what: str) -> None:
        self.runs.append(what)
        self.gate.wait(30)
        raise ValueError("no")


@pytest.mark.parametrize("connection", ["shared", "dedicated"])
def test_what_fails_during_an_alarm_is_kept_once(
    container_factory: Callable[..., ServiceContainer],
    rabbitmq_node: RabbitMQNode,
    gate: Event,
    dispatch: Any,
    connection: str,
) -> None:
    """A copy for each time that the broker says nothing would all arrive when the alarm ends."""
    Failing.runs, Failing.gate = [], gate
    service = container_factory(Failing, {"publish_timeout": 0.3, "publish_connection": connection})
    service.start()
    dispatch("shop", "buried", 1)
    dispatch("shop", "retried", 1)
    wait_until(lambda: sorted(Failing.runs) == ["bury", "retry"], "the events")
    rabbitmq_node.block_publishers()
    gate.set()
    publishing = service.resources.get(AmqpConnection, connection_key(service.config, publishes=True))
    wait_until(publishing.health, "the block")
    green().sleep(2)
    rabbitmq_node.unblock_publishers()

    def counts() -> tuple[int, ...]:
        queues = rabbitmq_node.queues()
        names = (f"evt-shop-{event}--failing.{method}" for event, method in (("buried", "bury"), ("retried", "retry")))
        return tuple(queues[f"{name}{suffix}"]["messages"] for name in names for suffix in ("", ".dead"))

    wait_until(lambda: counts() == (0, 1, 0, 1), "the dead letters")
    green().sleep(0.5)
    assert counts() == (0, 1, 0, 1)
    assert sorted(Failing.runs) == ["bury", "retry", "retry"]


@pytest.mark.parametrize("options", [{"delay": 8}, {"declare": [Queue("aside")]}], ids=["delay", "declare"])
def test_what_has_to_be_declared_first_is_waited_for_no_longer_than_publish_timeout(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, options: dict[str, Any]
) -> None:
    service = container_factory(Failing, {"publish_timeout": 0.5})
    service.start()
    rabbitmq_node.block_publishers()
    (provider,) = service.dependencies
    dispatch = provider.get_dependency(WorkerContext(service, service.entrypoints[0]))
    begin = monotonic()
    with pytest.raises((ConnectionLost, PublishTimeout)):
        dispatch("sold", 1)
    with pytest.raises(ConnectionLost, match=r"nothing was sent: .* takes no messages"):
        dispatch("sold", 1, **options)
    assert monotonic() - begin < 3
    rabbitmq_node.unblock_publishers()
    dispatch("sold", 1, timeout=10, **options)
