"""The same few names on greenlets and on threads; eventlet is imported when greenlets are first asked for.

A :class:`Backend` belongs to whoever waits: containers run on greenlets (:func:`green`), clients outside
services on threads (:func:`threads`). One program may hold both.
"""

import sys

from rpcservice.concurrency.base import Backend, Event, Lock, Task, Timer, Watch
from rpcservice.concurrency.thread import ThreadBackend

__all__ = ("Backend", "Event", "Lock", "Task", "ThreadBackend", "Timer", "Watch", "for_clients", "green", "threads")


def green() -> Backend:
    """Give the greenlet backend of the calling thread's eventlet hub."""
    from rpcservice.concurrency.greenlets import backend

    return backend()


def threads() -> ThreadBackend:
    """Give the backend on operating system threads."""
    return ThreadBackend()


def for_clients(*, is_embedded: bool = False) -> Backend:
    """Give the backend for a client outside services; it imports no eventlet.

    Threads, but for a process that eventlet has patched: what looks like threads there would be slower greenlets.

    Args:
        is_embedded: The broker is in this process, so that services may run on greenlets of the calling thread.
    """
    if "eventlet.patcher" in sys.modules:
        from rpcservice.concurrency import greenlets

        if greenlets.is_patched() or (is_embedded and greenlets.has_backend()):
            return greenlets.backend()
    return threads()
