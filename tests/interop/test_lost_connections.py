"""Connections break while a call is under way between nameko and us."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from json_process import JsonProcess
from our_services import Log
from waiting import wait_until

from rpcservice import ConnectionLost, ServiceRunner
from rpcservice.amqp.connection import AmqpConnection
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.rabbitmq import vhost_name

pytestmark = pytest.mark.usefixtures("our_shops", "nameko_shops")
Cut = Callable[[], None]


@pytest.fixture
def cut_ours(our_shops: list[ServiceRunner]) -> Cut:
    """Break the connections of our services; the callers keep theirs."""

    def cut() -> None:
        for runner in our_shops:
            for resource in runner.resources:
                if isinstance(resource, AmqpConnection) and resource.link is not None:
                    resource.link.lose(ConnectionLost("cut by a test"))

    return cut


@pytest.fixture
def cut_all(rabbitmq: RabbitMQNode, interop_uri: str) -> Cut:
    """Have the broker close all connections of this virtual host."""

    def cut() -> None:
        rabbitmq.evaluate(
            '[rabbit_networking:close_connection(Pid, "cut by a test") || [{pid, Pid}, {vhost, Vhost}] <- '
            f'rabbit_networking:connection_info_all([pid, vhost]), Vhost =:= <<"{vhost_name(interop_uri)}">>], true'
        )

    return cut


def _holds(count: int) -> bool:
    return len([name for name, _, _ in Log.seen if name == "hold"]) >= count


@pytest.mark.usefixtures("seen")
def test_namekos_standalone_client_gets_its_answer(nameko_client: JsonProcess, cut_ours: Cut) -> None:
    """The broker gives the request out again: to the instance that works on it still, or to the other one."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(nameko_client.ask, op="call", service="our_shop", method="hold", args=[1], timeout=25)
        wait_until(lambda: _holds(1), "the call")
        cut_ours()
        assert answer.result()["result"]


@pytest.mark.usefixtures("seen")
def test_a_nameko_service_gets_its_answer(our_client: Any, nameko_client: JsonProcess, cut_ours: Cut) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer: Future[Any] = pool.submit(
            nameko_client.ask, op="call", service="nameko_shop", method="ask_ours", args=["hold", 1], timeout=25
        )
        wait_until(lambda: _holds(1), "the call")
        cut_ours()
        assert answer.result()["result"]


def test_our_caller_learns_at_once_that_the_call_may_have_run(
    our_client: Any, nameko_shops: list[JsonProcess], cut_all: Cut
) -> None:
    """nameko's would go on waiting; its service answers, by another connection, and runs the call again."""
    call = our_client["nameko_shop"].hold.call_async(0.3)
    nameko_shops[0].wait_until(lambda: any(shop.matching(holding=0.3) for shop in nameko_shops), "the call")
    cut_all()
    with pytest.raises(ConnectionLost) as caught:
        call.result()
    assert caught.value.maybe_executed
    assert our_client["nameko_shop"].add(1) == 2
