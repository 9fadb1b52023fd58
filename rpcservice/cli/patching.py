"""Patches the standard library for eventlet, so that what waits in a service keeps nobody else from going on."""

import os
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_OWN_RESOLVER = "EVENTLET_NO_GREENDNS"
"""eventlet's variable: set to anything but "yes", eventlet looks names up itself."""


def patch() -> None:
    """Patch the standard library, before anything is imported that binds what is patched.

    Names are looked up by the system's resolver in threads, unless ``EVENTLET_NO_GREENDNS`` is set or eventlet has been
    imported before; psycopg2 is patched when somebody imports it.
    """
    has_resolver = _OWN_RESOLVER in os.environ or "eventlet" in sys.modules
    if not has_resolver:
        os.environ[_OWN_RESOLVER] = "yes"
    try:
        eventlet = import_eventlet()
    finally:
        if not has_resolver:
            del os.environ[_OWN_RESOLVER]
    eventlet.monkey_patch(psycopg=False)
    if not has_resolver:
        _install_resolver()
    if "psycopg2" in sys.modules:
        _patch_psycopg()
    elif not any(isinstance(finder, _Psycopg) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Psycopg())


def import_eventlet() -> Any:
    """Import eventlet without its word that it is deprecated."""
    with warnings.catch_warnings():
        # Nothing else is silenced, and who runs services can do nothing about this one.
        warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
        import eventlet
    return eventlet


def _patch_psycopg() -> None:
    import eventlet

    eventlet.monkey_patch(psycopg=True)


def _install_resolver() -> None:
    import socket

    from eventlet.green import socket as green_socket

    from rpcservice.concurrency.resolver import Resolver

    Resolver().install(socket, green_socket)


class _Psycopg:
    """Has psycopg2 wait for its database as greenlets do, from its import on: eventlet would import it for that."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Give the spec of psycopg2, which patches it when it has run; None for all other modules."""
        if fullname != "psycopg2":
            return None
        spec = self._find(path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                _patch_psycopg()
                # Only now: a spec may be asked for by those who just look whether there is such a module.
                if self in sys.meta_path:
                    sys.meta_path.remove(self)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader alone
        return spec

    def _find(self, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            # Old ones, such as six brings, may have no find_spec.
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec("psycopg2", path, target)
                if spec is not None:
                    return spec
        return None
