"""Several brokers in AMQP_URI: two private nodes of which one is down, goes down, or cannot be used."""

import logging
import re
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from kombu import Queue
from waiting import wait_until

from rpcservice import Publisher, ServiceContainer, consume, rpc
from rpcservice.errors import BrokerUnavailable
from rpcservice.testing import RabbitMQNode, free_ports
from rpcservice.testing.callers import cluster_client

pytestmark = pytest.mark.broker

Make = Callable[..., ServiceContainer]


class Shop:
    name = "shop"
    publish = Publisher(declare=[Queue("orders")], routing_key="orders")
    taken: list[Any]

    @rpc
    def place(self, order: Any) -> Any:
        self.publish(order)
        return order

    @consume("orders")
    def take(self, order: Any) -> None:
        self.taken.append(order)


@pytest.fixture
def shop() -> type[Shop]:
    Shop.taken = []
    return Shop


def place(make: Make, uri: str, order: Any) -> None:
    """Have the service that is on a broker answer, publish and consume."""
    client = cluster_client(lambda cls: make(cls, {"AMQP_URI": uri}))
    assert client["shop"].place(order) == order
    wait_until(lambda: order in Shop.taken, "the message")


def test_the_second_node_is_used_at_once_when_the_first_is_down(
    container_factory: Make,
    shop: type[Shop],
    rabbitmq_node: RabbitMQNode,
    rabbitmq_uri: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rabbitmq_node.kill()
    begin = monotonic()
    container = container_factory(shop, {"AMQP_URI": f"{rabbitmq_node.uri};{rabbitmq_uri}"})
    container.start()
    assert monotonic() - begin < 1
    assert re.search(rf"broker at amqp://guest:\*\*@127.0.0.1:{rabbitmq_node.port}//: .*; trying the next", caplog.text)
    place(container_factory, rabbitmq_uri, "first")
    container.stop()


@pytest.mark.usefixtures("quick_pauses")
@pytest.mark.parametrize("dedicated", [False, True])
def test_services_go_to_the_second_node_when_the_first_dies(
    container_factory: Make,
    shop: type[Shop],
    rabbitmq_node: RabbitMQNode,
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    dedicated: bool,
) -> None:
    config = {
        "AMQP_URI": f"{rabbitmq_node.uri};{rabbitmq_uri}",
        "publish_connection": "dedicated" if dedicated else "shared",
    }
    container = container_factory(shop, config)
    container.start()
    place(container_factory, rabbitmq_node.uri, "first")
    assert rabbitmq.connections(rabbitmq_uri) == []
    rabbitmq_node.kill()
    wait_until(lambda: len(rabbitmq.connections(rabbitmq_uri)) == 1 + dedicated, "the second node")
    wait_until(lambda: not container.resources.health(), "the end of the set-up")
    place(container_factory, rabbitmq_uri, "second")
    container.stop()


@pytest.mark.usefixtures("quick_pauses")
def test_services_come_back_to_the_first_node_when_the_second_goes_away(
    container_factory: Make, shop: type[Shop], rabbitmq_node: RabbitMQNode, rabbitmq: RabbitMQNode
) -> None:
    second = rabbitmq.vhost()
    rabbitmq_node.kill()
    container = container_factory(shop, {"AMQP_URI": f"{rabbitmq_node.uri};{second}"})
    container.start()
    place(container_factory, second, "first")
    rabbitmq_node.start()
    rabbitmq.delete_vhost(second)
    wait_until(lambda: len(rabbitmq_node.connections("/")) == 1, "the first node")
    wait_until(lambda: not container.resources.health(), "the end of the set-up")
    place(container_factory, rabbitmq_node.uri, "second")
    container.stop()


@pytest.mark.filterwarnings("ignore:please use dns.resolver:DeprecationWarning")
@pytest.mark.parametrize(
    "wrong",
    [
        "amqp://guest:wrong@127.0.0.1:{port}//",
        "amqp://guest:guest@127.0.0.1:{port}/absent",
        "amqp://guest:guest@no-such-host.invalid//",
        "amqps://guest:guest@127.0.0.1:{port}//",
    ],
)
def test_a_broker_that_cannot_be_used_is_passed_over(
    container_factory: Make, shop: type[Shop], rabbitmq: RabbitMQNode, rabbitmq_uri: str, wrong: str
) -> None:
    uri = wrong.format(port=rabbitmq.port)
    container = container_factory(shop, {"AMQP_URI": f"{uri};{rabbitmq_uri}"})
    container.start()
    place(container_factory, rabbitmq_uri, "order")
    container.stop()


def test_when_none_can_be_reached_there_is_a_pause_after_each_round(
    container_factory: Make, shop: type[Shop], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    ports = free_ports(3)
    uris = [f"amqp://guest:secret@127.0.0.1:{port}//" for port in ports]
    container = container_factory(shop, {"AMQP_URI": ";".join(uris), "startup_timeout": 0.7})
    with pytest.raises(BrokerUnavailable):
        container.start()
    lines = [record.message for record in caplog.records if record.name == "rpcservice.amqp.connection"]
    assert [f":{port}//: " in line for port, line in zip(ports, lines, strict=True)] == [True] * 3
    assert [line.rpartition("; ")[2] for line in lines] == ["trying the next", "trying the next", "trying again in 1 s"]
    assert "secret" not in caplog.text
