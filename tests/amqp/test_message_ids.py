"""Whatever is published carries a message id of its own, and the same one when it is published again."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import ClusterRpc, DependencyProvider, EventDispatcher, Publisher, Retry, event_handler, rpc
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import dummy, entrypoint_hook

Start = Callable[..., ServiceRunner]
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}

PROGRAM = """
import asyncio, sys
from rpcservice import ClusterRpcClient, event_dispatcher
from rpcservice import aio

config = {"AMQP_URI": sys.argv[1]}

async def send():
    async with aio.ClusterRpcClient(config) as cluster:
        await cluster.sender.answer()
    async with aio.event_dispatcher(config) as dispatch:
        await dispatch("sender", "happened", 1)

with ClusterRpcClient(config) as cluster:
    cluster.sender.answer()
with event_dispatcher(config) as dispatch:
    dispatch("sender", "happened", 1)
asyncio.run(send())
"""


class Sender:
    name = "sender"
    cluster = ClusterRpc()
    dispatch = EventDispatcher()
    publish = Publisher("sender.events")

    @rpc
    def answer(self) -> str:
        return "answer"

    @dummy
    def run(self, function: Callable[[Any], Any]) -> Any:
        return function(self)


def ids(deliveries: Any, count: int) -> set[str]:
    """Give the ids of so many messages; fails when one has none."""
    return {delivery.properties["message_id"] for delivery in [deliveries.take() for _ in range(count)]}


def run(runner: ServiceRunner, function: Callable[[Any], Any]) -> None:
    """Run a function in a worker of the sender."""
    with entrypoint_hook(runner.containers["sender"], "run") as hook:
        hook(function)


SENT_BY = {
    "event": lambda sender: sender.dispatch("happened", 1),
    "delayed event": lambda sender: sender.dispatch("happened", 1, delay=0.01),
    "publish": lambda sender: sender.publish(1, routing_key="happened"),
    "delayed publish": lambda sender: sender.publish(1, routing_key="happened", delay=0.01),
    "unconfirmed publish": lambda sender: sender.publish(1, routing_key="happened", use_confirms=False),
}


@pytest.mark.parametrize("kind", SENT_BY)
def test_what_services_publish_has_an_id(start: Start, wire: Any, broker: str, kind: str) -> None:
    arrived = wire.tap("sender.events")
    runner = start(Sender)
    for _ in range(2):
        run(runner, SENT_BY[kind])
    assert len(ids(arrived, 2)) == 2


def test_requests_and_replies_have_ids(start: Start, wire: Any, broker: str) -> None:
    arrived = wire.tap("nameko-rpc")
    runner = start(Sender)
    for _ in range(2):
        run(runner, lambda sender: sender.cluster.sender.answer())
    assert len(ids(arrived, 4)) == 4


def test_a_message_without_an_id_gets_one_that_it_keeps(start: Start, wire: Any, broker: str, inbox: Any) -> None:
    seen: list[Any] = []

    class Seen(DependencyProvider):
        def around_receipt(self, delivery: Any, call_next: Callable[[Any], Any]) -> Any:
            seen.append(delivery.properties.get("message_id"))
            return call_next(delivery)

    class Keeper:
        name = "keeper"
        seen = Seen()

        @event_handler("sender", "happened", retry=Retry(max_attempts=3, initial=0.01, jitter=0))
        def keep(self, payload: Any) -> None:
            raise ValueError(payload)

    start(Keeper)
    letters = inbox()
    wire.channel.consume("evt-sender-happened--keeper.keep.dead", letters, no_ack=True)
    wire.publish("sender.events", "happened", b"1", **JSON)
    letter = letters.take()
    first, second, third = seen
    assert first is None
    assert second == third == letter.properties["message_id"]
    assert second


@pytest.mark.broker
def test_what_programs_publish_has_an_id(start: Start, wire: Any, broker_uri: str) -> None:
    """Clients on threads and for asyncio, and the commands."""
    start(Sender)
    events, calls = wire.tap("sender.events"), wire.tap("nameko-rpc")
    command = [sys.executable, "-m", "rpcservice"]
    for arguments, text in (
        ([sys.executable, "-c", PROGRAM, broker_uri], None),
        ([*command, "emit", "sender", "happened", "1", "--broker", broker_uri], None),
        ([*command, "call", "sender.answer", "--broker", broker_uri], None),
        (
            [*command, "shell", "--broker", broker_uri],
            "n.rpc.sender.answer()\nn.dispatch_event('sender', 'happened', 1)\n",
        ),
    ):
        subprocess.run(arguments, check=True, capture_output=True, input=text, text=True, timeout=60)
    assert len(ids(events, 4)) == 4
    assert len(ids(calls, 8)) == 8
