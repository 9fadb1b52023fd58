"""Scenario 9: connections are closed again and again under constant load, and nothing grows; see ``make soak``."""

import os
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import pytest
from accounts import settle
from command_process import Running
from ledger import Ledger
from processes import holdings
from waiting import wait_until

from rpcservice.testing import RabbitMQNode

SECONDS = float(os.environ.get("SOAK_SECONDS", "40"))
RECONNECTS_A_SECOND = 1000 / 600
"""Of each connection; where the machine is too slow for that, of all together at least."""
EVENTS, CALLERS = 100, 5
SAMPLES = 18
"""Of each third the lowest is taken: what is at work at the moment is no growth."""
MARGINS = {"greenlets": 3, "descriptors": 2, "threads": 2, "memory": 12.0, "load_memory": 12.0, "queues": 0}
"""By how much each may have grown in the end; memory in MiB."""

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(SECONDS * 2 + 180)]


def test_nothing_grows_under_load_and_reconnects(
    rabbitmq_node: RabbitMQNode,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    rpc_to: Callable[[str], Any],
    ledger: Ledger,
    report: Callable[..., None],
) -> None:
    uri = rabbitmq_node.uri
    run_service(uri, file="soak_services.py", HEARTBEAT=5)
    load = run_load(uri, events=EVENTS, callers=CALLERS)
    look = rpc_to(uri).inspector.look
    look()
    connections = len(rabbitmq_node.connections())

    def sample() -> dict[str, float]:
        own = {"queues": len(rabbitmq_node.queues()), "load_memory": holdings(load.process.pid).memory}
        return {**look(), **own}

    def reconnect() -> None:
        before = {row["pid"] for row in rabbitmq_node.connections()}
        rabbitmq_node.close_connections()
        # They are back soon; a node that is asked all the time turns the questions away.
        sleep(0.2)
        wait_until(
            lambda: len({row["pid"] for row in rabbitmq_node.connections()} - before) == connections,
            "the new connections",
            timeout=60,
        )

    began, rounds, samples = monotonic(), 0, list[dict[str, float]]()
    while monotonic() < began + SECONDS:
        sleep(max(0, began + rounds / RECONNECTS_A_SECOND - monotonic()))
        if len(samples) / SAMPLES < (monotonic() - began) / SECONDS:
            samples.append(sample())
        reconnect()
        rounds += 1
    accounts = settle(load, ledger)

    # The first third is for what is loaded and filled once.
    parts = [samples[len(samples) // 3 : -len(samples) // 3], samples[-len(samples) // 3 :]]
    lowest = [{name: min(one[name] for one in part) for name in MARGINS} for part in parts]
    report(
        seconds=SECONDS,
        reconnects=rounds * connections,
        **{name: [samples[0][name], *(part[name] for part in lowest)] for name in MARGINS},
        **accounts.figures,
    )
    assert rounds * connections >= RECONNECTS_A_SECOND * SECONDS
    assert not [name for name, margin in MARGINS.items() if lowest[1][name] - lowest[0][name] > margin]
