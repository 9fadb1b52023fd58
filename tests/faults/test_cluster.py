"""Scenario 2: of three nodes with quorum queues the leader is killed, then a second one: there is no majority."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from time import sleep
from typing import Any

import pytest
from accounts import breaks, settle
from command_process import Running
from ledger import Ledger
from load import SENDERS
from waiting import wait_until

from rpcservice.standalone import event_dispatcher
from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(400)]

EVENTS, CALLERS, WORKERS = 100, 10, 10
WITHOUT_MAJORITY = 10
QUEUE = "evt-source-happened--counted.handle"


@pytest.fixture
def nodes() -> Iterator[list[RabbitMQNode]]:
    """The three nodes of a cluster."""
    with ExitStack() as stack:
        first = stack.enter_context(RabbitMQNode())
        yield [first, *(stack.enter_context(RabbitMQNode(peer=first)) for _ in range(2))]


def leader(nodes: list[RabbitMQNode]) -> RabbitMQNode:
    """Give the node that leads the quorum queue of the events."""
    asked = next(node for node in nodes if node.is_running)
    name = asked.evaluate(
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{QUEUE}">>)), '
        "{_, Node} = amqqueue:get_pid(Q), Node"
    )
    return next(node for node in nodes if node.name == name)


def test_what_was_acknowledged_is_handled_although_nodes_of_the_cluster_are_killed(
    nodes: list[RabbitMQNode],
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    rpc_to: Callable[[str], Any],
) -> None:
    uris = ";".join(node.uri for node in nodes)
    service = run_service(uris, HEARTBEAT=5, max_workers=WORKERS, queue_type="quorum")
    load = run_load(uris, events=EVENTS, callers=CALLERS, queue_type="quorum")

    def acknowledged() -> int:
        return len(ledger.read("acknowledged"))

    wait_until(lambda: acknowledged() > EVENTS, "the first of them", timeout=60)
    first = leader(nodes)
    first.kill()
    killed = acknowledged()
    # With two of three nodes the work goes on, under another leader.
    wait_until(lambda: acknowledged() > killed + SENDERS, "the work with two nodes", timeout=60)
    assert rpc_to(uris).counted.call("with two nodes") == "with two nodes"
    with event_dispatcher({"AMQP_URI": uris}, mandatory=True) as dispatch:
        dispatch("source", "announced", "1")
    wait_until(lambda: ledger.read("heard"), "the broadcast")
    second = leader(nodes)
    assert second is not first
    second.kill()
    killed = acknowledged()
    sleep(WITHOUT_MAJORITY)
    without_majority = acknowledged() - killed
    second.start()
    wait_until(lambda: acknowledged() > killed + without_majority + EVENTS, "the work with a majority", timeout=90)
    first.start()
    restored = acknowledged()
    wait_until(lambda: acknowledged() > restored + EVENTS, "the work with three nodes", timeout=60)

    accounts = settle(load, ledger)
    report(**accounts.figures, without_majority=without_majority)
    assert rpc_to(uris).counted.call("with three nodes") == "with three nodes"
    broken = breaks(service) + breaks(load)
    # What was on its way when a node was killed may come, or be sent, again; nothing was confirmed by a minority.
    assert without_majority <= SENDERS
    assert accounts.twice <= broken * max(SENDERS, WORKERS)
    queues = second.queues()
    assert queues[QUEUE]["arguments"]["x-queue-type"] == "quorum"
