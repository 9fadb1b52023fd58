"""Spreads the requests to one service over several queues, by RabbitMQ's consistent hash exchange.

Start the services orders_0, orders_1 ... first, then: python shards.py amqp://guest:guest@localhost:5672// orders 4
"""

import sys

from kombu import Connection, Exchange


def make_shards(uri: str, service: str, count: int) -> None:
    """Have calls of ``<service>.<method>`` taken by the services ``<service>_0``, ``<service>_1`` ... in equal shares.

    Args:
        uri: The broker; its plugin rabbitmq_consistent_hash_exchange is enabled.
        service: The name that callers know.
        count: How many services share the calls.
    """
    with Connection(uri) as connection:
        channel = connection.default_channel
        # Every request has one of its own, which stays the same when it is sent again.
        by_id = {"hash-property": "correlation_id"}
        shards = Exchange(f"{service}.shards", "x-consistent-hash", durable=True, arguments=by_id)(channel)
        shards.declare()
        for number in range(count):
            # To this kind of exchange the routing key of a binding is a weight.
            channel.queue_bind(f"rpc-{service}_{number}", shards.name, routing_key="1")
        shards.bind_to("nameko-rpc", routing_key=f"{service}.*")


if __name__ == "__main__":
    make_shards(sys.argv[1], sys.argv[2], int(sys.argv[3]))
