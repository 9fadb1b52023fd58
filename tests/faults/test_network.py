"""Scenario 3: the network between a broker and a consuming or publishing process fails in each of four ways."""

from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from accounts import breaks, settle
from command_process import Running
from ledger import Ledger
from load import SENDERS
from waiting import wait_until

from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(300)]

EVENTS, CALLERS = 100, 10
WORKERS = 10
HEARTBEAT = 2
DELAY = 0.5
CUTS = (10_007, 2_003, 5_009, 1_009)
"""Bytes; frames are shorter than that and end elsewhere, but for an unlucky one of these."""


def refused(proxy: TcpProxy) -> None:
    proxy.refuse()
    sleep(5)
    proxy.resume()


def black_holed(proxy: TcpProxy) -> None:
    """For so long that both sides have given the connection up, after two heartbeats."""
    proxy.black_hole()
    sleep(4 * HEARTBEAT)
    # What was held back is not to come to life again.
    proxy.drop()
    proxy.resume()


def delayed(proxy: TcpProxy) -> None:
    proxy.delay(DELAY)
    sleep(6)
    proxy.delay(0)


def cut(proxy: TcpProxy) -> None:
    for after in CUTS:
        accepted = proxy.accepted
        proxy.cut(after)
        wait_until(lambda accepted=accepted: proxy.accepted > accepted, "another connection", timeout=30)
        sleep(1)


@pytest.fixture
def proxy(rabbitmq_uri: str) -> Iterator[TcpProxy]:
    with TcpProxy(rabbitmq_uri) as proxy:
        yield proxy


@pytest.mark.parametrize("side", ["consuming", "publishing"])
@pytest.mark.parametrize("fault", [refused, black_holed, delayed, cut])
def test_what_was_acknowledged_is_handled_whatever_the_network_does(
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    proxy: TcpProxy,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    rpc_to: Callable[[str], Any],
    side: str,
    fault: Callable[[TcpProxy], None],
) -> None:
    at_service = proxy.uri if side == "consuming" else rabbitmq_uri
    service = run_service(at_service, HEARTBEAT=HEARTBEAT, max_workers=WORKERS)
    uri = proxy.uri if side == "publishing" else rabbitmq_uri
    load = run_load(uri, events=EVENTS, callers=CALLERS, HEARTBEAT=HEARTBEAT)
    wait_until(lambda: len(ledger.read("handled")) > EVENTS, "the first of them", timeout=60)
    before = len(ledger.read("acknowledged"))
    fault(proxy)
    during = len(ledger.read("acknowledged"))
    wait_until(lambda: len(ledger.read("acknowledged")) > during + EVENTS, "what comes after", timeout=60)

    accounts = settle(load, ledger)
    report(**accounts.figures)
    assert rpc_to(rabbitmq_uri).counted.call("afterwards") == "afterwards"
    wait_until(lambda: all(queue["messages"] == 0 for queue in rabbitmq.queues(rabbitmq_uri).values()), "the last ack")
    broken = breaks(service if side == "consuming" else load)
    if fault is delayed:
        assert during > before
        assert not accounts.ended and not accounts.unsent
    assert bool(broken) == (fault is not delayed)
    # Only what was on its way when a connection broke can have been given out, or sent, again; requests are not.
    assert accounts.twice <= broken * (SENDERS if side == "publishing" else WORKERS)
    assert accounts.called_twice <= (0 if side == "publishing" else broken * WORKERS)


@pytest.mark.parametrize("side", ["consuming", "publishing"])
def test_an_idempotent_handler_runs_once_however_often_the_connection_breaks(
    rabbitmq: RabbitMQNode,
    rabbitmq_uri: str,
    proxy: TcpProxy,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    ledger: Ledger,
    report: Callable[..., None],
    tmp_path: Path,
    side: str,
) -> None:
    settings = {"max_workers": WORKERS, "idempotency_store": f"sqlite:///{tmp_path}/outcomes.sqlite3"}
    run_service(proxy.uri if side == "consuming" else rabbitmq_uri, file="once_services.py", **settings)
    load = run_load(proxy.uri if side == "publishing" else rabbitmq_uri, events=EVENTS, callers=0)
    wait_until(lambda: len(ledger.read("handled")) > EVENTS, "the first of them", timeout=60)
    cut(proxy)
    cut(proxy)

    accounts = settle(load, ledger)
    wait_until(lambda: all(queue["messages"] == 0 for queue in rabbitmq.queues(rabbitmq_uri).values()), "the last ack")
    seen = ledger.read("seen")
    report(**accounts.figures, came_twice=seen.total() - len(seen))
    assert accounts.twice == 0
