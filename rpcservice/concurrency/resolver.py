"""Looks names up in a process that eventlet has patched: the system's own resolver, in real threads."""

import _socket
import os
import sys
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from rpcservice.concurrency import Backend, green
from rpcservice.concurrency.native import native
from rpcservice.concurrency.threadpool import InThread, Job, ThreadPool

THREADS = 16
"""Look-ups at a time; one thread starts for the first, and more only while others are under way."""
IDLE_LIMIT = 30.0
"""Seconds after which a thread that looks nothing up ends."""


class Resolver:
    """Has look-ups wait in threads while greenlets go on; they give and raise what the system gives and raises.

    eventlet comes with a resolver in Python. It knows neither the system's ``nsswitch.conf`` nor its caches, and to
    import it costs every process a tenth of a second and 7 MB, or 15 with a cryptography package installed.

    Args:
        idle_limit: Seconds after which a thread that looks nothing up ends.
    """

    def __init__(self, idle_limit: float = IDLE_LIMIT) -> None:
        self._idle_limit = idle_limit
        self._get_ident: Callable[[], int] = native("threading").get_ident
        self._home: int | None = self._get_ident()
        self._backend: Backend | None = None
        self._pool: ThreadPool | None = None
        os.register_at_fork(after_in_child=self._leave)

    def install(self, *modules: Any) -> None:
        """Put the look-ups into ``socket``, and into other modules that have its functions."""
        for name in _AT_HAND:
            function = self._beside(getattr(modules[0], name))
            for module in modules:
                setattr(module, name, function)

    def _beside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        is_at_hand = _AT_HAND[function.__name__]

        def look_up(*args: Any, **kwargs: Any) -> Any:
            # Other threads keep nobody from going on; and they have no part in this one's loop.
            if self._get_ident() != self._home or is_at_hand(*args, **kwargs):
                return function(*args, **kwargs)
            return self._threads().run(function, args, kwargs)

        return update_wrapper(look_up, function)

    def _threads(self) -> ThreadPool:
        backend = green()
        if self._pool is None or backend is not self._backend:
            if self._pool is not None:
                # Its loop does not turn any more, and would not learn that its threads have nothing to do.
                self._pool.kill()
            self._backend = backend
            self._pool = ThreadPool(
                backend,
                THREADS,
                sys.maxsize,
                _LookUp,
                "the resolver",
                thread_name="rpcservice-resolver",
                idle_limit=self._idle_limit,
            )
        return self._pool

    def _leave(self) -> None:
        """Called in a child that was forked: it has none of these threads, and what wakes its hub is its parent's."""
        self._home = None


class _LookUp(InThread):
    def abandon(self, job: Job) -> bool:
        """Say nothing, for nobody misses an answer that is not waited for any more."""
        return False


def _is_address(host: Any = None, *args: Any, **kwargs: Any) -> bool:
    """Say whether a name is none: an address, or what is refused before anything is looked up."""
    try:
        _socket.getaddrinfo(host, 0, flags=_socket.AI_NUMERICHOST)
    except _socket.gaierror:
        return False
    except (TypeError, ValueError):
        return True
    return True


def _is_kept(address: Any = None, flags: Any = 0, *args: Any) -> bool:
    """Say whether an address is to be given as it is, and not as a name."""
    return not isinstance(flags, int) or bool(flags & _socket.NI_NUMERICHOST)


def _has_a_name(address: Any = None, *args: Any) -> bool:
    """Say that the name of an address is never at hand."""
    # Encoded here, for the codec is imported then, and imports in threads would wait for the loop.
    _is_address(address)
    return False


_AT_HAND: dict[str, Callable[..., bool]] = {
    "getaddrinfo": _is_address,
    "gethostbyname": _is_address,
    "gethostbyname_ex": _is_address,
    "gethostbyaddr": _has_a_name,
    "getnameinfo": _is_kept,
}
"""The functions of ``socket`` that look something up, each with what says that a call of it does not."""
