"""Requests that never were with the broker, and are to wait there for another attempt, when it takes nothing."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from echo import connection_of
from waiting import wait_until

from rpcservice import Requeue, RpcTimeout, ServiceContainer, ServiceRpc
from rpcservice import rpc as rpc_method
from rpcservice.amqp.replies import ReplyListener
from rpcservice.testing import RabbitMQNode, TcpProxy, dummy, entrypoint_hook

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

DROPPED = "turning.turn: a request of this process is dropped: its caller waits no longer"


class Turning:
    """Calls itself without the broker, and asks for another turn the first time."""

    name = "turning"
    near = ServiceRpc("turning", prefer_local=True)
    turns: list[bool] = []
    first: Callable[[], Any]

    @rpc_method
    def turn(self) -> str:
        self.turns.append(True)
        if len(self.turns) == 1:
            type(self).first()
            raise Requeue(delay=0.05)
        return "second"

    @dummy
    def run(self, timeout: float | None, meanwhile: Callable[[], Any]) -> Any:
        call = self.near.turn.with_options(timeout=timeout).call_async()
        meanwhile()
        return call.result()


@pytest.fixture
def config(rabbitmq_node: RabbitMQNode) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_node.uri, "publish_timeout": 20}


def call(container: ServiceContainer, timeout: float | None, meanwhile: Callable[[], Any] = lambda: None) -> Any:
    """Have the service call itself, at a time when the broker is about to take nothing more."""
    with entrypoint_hook(container, "run") as hook:
        return hook(timeout, meanwhile)


def begin(first: Callable[[], Any]) -> None:
    Turning.turns, Turning.first = [], first


def assert_nothing_is_left(container: ServiceContainer) -> None:
    wait_until(lambda: not container.pool.running, "the end of the worker", timeout=3)
    (replies,) = [resource for resource in container.resources if isinstance(resource, ReplyListener)]
    assert replies._pending == {}
    assert Turning.turns == [True]


def test_a_request_holds_its_worker_no_longer_than_its_caller_waits(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, caplog: pytest.LogCaptureFixture
) -> None:
    with TcpProxy(rabbitmq_node.uri) as proxy:
        container = container_factory(Turning, {"AMQP_URI": proxy.uri})
        container.start()

        def cut() -> None:
            proxy.refuse()
            wait_until(lambda: connection_of(container).link is None, "the end of the connection")

        begin(cut)
        with caplog.at_level(logging.ERROR, "rpcservice.amqp.failures"), pytest.raises(RpcTimeout):
            call(container, 1)
        assert_nothing_is_left(container)
        assert DROPPED in caplog.text


def test_a_broker_with_an_alarm_is_waited_for_no_longer_either(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, caplog: pytest.LogCaptureFixture
) -> None:
    container = container_factory(Turning)
    container.start()
    begin(rabbitmq_node.block_publishers)
    try:
        with caplog.at_level(logging.ERROR, "rpcservice.amqp.failures"), pytest.raises(RpcTimeout):
            call(container, 1)
        assert_nothing_is_left(container)
    finally:
        rabbitmq_node.unblock_publishers()
    assert DROPPED in caplog.text


@pytest.mark.parametrize("timeout", [30, None])
def test_a_caller_who_still_waits_has_the_outcome_when_the_broker_is_back(
    container_factory: Callable[..., ServiceContainer], rabbitmq_node: RabbitMQNode, timeout: float | None
) -> None:
    with TcpProxy(rabbitmq_node.uri) as proxy:
        container = container_factory(Turning, {"AMQP_URI": proxy.uri, "rpc_timeout": None})
        container.start()

        def cut() -> None:
            proxy.refuse()
            wait_until(lambda: connection_of(container).link is None, "the end of the connection")

        def resume() -> None:
            wait_until(lambda: Turning.turns and connection_of(container).link is None, "the first attempt")
            proxy.resume()

        begin(cut)
        assert call(container, timeout, resume) == "second"
