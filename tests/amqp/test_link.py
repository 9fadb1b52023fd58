"""What a broker says of itself, and what follows from that."""

from typing import Any

import pytest

from rpcservice.amqp.link import has_quorum_queues


@pytest.mark.parametrize(
    ("properties", "has_them"),
    [
        ({"product": "RabbitMQ", "version": "3.10.0"}, True),
        ({"product": "RabbitMQ", "version": "4.2.1"}, True),
        ({"product": "RabbitMQ", "version": "4.3.0-rc.1"}, True),
        ({"product": "RabbitMQ", "version": "3.9.29"}, False),
        ({"product": "RabbitMQ", "version": "x"}, False),
        ({"product": "RabbitMQ"}, False),
        ({"product": "LavinMQ", "version": "3.10.0"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_broker_has_quorum_queues_that_lose_nothing_from_rabbitmq_3_10_on(
    properties: dict[str, Any], has_them: bool
) -> None:
    assert has_quorum_queues(properties) is has_them


def test_a_link_says_so_of_its_broker(wire: Any, broker_uri: str) -> None:
    assert wire.link.has_quorum_queues is not broker_uri.startswith("memory:")
