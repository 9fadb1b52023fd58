"""Scenario 10: services are started and stopped again and again, and nothing of them is left behind."""

import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest
from command_process import Running
from manifold_services import LASTING, Manifold
from processes import count_greenlets, holdings
from waiting import wait_until

from rpcservice import run_services
from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(300)]

STARTS, KILLS, FIRST = 200, 50, 10
"""How often in this process, and after how many of them everything is loaded that ever is."""
PROCESSES, AT_A_TIME = 20, 5
MEMORY = 15
"""MiB that 190 more starts may cost: fragments of memory that nobody holds."""


@pytest.mark.parametrize(("starts", "is_killed"), [(STARTS, False), (KILLS, True)], ids=["stopped", "killed"])
def test_starts_and_stops_leave_nothing_behind(
    rabbitmq: RabbitMQNode,
    config: dict[str, Any],
    starts: int,
    is_killed: bool,
    report: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri = config["AMQP_URI"]
    # pytest keeps what is logged, and with it what that names.
    caplog.set_level(logging.ERROR)
    threads = holdings().threads
    figures = []
    for number in range(1, starts + 1):
        Manifold.done = set()
        with run_services(Manifold, config=config, kill_on_exit=is_killed):
            wait_until(lambda: len(Manifold.done) == 4, f"everything in round {number}", timeout=60)
        if number in (FIRST, starts):
            wait_until(lambda: not rabbitmq.connections(uri), "the end of the connections")
            wait_until(lambda: holdings().threads == threads, "the end of the threads")
            figures.append({"greenlets": count_greenlets(), **holdings()._asdict()})
    first, last = figures
    replies = {name for name in rabbitmq.queues(uri) if name.startswith("rpc.reply-")}
    report(starts=starts, reply_queues=len(replies), **{name: [first[name], last[name]] for name in first})
    # Who is killed waits for nothing; the broker deletes its reply queue after five minutes.
    assert len(replies) == (starts if is_killed else 0)
    assert rabbitmq.queues(uri).keys() - replies == LASTING
    assert last.pop("memory") - first.pop("memory") < MEMORY
    assert last == first


def test_processes_that_start_and_stop_at_the_same_time_leave_nothing_behind(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, start_service: Callable[..., Running], report: Callable[..., None]
) -> None:
    for _ in range(PROCESSES // AT_A_TIME):
        batch = [
            start_service(rabbitmq_uri, file="manifold_services.py", WEB_SERVER_ADDRESS="127.0.0.1:0")
            for _ in range(AT_A_TIME)
        ]
        for running in batch:
            running.wait_for("Ctrl-C stops.", timeout=120)
        for running in batch:
            running.process.send_signal(signal.SIGTERM)
        assert [running.wait(60) for running in batch] == [0] * AT_A_TIME
    wait_until(lambda: not rabbitmq.connections(rabbitmq_uri), "the end of the connections")
    assert rabbitmq.queues(rabbitmq_uri).keys() == LASTING
    report(starts=PROCESSES, at_a_time=AT_A_TIME, queues=len(LASTING), connections=0)
