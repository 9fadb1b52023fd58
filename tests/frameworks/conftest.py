"""The services behind the websites, in a process of their own for each test module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until
from websites import EXAMPLES, HERE, python

from rpcservice.testing import RabbitMQNode


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.broker)


@pytest.fixture(scope="module")
def uri(rabbitmq: RabbitMQNode) -> Iterator[str]:
    """The virtual host of a test module, with its services running."""
    uri = rabbitmq.vhost()
    services = (str(EXAMPLES / "orders.py"), str(HERE / "meeting_service.py"))
    running = python("rpcservice", "run", *services, "--broker", uri, "-d", "max_workers=100", uri=uri)
    try:
        running.wait_for("Ctrl-C stops")
        yield uri
    finally:
        running.close()
        rabbitmq.delete_vhost(uri)


@pytest.fixture
def reply_queues(rabbitmq: RabbitMQNode, uri: str) -> Callable[[], int]:
    """Count the reply queues: one for each client that has called."""
    return lambda: sum(name.startswith("rpc.reply-") for name in rabbitmq.queues(uri))


@pytest.fixture
def no_trace(rabbitmq: RabbitMQNode, uri: str, reply_queues: Callable[[], int]) -> Callable[[], None]:
    """See the broker without reply queues, and with the connection of the services alone."""

    def check() -> None:
        assert reply_queues() == 0
        wait_until(lambda: len(rabbitmq.connections(uri)) == 1, "the end of the clients' connections")

    return check
