"""The standard library as the operating system has it, in a process that eventlet may have patched."""

import sys
from importlib import import_module
from typing import Any


def native(name: str) -> Any:
    """Give a module whose threads, locks and system calls are real ones; call it in the thread of the hub.

    Args:
        name: A module of the standard library: "threading", "queue", "os" ...
    """
    patcher = sys.modules.get("eventlet.patcher")
    return import_module(name) if patcher is None else patcher.original(name)
