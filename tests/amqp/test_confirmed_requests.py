"""Requests are confirmed where queues are quorum, on each kind of link; tests/broker/test_refusals.py has refusals."""

from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Echo
from waiting import wait_until

from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import UnknownService

pytestmark = pytest.mark.usefixtures("link_kind")


@pytest.fixture
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "queue_type": "quorum"}


def test_a_request_is_forgotten_when_the_broker_has_it(start: Callable[..., ServiceRunner], rpc: Any) -> None:
    start(Echo)
    replies = rpc._provider.replies
    calls = [rpc.echo.add.call_async(number) for number in range(50)]
    assert [call.result() for call in calls] == list(range(1, 51))
    wait_until(lambda: not replies._asked, "the last confirm")


def test_a_call_that_nobody_can_take_ends_at_once(rpc: Any) -> None:
    replies = rpc._provider.replies
    with pytest.raises(UnknownService):
        rpc.nobody.method()
    wait_until(lambda: not replies._asked, "the confirm that follows")
