"""A handler that never yields: it is told of, costs the connection and nothing else; offloaded, it costs nothing."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from command_process import Running
from waiting import wait_until

from rpcservice.concurrency import green
from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.timeout(240)]

SERVICES = Path(__file__).with_name("blocking_services.py")
BLOCKED = "the event loop has not turned for"


@dataclass(frozen=True)
class Length:
    """How long the handler blocks, and how often the broker wants a heartbeat, in seconds."""

    blocked: float
    heartbeat: float


LENGTHS = [
    pytest.param(Length(8, 2), id="8s"),
    pytest.param(Length(90, 10), id="90s", marks=pytest.mark.faults),
]


@dataclass(frozen=True)
class Process:
    """The services under test, in one process with one connection."""

    running: Running
    journal: Path
    connection: str

    def times(self, what: str) -> list[float]:
        """Give when something was noted; the clock is the same in all processes."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [float(line.split()[1]) for line in lines if line.startswith(what)]


@pytest.fixture
def connections(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> Callable[[], list[str]]:
    """Give what stands for each connection at the broker, those of the test among them."""
    return lambda: [row["pid"] for row in rabbitmq.connections(rabbitmq_uri)]


@pytest.fixture
def start(
    connections: Callable[[], list[str]], processes: list[Running], rpc: Any, rabbitmq_uri: str, tmp_path: Path
) -> Callable[[Length], Process]:
    """Start the services of blocking_services.py."""

    def start(length: Length) -> Process:
        journal, others = tmp_path / "journal", set(connections())
        command = [sys.executable, "-m", "rpcservice", "run", str(SERVICES), "--broker", rabbitmq_uri]
        command += ["-d", f"HEARTBEAT={length.heartbeat}"]
        running = Running(command, env={**os.environ, "JOURNAL": str(journal)})
        processes.append(running)
        running.wait_for("Ctrl-C stops.")
        (own,) = set(connections()) - others
        return Process(running, journal, own)

    return start


def call(rpc: Any, service: str, method: str, length: Length, *args: Any) -> Any:
    """Begin a call that may wait for the blockade and for the connection that comes after it."""
    return rpc[service][method].with_options(timeout=length.blocked + 60).call_async(*args)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_connection_is_rebuilt_and_all_goes_on(
    start: Callable[[Length], Process],
    connections: Callable[[], list[str]],
    rpc: Any,
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    report: Callable[..., None],
    length: Length,
) -> None:
    process = start(length)
    blocking = call(rpc, "blocker", "block", length, length.blocked)
    (begin,) = wait_until(lambda: process.times("begin"), "the handler")
    process.running.wait_for(BLOCKED, 5)
    logged = monotonic() - begin
    assert logged < 2
    assert any("in never_yield" in line for line in process.running.err)

    pending = call(rpc, "steady", "ping", length)
    wait_until(lambda: process.connection not in connections(), "the end of the connection", 2 * length.heartbeat + 10)
    lost = monotonic() - begin
    assert process.times("end") == []

    # At least once: the message was not acknowledged, so it came again, and the caller has the second answer.
    assert blocking.result() == 2
    assert pending.result() == "pong"
    assert (len(process.times("begin")), len(process.times("end"))) == (2, 2)
    assert rpc["steady"].ping() == "pong"
    process.running.wait_for("the event loop turns again, after at least", 5)
    assert process.connection not in connections()
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["rpc-blocker"]["messages"] == 0, "the last acknowledgement")
    back = process.times("begin")[1] - process.times("end")[0]
    report(blocked=length.blocked, logged_after=logged, connection_lost_after=lost, redelivered_after_the_end=back)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("method", ["block_thread", "block_process"])
def test_the_same_work_offloaded_keeps_every_heartbeat(
    start: Callable[[Length], Process],
    connections: Callable[[], list[str]],
    rpc: Any,
    report: Callable[..., None],
    length: Length,
    method: str,
) -> None:
    process = start(length)
    working = call(rpc, "blocker", method, length, length.blocked)
    wait_until(lambda: process.times("begin"), "the handler")
    waits = []
    while not working.is_done():
        asked = monotonic()
        assert rpc["steady"].ping() == "pong"
        waits.append(monotonic() - asked)
        green().sleep(0.2)
    assert working.result() == 1
    assert max(waits) < length.heartbeat
    assert len(process.times("begin")) == 1
    assert process.connection in connections()
    report(blocked=length.blocked, method=method, calls_meanwhile=len(waits), longest_call=max(waits))
