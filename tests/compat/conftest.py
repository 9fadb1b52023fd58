"""What the tests of the layer that stands in for nameko share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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
