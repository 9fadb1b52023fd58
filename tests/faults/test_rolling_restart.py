"""Scenario 8: two instances are restarted in turn under requests and calls, and none of these fails."""

import signal
import sys
from collections.abc import Callable
from time import monotonic, sleep

import pytest
from accounts import end, settle
from command_process import Running
from conftest import HERE
from ledger import Ledger
from load import CALL_PAUSE

from rpcservice.testing.ports import free_ports

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(300)]

REQUESTS, CALLERS, EVENTS = 200, 10, 50
CALLS = CALLERS / CALL_PAUSE
SHARE = 0.9
"""Of the requests and calls a second that are asked for, so many are to have been made."""
ROUNDS = 3
BETWEEN = 1.0


def test_nothing_fails_while_instances_are_restarted_in_turn(
    rabbitmq_uri: str,
    run_service: Callable[..., Running],
    run_load: Callable[..., Running],
    processes: list[Running],
    environment: dict[str, str],
    ledger: Ledger,
    report: Callable[..., None],
) -> None:
    ports = free_ports(2)

    def start(port: int) -> Running:
        return run_service(rabbitmq_uri, file="web_services.py", WEB_SERVER_ADDRESS=f"127.0.0.1:{port}", max_workers=50)

    instances = {port: start(port) for port in ports}
    load = run_load(rabbitmq_uri, events=EVENTS, callers=CALLERS)
    arguments = [str(ledger.path), str(REQUESTS), *map(str, ports)]
    http_load = Running([sys.executable, str(HERE / "http_load.py"), *arguments], env=environment)
    processes.append(http_load)
    http_load.wait_for("running")
    began, before = monotonic(), {kind: len(ledger.read(kind)) for kind in ("requested", "asked")}
    for _ in range(ROUNDS):
        for port in ports:
            sleep(BETWEEN)
            instances[port].process.send_signal(signal.SIGTERM)
            assert instances[port].wait(60) == 0
            sleep(BETWEEN)
            instances[port] = start(port)
    sleep(BETWEEN)
    seconds = monotonic() - began
    rates = {kind: (len(ledger.read(kind)) - count) / seconds for kind, count in before.items()}
    end(http_load)
    accounts = settle(load, ledger)

    requested, responded, refused = (ledger.read(kind) for kind in ("requested", "responded", "refused"))
    report(
        requests=len(requested),
        responded=len(responded),
        refused=refused,
        **accounts.figures,
        requests_a_second=rates["requested"],
        calls_a_second=rates["asked"],
    )
    assert rates["requested"] >= SHARE * REQUESTS
    assert rates["asked"] >= SHARE * CALLS
    assert not refused
    assert not accounts.ended and not accounts.unsent
    # Each once: what is stopped in order is never done again.
    assert ledger.read("served") == responded == requested
    assert accounts.handled == accounts.sent
    assert accounts.called == accounts.asked + requested
