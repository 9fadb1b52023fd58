"""Processes under fault: a service, a load on it, and the ledger of both; figures go into the report."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_process import Running
from effects import Effects
from ledger import Ledger

HERE = Path(__file__).parent
LINES_SHOWN = 100
REPORT = "FAULTS_REPORT"
"""The environment variable that names the file for the figures, one JSON object a line."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The ledger of this test's processes."""
    ledger = Ledger(tmp_path / "ledger")
    yield ledger
    ledger.close()


@pytest.fixture
def processes() -> Iterator[list[Running]]:
    """What the test has started; seen gone at the end."""
    started: list[Running] = []
    yield started
    for running in started:
        running.close()
        # For who looks into a test that has failed.
        print(*running.err[-LINES_SHOWN:], sep="\n")


@pytest.fixture
def environment(ledger: Ledger) -> dict[str, str]:
    """The environment of services and loads."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "LEDGER": str(ledger.path), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start_service(processes: list[Running], environment: dict[str, str]) -> Callable[..., Running]:
    """Start the service of counted_services.py on a broker and do not wait: ``start_service(uri, max_workers=50)``."""

    def start(uri: str, *, pause: float = 0, file: str = "counted_services.py", **settings: Any) -> Running:
        defines = [part for name, value in settings.items() for part in ("-d", f"{name}={json.dumps(value)}")]
        command = [sys.executable, "-m", "rpcservice", "run", str(HERE / file), "--broker", uri, *defines]
        processes.append(Running(command, env={**environment, "PAUSE": str(pause)}))
        return processes[-1]

    return start


@pytest.fixture
def run_service(start_service: Callable[..., Running]) -> Callable[..., Running]:
    """Start it and wait until it is up."""

    def run(uri: str, **options: Any) -> Running:
        running = start_service(uri, **options)
        running.wait_for("Ctrl-C stops.", timeout=60)
        return running

    return run


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    """The database of effect_services.py: ``run_service(uri, file="effect_services.py", **effects.settings)``."""
    return Effects(tmp_path)


@pytest.fixture
def run_load(processes: list[Running], environment: dict[str, str], ledger: Ledger) -> Callable[..., Running]:
    """Start load.py on a broker: ``run_load(uri, events=500, callers=20, publish_timeout=3)``."""

    def run(uri: str, *, events: float, callers: int, event_type: str = "happened", **settings: Any) -> Running:
        arguments = [uri, str(ledger.path), str(events), str(callers), event_type, json.dumps(settings)]
        running = Running([sys.executable, str(HERE / "load.py"), *arguments], env=environment)
        processes.append(running)
        running.wait_for("running", timeout=60)
        return running

    return run


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Keep figures of a scenario: for the log, and for the report where one is asked for."""

    def keep(**figures: Any) -> None:
        line = json.dumps({"scenario": request.node.name, **figures})
        print(line)
        if os.environ.get(REPORT):
            with open(os.environ[REPORT], "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    return keep


@pytest.fixture
def rpc_to() -> Iterator[Callable[[str], Any]]:
    """Give a client on a broker: ``rpc_to(uri).counted.call(1)``."""
    from rpcservice import ClusterRpcClient

    clients: list[ClusterRpcClient] = []

    def make(uri: str) -> Any:
        client = ClusterRpcClient({"AMQP_URI": uri}, timeout=30)
        clients.append(client)
        return client.start()

    yield make
    for client in clients:
        client.stop()
