"""Gives what modules of nameko's only import, and users import from there, from where it is at home."""

from importlib import import_module
from typing import Any


def take(home: str, name: str) -> Any:
    """Give a name, or a module, of one of our modules by the name that it has in nameko."""
    module = import_module(f"rpcservice.compat.{home}")
    return import_module(f"{module.__name__}.{name}") if name == "serialization" else getattr(module, name)
