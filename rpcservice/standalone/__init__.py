"""Clients for programs that are no services: RPC and events from scripts, web applications, management commands.

They need no patching and no eventlet. One client, with one connection and one reply queue, serves any number of
threads. A client may be made, and even used, before a fork: each process connects for itself.
"""

from rpcservice.standalone.events import StandaloneDispatcher, event_dispatcher
from rpcservice.standalone.rpc import ClusterRpcClient, ClusterRpcProxy, ServiceRpcClient, ServiceRpcProxy

__all__ = (
    "ClusterRpcClient",
    "ClusterRpcProxy",
    "ServiceRpcClient",
    "ServiceRpcProxy",
    "StandaloneDispatcher",
    "event_dispatcher",
)
