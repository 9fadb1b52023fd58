"""What the tests of the layer that stands in for nameko share."""

from collections.abc import Iterator

import pytest

from rpcservice.testing import RabbitMQNode

# Test suites as users of nameko have them: data, run by other processes.
collect_ignore = ["nameko_suite", "nameko_suite3"]


@pytest.fixture(scope="session")
def managed_rabbitmq() -> Iterator[RabbitMQNode]:
    """A private RabbitMQ node with the management API, which nameko's fixtures need."""
    with RabbitMQNode(management=True) as node:
        yield node
