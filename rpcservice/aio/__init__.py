"""The standalone clients for asyncio: their connections live in threads, and nothing in an event loop waits for them.

They need no patching and no eventlet. A client is bound to no loop: it may be used in one after another, and in
several at a time.
"""

from rpcservice.aio.events import EventDispatcher, event_dispatcher
from rpcservice.aio.rpc import AsyncCluster, AsyncMethod, AsyncService, ClusterRpcClient, ServiceRpcClient

__all__ = (
    "AsyncCluster",
    "AsyncMethod",
    "AsyncService",
    "ClusterRpcClient",
    "EventDispatcher",
    "ServiceRpcClient",
    "event_dispatcher",
)
