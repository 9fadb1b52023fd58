"""A connection that breaks again and again under load: every call ends, every event arrives, nothing is left over."""

from collections.abc import Callable
from typing import Any

import pytest
from echo import Echo, connection_of, dispatch_of
from waiting import wait_until

from rpcservice import ServiceContainer
from rpcservice.concurrency import Event, green
from rpcservice.errors import ConnectionLost
from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

CALLERS, DROPS = 20, 12


@pytest.fixture
def config(proxy: TcpProxy) -> dict[str, Any]:
    return {"AMQP_URI": proxy.uri, "rpc_timeout": 20, "max_workers": 5}


def test_every_call_ends_and_every_event_is_heard(
    container_factory: Callable[..., ServiceContainer],
    rpc: Any,
    proxy: TcpProxy,
    gate: Event,
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
) -> None:
    """Calls give their own result or ConnectionLost; events are sent without an error, and handled at least once."""
    Echo.gate, Echo.kept = gate, []
    container = container_factory(Echo)
    container.start()
    dispatch = dispatch_of(container)
    is_over = green().event()
    results: list[bool] = []
    lost: list[ConnectionLost] = []
    sent: list[str] = []

    def call(caller: int) -> None:
        count = 0
        while not is_over.is_set():
            text = f"{caller}-{count}"
            count += 1
            try:
                results.append(rpc["echo"].say(text) == text)
            except ConnectionLost as exc:
                lost.append(exc)

    def send(sender: int) -> None:
        while not is_over.is_set():
            text = f"{sender}-{len(sent)}"
            dispatch("kept", text)
            sent.append(text)

    tasks = [green().spawn(call, caller) for caller in range(CALLERS)]
    tasks += [green().spawn(send, sender) for sender in range(5)]
    for _ in range(DROPS):
        goal, sent_goal = len(results) + 100, len(sent) + 20
        wait_until(lambda goal=goal, sent_goal=sent_goal: len(results) > goal and len(sent) > sent_goal, "progress")
        proxy.drop()
    is_over.set()
    assert all(task.wait(20) for task in tasks)
    assert all(results)
    assert lost
    wait_until(lambda: set(Echo.kept) >= set(sent), "all events")
    wait_until(lambda: not any(queue["messages"] for queue in rabbitmq.queues(rabbitmq_uri).values()), "empty queues")
    assert not rpc._provider.replies._pending
    assert not container.pool.running and not container.pool.waiting
    assert connection_of(container).health() is None
