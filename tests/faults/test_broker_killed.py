"""Scenario 1: the broker is killed and started again, five times, under events and calls."""

from collections.abc import Callable
from time import sleep
from typing import Any

import pytest
from accounts import breaks, settle
from command_process import Running
from effects import Effects
from ledger import Ledger
from load import SENDERS
from waiting import wait_until

from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(600)]

EVENTS, CALLERS = 500, 20
FAILING = 20
"""Events a second of those that are handled with the third attempt."""
WAITING = FAILING * (0.5 + 1) * 1.1
"""How many of them wait for another attempt at the same time."""
WORKERS = 10
SHARE = 0.9
"""Of the events a second that are asked for, so many are to have been sent before the first kill."""
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
    effects: Effects,
    event_type: str,
) -> None:
    run_service(rabbitmq_node.uri, HEARTBEAT=5, max_workers=WORKERS)
    with_effects = run_service(rabbitmq_node.uri, file="effect_services.py", HEARTBEAT=5, **effects.settings)
    rate, waiting = (EVENTS, 0) if event_type == "happened" else (FAILING, WAITING)
    load = run_load(rabbitmq_node.uri, events=rate, callers=CALLERS, event_type=event_type)
    sleep(BETWEEN)
    undisturbed = len(ledger.read("acknowledged")) / BETWEEN
    for _ in range(KILLS):
        rabbitmq_node.kill()
        rabbitmq_node.start()
        sleep(BETWEEN)
    accounts = settle(load, ledger)
    assert len(accounts.acknowledged) > KILLS * BETWEEN * rate / 2
    assert rpc_to(rabbitmq_node.uri).counted.call("afterwards") == "afterwards"
    wait_until(lambda: effects.count().keys() >= accounts.acknowledged.keys(), "the last effect", timeout=120)
    had_effect = effects.count()
    report(
        **accounts.figures,
        events_a_second=undisturbed,
        effects=len(had_effect),
        effects_begun=ledger.read("effect-begun").total(),
        effects_spared=breaks(with_effects, "answered with the outcome of an earlier call"),
        effects_twice=had_effect.total() - len(had_effect),
    )
    assert undisturbed >= SHARE * rate
    # What was with somebody when the broker was killed comes again, and what a sender or a wait queue had on its way.
    assert accounts.twice <= KILLS * (WORKERS + SENDERS + waiting)
    assert accounts.called_twice <= KILLS * (WORKERS + CALLERS)
    assert set(had_effect.values()) == {1}
