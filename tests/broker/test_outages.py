"""A broker that goes down and comes back, killed or stopped politely: one outage of each, looked at from all sides."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import EventDispatcher, ServiceContainer, ServiceRunner, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.concurrency import Event, green
from rpcservice.core.context import WorkerContext
from rpcservice.errors import ConnectionLost
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import cluster_client

pytestmark = pytest.mark.broker

PUBLISHERS, EVENTS_EACH = 10, 60


class Shop:
    name = "shop"
    dispatch = EventDispatcher()
    entered: list[str] = []
    heard: list[int] = []
    gate: Event

    @rpc_method
    def say(self, text: str) -> str:
        return text

    @rpc_method
    def hold(self, text: str) -> str:
        self.entered.append(text)
        self.gate.wait(60)
        return text

    @event_handler("shop", "sold")
    def hear(self, number: int) -> None:
        self.heard.append(number)


@dataclass
class Outage:
    """What was seen before, during and after an outage."""

    how: str
    pending_error: Exception | None = None
    pending_seconds: float = 0
    impatient_error: Exception | None = None
    impatient_seconds: float = 0
    patient_result: str = ""
    sent: list[int] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    consumers_before: set[tuple[str, int, bool]] = field(default_factory=set)
    consumers_after: set[tuple[str, int, bool]] = field(default_factory=set)
    held_runs: int = 0
    connections_after: int = 0


@pytest.fixture(scope="module", params=["kill", "stop"])
def outage(_rabbitmq_to_break: RabbitMQNode, request: pytest.FixtureRequest) -> Iterator[Outage]:
    node = _rabbitmq_to_break
    node.reset()
    Shop.entered, Shop.heard, Shop.gate = [], [], green().event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpcservice.amqp.connection.FIRST_PAUSE", 0.2)
        patch.setattr("rpcservice.amqp.connection.LONGEST_PAUSE", 0.5)
        runner = ServiceRunner({"AMQP_URI": node.uri, "max_workers": 7})
        runner.add_service(Shop)
        runner.start()
        clients: list[ServiceContainer] = []

        def make_client(cls: type) -> ServiceContainer:
            clients.append(ServiceContainer(cls, {"AMQP_URI": node.uri, "rpc_timeout": 60}))
            return clients[-1]

        yield _go_through(Outage(request.param), node, runner, cluster_client(make_client)["shop"])
        Shop.gate.set()
        runner.stop()
        clients[0].stop()


def _go_through(seen: Outage, node: RabbitMQNode, runner: ServiceRunner, shop: Any) -> Outage:
    seen.consumers_before = _consumers(node)
    pending = shop.hold.call_async("held")
    wait_until(lambda: Shop.entered, "the start of the call")
    publishers = [green().spawn(_publish, runner, first, seen.sent) for first in range(PUBLISHERS)]
    wait_until(lambda: len(seen.sent) > PUBLISHERS, "the first events")
    fall = green().spawn(_time, seen, "pending", pending.result)
    getattr(node, seen.how)()
    assert fall.wait(10)
    _time(seen, "impatient", lambda: shop.say.with_options(timeout=0.5)("impatient"))
    results: list[str] = []
    patient = green().spawn(lambda: results.append(shop.say("patient")))
    node.start()
    assert patient.wait(30)
    seen.patient_result = results[0]
    assert all(publisher.wait(30) for publisher in publishers)
    if seen.how == "stop":
        wait_until(lambda: node.queues()["rpc-shop"]["messages_unacknowledged"] == 1, "the second delivery")
    Shop.gate.set()
    wait_until(lambda: not any(queue["messages"] for queue in node.queues().values()), "the end of all queues")
    seen.heard = list(Shop.heard)
    seen.held_runs = len(Shop.entered)
    seen.consumers_after = _consumers(node)
    seen.connections_after = len(node.connections())
    return seen


def _publish(runner: ServiceRunner, first: int, sent: list[int]) -> None:
    container = runner.containers["shop"]
    (provider,) = container.dependencies
    dispatch = provider.get_dependency(WorkerContext(container, container.entrypoints[0]))
    for number in range(first, PUBLISHERS * EVENTS_EACH, PUBLISHERS):
        dispatch("sold", number)
        sent.append(number)


def _time(seen: Outage, name: str, call: Any) -> None:
    begin = monotonic()
    try:
        call()
    except Exception as exc:
        setattr(seen, f"{name}_error", exc)
    setattr(seen, f"{name}_seconds", monotonic() - begin)


def _consumers(node: RabbitMQNode) -> set[tuple[str, int, bool]]:
    return {(row["queue_name"], row["prefetch_count"], row["ack_required"]) for row in node.consumers()}


def test_a_pending_call_fails_and_may_have_been_carried_out(outage: Outage) -> None:
    assert isinstance(outage.pending_error, ConnectionLost)
    assert outage.pending_error.maybe_executed is True


def test_a_call_during_the_outage_gives_up_in_its_own_time(outage: Outage) -> None:
    assert isinstance(outage.impatient_error, ConnectionLost)
    assert outage.impatient_error.maybe_executed is False
    assert 0.4 < outage.impatient_seconds < 3


def test_a_call_with_time_waits_for_the_broker(outage: Outage) -> None:
    assert outage.patient_result == "patient"


def test_every_event_was_sent_without_an_error(outage: Outage) -> None:
    assert sorted(outage.sent) == list(range(PUBLISHERS * EVENTS_EACH))


def test_no_event_is_lost(outage: Outage) -> None:
    """Those that had no confirm were published again, so some may have come twice."""
    assert set(outage.heard) == set(outage.sent)


def test_consumers_prefetch_and_the_reply_queue_are_as_before(outage: Outage) -> None:
    assert outage.consumers_after == outage.consumers_before
    assert ("rpc-shop", 7, True) in outage.consumers_after


def test_the_call_that_ran_is_delivered_again_and_not_run_again(outage: Outage) -> None:
    """The worker that has it already acknowledges it; its caller knows that it may have run."""
    assert outage.held_runs == 1


def test_each_process_has_one_connection_again(outage: Outage) -> None:
    """The runner's and the client's."""
    assert outage.connections_after == 2
