"""Gives what modules of nameko's only import, and users import from there, from where it is at home."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

LIBRARIES: Mapping[str, Mapping[str, str]] = {
    "nameko.containers": {"Event": "eventlet.event", "GreenPool": "eventlet.greenpool"},
    "nameko.events": {"Queue": "kombu"},
    "nameko.messaging": {
        "Connection": "kombu",
        "ConsumerMixin": "kombu.mixins",
        "Event": "eventlet.event",
        "maybe_declare": "kombu.common",
    },
    "nameko.rpc": {"Event": "eventlet.event", "Exchange": "kombu", "Queue": "kombu"},
    "nameko.standalone.events": {"Exchange": "kombu"},
    "nameko.standalone.rpc": {"Connection": "kombu", "Queue": "kombu.messaging", "maybe_declare": "kombu.common"},
}
"""What modules of nameko's import from its libraries, with the modules that have it."""


def take(home: str, name: str) -> Any:
    """Give a name, or a module, of one of our modules by the name that it has in nameko, or of a library's."""
    module = import_module(f"rpcservice.compat.{home}" if home.split(".")[0] == "nameko" else home)
    return import_module(f"{module.__name__}.{name}") if name == "serialization" else getattr(module, name)
