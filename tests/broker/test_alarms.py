"""A broker with an alarm takes nothing from connections that publish; one for publishing keeps the others working."""

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, ServiceContainer, event_handler
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
