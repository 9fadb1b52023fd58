"""Scenario 1: the broker is killed and started again, five times, under events and calls."""

from collections.abc import Callable
from time import sleep
from typing import Any

import pytest
from accounts import settle
from command_process import Running
from ledger import Ledger

from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(600)]

EVENTS, CALLERS = 500, 20
KILLS = 5
BETWEEN = 5.0


@pytest.mark.parametrize("event_type", ["happened", "failed"])
def test_what_was_acknowledged_is_handled_however_often_the_broker_is_killed(
    rabbitmq_node: RabbitMQNode,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    rpc_to: Callable[[str], Any],
    event_type: str,
) -> None:
    run_service(rabbitmq_node.uri, HEARTBEAT=5)
    rate = EVENTS if event_type == "happened" else 20
    load = run_load(rabbitmq_node.uri, events=rate, callers=CALLERS, event_type=event_type)
    for _ in range(KILLS):
        sleep(BETWEEN)
        rabbitmq_node.kill()
        rabbitmq_node.start()
    sleep(BETWEEN)
    accounts = settle(load, ledger)
    assert len(accounts.acknowledged) > KILLS * BETWEEN * rate / 2
    assert rpc_to(rabbitmq_node.uri).counted.call("afterwards") == "afterwards"
    report(**accounts.figures)
