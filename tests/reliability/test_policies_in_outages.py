"""Calls that go through the end of a service, or of the broker."""

from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import (
    Breaker,
    CircuitOpen,
    ConnectionLost,
    DependencyProvider,
    Retry,
    RpcTimeout,
    ServiceContainer,
    WorkerContext,
    rpc,
)
from rpcservice.concurrency import Event, green
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import cluster_client

Make = Callable[..., ServiceContainer]
CALLERS = 50


class MessageId(DependencyProvider):
    """Injects the id of the request."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        return ctx.message.properties["message_id"]


class Bank:
    name = "bank"
    message_id = MessageId()
    seen: list[str] = []
    gate: Event

    @rpc
    def say(self, text: Any) -> Any:
        return text

    @rpc
    def transfer(self, amount: int) -> int:
        self.seen.append(self.message_id)
        self.gate.wait(30)
        return amount


@pytest.fixture
def quick_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections try again after a moment instead of after a second."""
    monkeypatch.setattr("rpcservice.amqp.connection.FIRST_PAUSE", 0.1)
    monkeypatch.setattr("rpcservice.amqp.connection.LONGEST_PAUSE", 0.5)


@pytest.fixture
def bank(rabbitmq_node: RabbitMQNode, quick_connections: None) -> Any:
    """The service, running on a broker that may be stopped, and a client for it."""
    Bank.seen, Bank.gate = [], green().event()
    made: list[ServiceContainer] = []

    def make(cls: type) -> ServiceContainer:
        made.append(ServiceContainer(cls, {"AMQP_URI": rabbitmq_node.uri, "max_workers": 100}))
        return made[-1]

    make(Bank).start()
    yield cluster_client(make)["bank"]
    Bank.gate.set()
    for container in made:
        container.kill()


def in_greenlets(calls: list[Callable[[], Any]]) -> tuple[list[Any], list[Any]]:
    """Make calls side by side; gives the list that their outcomes come into, and the tasks."""
    outcomes: list[Any] = []

    def make(call: Callable[[], Any]) -> None:
        try:
            outcomes.append(call())
        except Exception as exc:
            outcomes.append(exc)

    return outcomes, [green().spawn(make, call) for call in calls]


PATIENTLY = Retry(max_attempts=4, initial=12, factor=1, jitter=0)
"""By the second attempt the broker and the service are there again, on a machine that is busy with other tests."""
AGAIN_AND_AGAIN = Retry(max_attempts=200, initial=0.2, factor=1, idempotent=True)
"""An attempt may be sent when the broker is there and the service is not yet, and then it may be carried out late."""


@pytest.mark.broker
@pytest.mark.parametrize("retry", [PATIENTLY, AGAIN_AND_AGAIN], ids=["not sent", "idempotent"])
def test_calls_are_carried_over_a_restart_of_the_broker(bank: Any, rabbitmq_node: RabbitMQNode, retry: Retry) -> None:
    """The first attempts of all wait for the broker for a second, which is no more than was asked for."""
    rabbitmq_node.stop()
    say = bank.say.with_options(timeout=1, retry=retry)
    outcomes, tasks = in_greenlets([lambda number=number: say(number) for number in range(CALLERS)])
    started = say.call_async("started")
    with pytest.raises(ConnectionLost) as caught:
        bank.say.with_options(timeout=1)(1)
    assert caught.value.maybe_executed is False
    assert outcomes == []
    rabbitmq_node.start()
    assert all(task.wait(60) for task in tasks)
    assert sorted(outcomes, key=str) == sorted(range(CALLERS), key=str)
    assert started.result(60) == "started"


@pytest.mark.broker
def test_a_call_that_may_have_run_ends_with_the_connection_unless_it_is_idempotent(
    bank: Any, rabbitmq_node: RabbitMQNode
) -> None:
    retry = Retry(max_attempts=200, initial=0.2, factor=1)
    again = Retry(max_attempts=200, initial=0.2, factor=1, idempotent=True)
    methods = [bank.transfer.with_options(retry=one, timeout=30) for one in (retry, again)]
    outcomes, tasks = in_greenlets([lambda method=method: method(7) for method in methods])
    wait_until(lambda: len(Bank.seen) == 2, "both requests")
    rabbitmq_node.kill()
    wait_until(lambda: outcomes, "the end of the first")
    assert isinstance(outcomes[0], ConnectionLost)
    assert outcomes[0].maybe_executed is True
    Bank.gate.set()
    rabbitmq_node.start()
    assert all(task.wait(60) for task in tasks)
    assert outcomes[1] == 7
    counts = {Bank.seen.count(message_id) for message_id in Bank.seen}
    assert max(counts) >= 2


@pytest.mark.broker
def test_the_breaker_opens_while_the_broker_is_away_and_closes_when_it_is_back(
    bank: Any, rabbitmq_node: RabbitMQNode
) -> None:
    say = bank.say.with_options(timeout=0.2, breaker=Breaker(min_calls=10, cooldown=0.5))
    rabbitmq_node.stop()
    outcomes, tasks = in_greenlets([lambda: say(1)] * CALLERS)
    assert all(task.wait(20) for task in tasks)
    assert {type(error) for error in outcomes} == {ConnectionLost}
    with pytest.raises(CircuitOpen):
        say(1)
    rabbitmq_node.start()
    results: list[Any] = []

    def try_again() -> bool:
        try:
            results.append(say(2))
        except (CircuitOpen, ConnectionLost, RpcTimeout):
            return False
        return True

    wait_until(try_again, "the first answer", timeout=40)
    assert results == [2]


@pytest.mark.parametrize("on", ["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def test_the_next_instance_sees_the_same_message_id_twice(container_factory: Make, rpc: Any, on: str) -> None:
    """The request that the first one had, which came back, and the caller's second one: they are one."""
    Bank.seen, Bank.gate = [], green().event()
    first = container_factory(Bank)
    first.start()
    retry = Retry(max_attempts=2, initial=0.01, idempotent=True)
    call = rpc.bank.transfer.with_options(timeout=1.5, retry=retry).call_async(7)
    wait_until(lambda: Bank.seen, "the request")
    first.kill()
    wait_until(lambda: call._request._call is not call._first, "the second attempt")
    Bank.gate.set()
    container_factory(Bank).start()
    assert call.result(20) == 7
    wait_until(lambda: len(Bank.seen) == 3, "all requests")
    assert len(set(Bank.seen)) == 1
