"""docs/examples/shards.py: one service's requests over several queues, by RabbitMQ's consistent hash exchange."""

import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rpcservice import MethodNotFound, ServiceContainer, UnknownService, rpc
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import cluster_client

pytestmark = pytest.mark.broker

SHARDS = Path(__file__).parents[2] / "docs" / "examples" / "shards.py"
COUNT = 3


def make_service(shard: int) -> type:
    class Orders:
        name = f"orders_{shard}"

        @rpc
        def which(self, number: int) -> int:
            return shard

    return Orders


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQNode]:
    with RabbitMQNode(plugins=["rabbitmq_consistent_hash_exchange"]) as node:
        yield node


@pytest.fixture
def orders(node: RabbitMQNode, container_factory: Callable[..., ServiceContainer]) -> Any:
    """A client of the service that the shards share."""
    config = {"AMQP_URI": node.uri}
    for shard in range(COUNT):
        container_factory(make_service(shard), config).start()
    spec = importlib.util.spec_from_file_location("shards", SHARDS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make_shards(node.uri, "orders", COUNT)
    return cluster_client(lambda cls: container_factory(cls, config))


def test_calls_of_one_service_are_answered_by_all_of_its_shards(orders: Any) -> None:
    calls = [orders.orders.which.call_async(number) for number in range(300)]
    answers = Counter(call.result() for call in calls)
    assert set(answers) == set(range(COUNT))
    assert min(answers.values()) > 300 / COUNT / 3


def test_each_shard_can_be_called_by_its_own_name(orders: Any) -> None:
    assert [orders[f"orders_{shard}"].which(0) for shard in range(COUNT)] == list(range(COUNT))


def test_a_method_that_no_shard_has_is_named_to_the_caller(orders: Any) -> None:
    with pytest.raises(MethodNotFound, match="wich"):
        orders.orders.wich(1)


def test_calls_of_other_services_go_to_no_shard(orders: Any) -> None:
    with pytest.raises(UnknownService):
        orders.invoices.which(1)
