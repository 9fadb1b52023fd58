"""A program that is no service: prints what is left."""

from nameko.standalone.rpc import ClusterRpcProxy


def report(broker):
    """Give one line for each book."""
    with ClusterRpcProxy({"AMQP_URI": broker}) as cluster:
        return [f"{title}: {count}" for title, count in sorted(cluster.catalogue.copies().items())]
