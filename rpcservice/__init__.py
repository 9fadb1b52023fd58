"""Services that talk by RPC and events. Names are resolved when they are first used; importing patches nothing."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "rpcservice.amqp.events": ("BROADCAST", "SERVICE_POOL", "SINGLETON", "EventDispatcher", "event_handler"),
    "rpcservice.amqp.rpc": ("ClusterRpc", "RpcCall", "ServiceRpc", "rpc"),
    "rpcservice.core.container": ("ServiceContainer",),
    "rpcservice.core.dependency": ("Config", "DependencyProvider"),
    "rpcservice.core.entrypoint": ("Entrypoint",),
    "rpcservice.core.extension": ("Extension", "Host"),
    "rpcservice.core.faults": ("deserialize_to_instance",),
    "rpcservice.core.resource": ("Resource",),
    "rpcservice.core.runner": ("ServiceRunner", "run_services"),
    "rpcservice.core.context": ("WorkerContext",),
    "rpcservice.errors": (
        "BadRequest",
        "BrokerError",
        "BrokerUnavailable",
        "ChannelClosed",
        "CommandError",
        "ConfigError",
        "ConnectionLost",
        "ContainerBeingKilled",
        "DeclarationError",
        "ExtensionNotFound",
        "IncorrectSignature",
        "MalformedRequest",
        "MessageTooLarge",
        "MethodNotFound",
        "MissingExtra",
        "PublishError",
        "PublishRejected",
        "PublishTimeout",
        "RemoteError",
        "RpcError",
        "RpcServiceError",
        "RpcTimeout",
        "UndeliverableMessage",
        "UnknownService",
        "UnserializableValueError",
        "WorkerPoolFull",
    ),
    "rpcservice.timer": ("timer",),
    "rpcservice.web.http": ("http",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - one table serves both


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
