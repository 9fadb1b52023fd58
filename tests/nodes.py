"""RabbitMQ nodes of tests that are set in a way of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from rpcservice.testing import RabbitMQNode


@contextmanager
def impatient_node(seconds: int) -> Iterator[RabbitMQNode]:
    """Give a node that takes messages back that are not acknowledged within some seconds."""
    with RabbitMQNode(settings={"consumer_timeout": str(seconds * 1000)}) as node:
        # How often it looks at its channels; a minute by default, and no setting of rabbitmq.conf.
        node.evaluate("application:set_env(rabbit, channel_tick_interval, 500)")
        yield node
