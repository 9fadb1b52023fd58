"""What nameko 2 and nameko 3 spell differently, under one name; run by nameko's own Python."""

from contextlib import contextmanager

import nameko
from nameko import runners
from nameko.standalone import events, rpc

try:
    from nameko.rpc import ServiceRpc
except ImportError:  # version 2 knows it by its old name alone
    from nameko.rpc import RpcProxy as ServiceRpc

__all__ = ("ServiceRpc", "cluster_client", "event_dispatcher", "make_runner", "service_client", "setup")
_IS_3 = hasattr(nameko, "config")


def setup(config):
    """Hand version 3 its configuration, which it has to have before a service class is made."""
    if _IS_3:
        nameko.config.setup(config)


def make_runner(config):
    """Give a runner for services."""
    return runners.ServiceRunner() if _IS_3 else runners.ServiceRunner(config=config)


def event_dispatcher(config, **options):
    """Give the function that sends events in the name of any service."""
    return events.event_dispatcher(**options) if _IS_3 else events.event_dispatcher(config, **options)


@contextmanager
def cluster_client(config, **options):
    """Give the standalone client for all services."""
    if not _IS_3:
        with rpc.ClusterRpcProxy(config, **options) as client:
            yield client
        return
    with nameko.config.patch(config), rpc.ClusterRpcClient(**options) as client:
        yield client


@contextmanager
def service_client(service, config, **options):
    """Give the standalone client for one service."""
    if not _IS_3:
        with rpc.ServiceRpcProxy(service, config, **options) as client:
            yield client
        return
    with nameko.config.patch(config), rpc.ServiceRpcClient(service, **options) as client:
        yield client
