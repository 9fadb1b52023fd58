"""Services that talk by RPC and events. Names are resolved when they are first used; importing patches nothing."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "rpcservice.amqp.clients": ("ClusterRpc", "ServiceRpc"),
    "rpcservice.amqp.events": ("BROADCAST", "SERVICE_POOL", "SINGLETON", "EventDispatcher", "event_handler"),
    "rpcservice.amqp.queues": ("Publisher", "consume"),
    "rpcservice.amqp.rpccall": ("RpcCall",),
    "rpcservice.amqp.rpc": ("rpc",),
    "rpcservice.core.container": ("ServiceContainer",),
    "rpcservice.core.dependency": (
        "AuthToken",
        "Config",
        "ContextDataProvider",
        "DependencyProvider",
        "Language",
        "UserAgent",
        "UserId",
    ),
    "rpcservice.core.entrypoint": ("Entrypoint",),
    "rpcservice.core.extension": ("Extension", "Host", "ProviderCollector", "SharedExtension"),
    "rpcservice.core.faults": ("deserialize_to_instance",),
    "rpcservice.core.redaction": ("REDACTED", "get_redacted_args"),
    "rpcservice.core.resource": ("Resource",),
    "rpcservice.core.retry": ("Retry",),
    "rpcservice.core.runner": ("ServiceRunner", "run_services"),
    "rpcservice.core.context": ("WorkerContext",),
    "rpcservice.errors": (
        "BadRequest",
        "BrokerError",
        "BrokerUnavailable",
        "ChannelClosed",
        "CircuitOpen",
        "CommandError",
        "ConfigError",
        "ConnectionLost",
        "ConnectionNotFound",
        "ContainerBeingKilled",
        "DeadlineExceeded",
        "DeclarationError",
        "ExtensionNotFound",
        "IncorrectSignature",
        "MalformedRequest",
        "MessageTooLarge",
        "MethodNotFound",
        "MissingExtra",
        "MissingKey",
        "NameTooLong",
        "OffloadError",
        "OffloadFull",
        "PublishError",
        "PublishRejected",
        "PublishTimeout",
        "Reject",
        "RemoteError",
        "Requeue",
        "RpcError",
        "RpcServiceError",
        "RpcTimeout",
        "StoreUnavailable",
        "TooManyCalls",
        "UndeliverableMessage",
        "UnknownService",
        "UnserializableValueError",
        "WebSocketRefused",
        "WorkerPoolFull",
        "WorkerTimeout",
    ),
    "rpcservice.offload": ("Offload",),
    "rpcservice.reliability.breaker": ("Breaker",),
    "rpcservice.reliability.database": ("Database",),
    "rpcservice.standalone": (
        "ClusterRpcClient",
        "ClusterRpcProxy",
        "ServiceRpcClient",
        "ServiceRpcProxy",
        "event_dispatcher",
    ),
    "rpcservice.timers": ("timer",),
    "rpcservice.web.http": ("http",),
    "rpcservice.web.websocket": ("WebSocketHubProvider", "on_connect", "on_disconnect", "websocket_rpc"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


if TYPE_CHECKING:
    # The same names once more, for type checkers; tests/test_public_names.py holds the two together.
    from rpcservice.amqp.clients import ClusterRpc as ClusterRpc
    from rpcservice.amqp.clients import ServiceRpc as ServiceRpc
    from rpcservice.amqp.events import BROADCAST as BROADCAST
    from rpcservice.amqp.events import SERVICE_POOL as SERVICE_POOL
    from rpcservice.amqp.events import SINGLETON as SINGLETON
    from rpcservice.amqp.events import EventDispatcher as EventDispatcher
    from rpcservice.amqp.events import event_handler as event_handler
    from rpcservice.amqp.queues import Publisher as Publisher
    from rpcservice.amqp.queues import consume as consume
    from rpcservice.amqp.rpc import rpc as rpc
    from rpcservice.amqp.rpccall import RpcCall as RpcCall
    from rpcservice.core.container import ServiceContainer as ServiceContainer
    from rpcservice.core.context import WorkerContext as WorkerContext
    from rpcservice.core.dependency import AuthToken as AuthToken
    from rpcservice.core.dependency import Config as Config
    from rpcservice.core.dependency import ContextDataProvider as ContextDataProvider
    from rpcservice.core.dependency import DependencyProvider as DependencyProvider
    from rpcservice.core.dependency import Language as Language
    from rpcservice.core.dependency import UserAgent as UserAgent
    from rpcservice.core.dependency import UserId as UserId
    from rpcservice.core.entrypoint import Entrypoint as Entrypoint
    from rpcservice.core.extension import Extension as Extension
    from rpcservice.core.extension import Host as Host
    from rpcservice.core.extension import ProviderCollector as ProviderCollector
    from rpcservice.core.extension import SharedExtension as SharedExtension
    from rpcservice.core.faults import deserialize_to_instance as deserialize_to_instance
    from rpcservice.core.redaction import REDACTED as REDACTED
    from rpcservice.core.redaction import get_redacted_args as get_redacted_args
    from rpcservice.core.resource import Resource as Resource
    from rpcservice.core.retry import Retry as Retry
    from rpcservice.core.runner import ServiceRunner as ServiceRunner
    from rpcservice.core.runner import run_services as run_services
    from rpcservice.errors import BadRequest as BadRequest
    from rpcservice.errors import BrokerError as BrokerError
    from rpcservice.errors import BrokerUnavailable as BrokerUnavailable
    from rpcservice.errors import ChannelClosed as ChannelClosed
    from rpcservice.errors import CircuitOpen as CircuitOpen
    from rpcservice.errors import CommandError as CommandError
    from rpcservice.errors import ConfigError as ConfigError
    from rpcservice.errors import ConnectionLost as ConnectionLost
    from rpcservice.errors import ConnectionNotFound as ConnectionNotFound
    from rpcservice.errors import ContainerBeingKilled as ContainerBeingKilled
    from rpcservice.errors import DeadlineExceeded as DeadlineExceeded
    from rpcservice.errors import DeclarationError as DeclarationError
    from rpcservice.errors import ExtensionNotFound as ExtensionNotFound
    from rpcservice.errors import IncorrectSignature as IncorrectSignature
    from rpcservice.errors import MalformedRequest as MalformedRequest
    from rpcservice.errors import MessageTooLarge as MessageTooLarge
    from rpcservice.errors import MethodNotFound as MethodNotFound
    from rpcservice.errors import MissingExtra as MissingExtra
    from rpcservice.errors import MissingKey as MissingKey
    from rpcservice.errors import NameTooLong as NameTooLong
    from rpcservice.errors import OffloadError as OffloadError
    from rpcservice.errors import OffloadFull as OffloadFull
    from rpcservice.errors import PublishError as PublishError
    from rpcservice.errors import PublishRejected as PublishRejected
    from rpcservice.errors import PublishTimeout as PublishTimeout
    from rpcservice.errors import Reject as Reject
    from rpcservice.errors import RemoteError as RemoteError
    from rpcservice.errors import Requeue as Requeue
    from rpcservice.errors import RpcError as RpcError
    from rpcservice.errors import RpcServiceError as RpcServiceError
    from rpcservice.errors import RpcTimeout as RpcTimeout
    from rpcservice.errors import StoreUnavailable as StoreUnavailable
    from rpcservice.errors import TooManyCalls as TooManyCalls
    from rpcservice.errors import UndeliverableMessage as UndeliverableMessage
    from rpcservice.errors import UnknownService as UnknownService
    from rpcservice.errors import UnserializableValueError as UnserializableValueError
    from rpcservice.errors import WebSocketRefused as WebSocketRefused
    from rpcservice.errors import WorkerPoolFull as WorkerPoolFull
    from rpcservice.errors import WorkerTimeout as WorkerTimeout
    from rpcservice.offload import Offload as Offload
    from rpcservice.reliability.breaker import Breaker as Breaker
    from rpcservice.reliability.database import Database as Database
    from rpcservice.standalone import ClusterRpcClient as ClusterRpcClient
    from rpcservice.standalone import ClusterRpcProxy as ClusterRpcProxy
    from rpcservice.standalone import ServiceRpcClient as ServiceRpcClient
    from rpcservice.standalone import ServiceRpcProxy as ServiceRpcProxy
    from rpcservice.standalone import event_dispatcher as event_dispatcher
    from rpcservice.timers import timer as timer
    from rpcservice.web.http import http as http
    from rpcservice.web.websocket import WebSocketHubProvider as WebSocketHubProvider
    from rpcservice.web.websocket import on_connect as on_connect
    from rpcservice.web.websocket import on_disconnect as on_disconnect
    from rpcservice.web.websocket import websocket_rpc as websocket_rpc


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'rpcservice' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if os.environ.get("RPCSERVICE_NAMEKO", "").lower() not in ("", "0", "false", "no"):
    import_module("rpcservice.compat.nameko").install()
