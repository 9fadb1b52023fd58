"""Scenario 2: of three nodes with quorum queues the leader is killed, then a second one: there is no majority."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from time import monotonic, sleep
from typing import Any

import pytest
from accounts import breaks, settle
from command_process import Running
from ledger import Ledger
from load import SENDERS
from waiting import wait_until

from rpcservice import EventDispatcher, PublishRejected, Retry, ServiceContainer, event_handler
from rpcservice.concurrency import green
from rpcservice.core.context import current_worker
from rpcservice.standalone import event_dispatcher
from rpcservice.testing import RabbitMQNode, dummy

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


def leader(nodes: list[RabbitMQNode], queue: str = QUEUE) -> RabbitMQNode:
    """Give the node that leads a quorum queue, such as that of the events."""
    asked = next(node for node in nodes if node.is_running)
    name = asked.evaluate(
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)), '
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


DELAYED = "rpcservice.delay.300.waits.events"
RETRIED = "rpcservice.retry.400.evt-waits-failed--waits.try_again"
FAILING = 200
LATE = 220
"""Seconds; RabbitMQ hands on what waited again when the next queue, whose leader was killed, is silent for 180 s."""


class Waits:
    name = "waits"
    delayed = EventDispatcher(delay=0.3, timeout=60)
    dispatch = EventDispatcher(timeout=60)
    heard: set[int] = set()
    attempts: dict[int, int] = {}
    """The most attempts that a message has said were made, by number."""
    may_end: set[bool] = set()
    handled: set[int] = set()

    @dummy
    def run(self, function: Callable[[Any], None]) -> None:
        """Run a function of the test."""
        function(self)

    @event_handler("waits", "due")
    def hear(self, number: int) -> None:
        """Hear of a delayed event."""
        self.heard.add(number)

    @event_handler("waits", "failed", retry=Retry(max_attempts=1000, initial=0.4, factor=1, jitter=0))
    def try_again(self, number: int) -> None:
        """Fail until the test has seen enough."""
        ctx = current_worker.get()
        assert ctx is not None
        made = ctx.message.headers.get("rpcservice-attempts", {}).get("evt-waits-failed--waits.try_again", 0)
        self.attempts[number] = max(made, self.attempts.get(number, 0))
        if not self.may_end:
            raise ConnectionError("not yet")
        self.handled.add(number)


def more_than(confirmed: list[int]) -> Callable[[], bool]:
    """Give what says whether there was much more of both kinds since then."""
    sent, made = len(confirmed), sum(Waits.attempts.values())
    return lambda: len(confirmed) > sent + 200 and sum(Waits.attempts.values()) > made + 2 * FAILING


def see_a_kill(nodes: list[RabbitMQNode], queue: str, confirmed: list[int]) -> None:
    """Kill the leader of a queue, and see that all goes on with two nodes, and with three."""
    killed = leader(nodes, queue)
    killed.kill()
    wait_until(more_than(confirmed), "the work with two nodes", 60)
    killed.start()
    wait_until(more_than(confirmed), "the work with three nodes", 60)


def test_what_waits_is_not_lost_when_the_node_is_killed_that_leads_the_wait_queue(
    nodes: list[RabbitMQNode], container_factory: Callable[..., ServiceContainer], report: Callable[..., None]
) -> None:
    uris = ";".join(node.uri for node in nodes)
    config = {"AMQP_URI": uris, "HEARTBEAT": 5, "queue_type": "quorum", "max_workers": 50}
    service = container_factory(Waits, config)
    service.start()
    confirmed: list[int] = []
    numbers = count()
    has_to_end = green().event()

    def send_on(waits: Any) -> None:
        while not has_to_end.is_set():
            number = next(numbers)
            try:
                waits.delayed("due", number)
            except PublishRejected:
                # While the wait queue has no leader; its sender knows.
                green().sleep(0.1)
            else:
                confirmed.append(number)

    def fail(waits: Any) -> None:
        for number in range(FAILING):
            waits.dispatch("failed", number)

    (entrypoint,) = (entrypoint for entrypoint in service.entrypoints if entrypoint.method_name == "run")
    for function in (fail, *[send_on] * 8):
        service.spawn_worker(entrypoint, (function,), {})
    wait_until(lambda: len(Waits.attempts) == FAILING and len(Waits.heard) > 500, "the first of all", 60)
    for queue in (DELAYED, RETRIED):
        see_a_kill(nodes, queue, confirmed)
    has_to_end.set()
    Waits.may_end.add(True)
    begin = monotonic()
    wait_until(lambda: len(Waits.handled) == FAILING, "all that failed", LATE)
    wait_until(lambda: Waits.heard >= set(confirmed), "all that was delayed", LATE)
    seconds = round(monotonic() - begin)
    report(last_after=seconds, delayed=len(confirmed), retried=FAILING, attempts=sum(Waits.attempts.values()))
    sink = next(node for node in nodes if node.is_running).queues()["rpcservice.waited.quorum"]
    assert sink["messages"] == 0
