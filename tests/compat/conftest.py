"""What the tests of the layer that stands in for nameko share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import Inbox, Wire

from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.concurrency import green
from rpcservice.testing import RabbitMQNode

# For the environments with nameko itself.
sys.path.append(str(Path(__file__).parents[1] / "interop"))

# Test suites as users of nameko have them: data, run by other processes.
collect_ignore = ["nameko_suite", "nameko_suite3"]


@pytest.fixture(scope="session")
def managed_rabbitmq() -> Iterator[RabbitMQNode]:
    """A private RabbitMQ node with the management API, which nameko's fixtures need."""
    with RabbitMQNode(management=True) as node:
        yield node


@pytest.fixture
def serve(config: dict[str, Any]) -> Iterator[Callable[..., ServiceRunner]]:
    """Start nameko services in one runner on this test's broker: ``serve(Products, Orders, max_workers=2)``."""
    runners: list[ServiceRunner] = []

    def start(*services: type, **settings: Any) -> ServiceRunner:
        runner = ServiceRunner({**config, **settings})
        for service in services:
            runner.add_service(service)
        runners.append(runner)
        runner.start()
        return runner

    yield start
    for runner in runners:
        runner.kill()


@pytest.fixture
def wire(broker_uri: str) -> Iterator[Wire]:
    """A raw client of this test's broker."""
    made = Wire(broker_uri, green())
    yield made
    made.link.close()


@pytest.fixture
def inbox() -> Inbox:
    """A place to wait for what services hand over."""
    return Inbox(green())
