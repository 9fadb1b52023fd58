"""Scenario 1: the broker is killed and started again, five times, under events and calls."""

import signal
from collections import Counter
from collections.abc import Callable
from time import sleep
from typing import Any

import pytest
from command_process import Running
from ledger import Ledger
from waiting import wait_until

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
    load.process.send_signal(signal.SIGTERM)
    load.wait_for("all has ended", timeout=120)
    assert load.wait() == 0

    acknowledged = ledger.read("acknowledged")
    wait_until(lambda: not acknowledged.keys() - ledger.read("handled").keys(), "the last of them", timeout=120)
    handled, sent = ledger.read("handled"), ledger.read("sent")
    answered, asked = ledger.read("answered"), ledger.read("asked")
    ended = {line.split()[0] for line in ledger.read("ended")}
    assert len(acknowledged) > KILLS * BETWEEN * rate / 2
    assert not handled.keys() - sent.keys()
    assert answered.keys() | ended == asked.keys()
    assert not answered.keys() - ledger.read("called").keys()
    assert rpc_to(rabbitmq_node.uri).counted.call("afterwards") == "afterwards"
    report(
        sent=len(sent),
        acknowledged=len(acknowledged),
        handled=len(handled),
        twice=sum(handled.values()) - len(handled),
        calls=len(asked),
        answered=len(answered),
        failed=len(ended),
        why=Counter(line.split()[1] for kind in ("ended", "unsent") for line in ledger.read(kind)),
    )
