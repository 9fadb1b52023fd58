"""Helpers for tests of services; names are resolved when they are first used, importing patches nothing."""

from importlib import import_module
from typing import Any

_HOMES = {
    "rpcservice.testing.calls": ("EntrypointTimeout", "WaitResult", "entrypoint_hook", "entrypoint_waiter"),
    "rpcservice.testing.certificates": ("Certificates", "make_certificates"),
    "rpcservice.testing.entrypoints": ("dummy", "once"),
    "rpcservice.testing.host": ("FakeHost",),
    "rpcservice.testing.lookups": ("get_container", "get_extension"),
    "rpcservice.testing.management": ("ManagementApi", "ManagementError"),
    "rpcservice.testing.matchers": ("ANY_PARTIAL", "AnyInstanceOf"),
    "rpcservice.testing.ports": ("find_free_port", "free_ports"),
    "rpcservice.testing.proxy": ("TcpProxy",),
    "rpcservice.testing.rabbitmq": ("RabbitMQNode",),
    "rpcservice.testing.stand_ins": (
        "MockDependencyProvider",
        "replace_dependencies",
        "restrict_entrypoints",
        "worker_factory",
    ),
    "rpcservice.testing.websocket": ("VirtualSocket", "make_virtual_socket"),
    "rpcservice.testing.waits": ("assert_stops_raising", "wait_for_call"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first used."""
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'rpcservice.testing' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
