"""The same few names on greenlets and on threads; eventlet is imported when greenlets are first asked for.

A :class:`Backend` belongs to whoever waits: containers run on greenlets (:func:`green`), clients outside
services on threads (:func:`threads`). One program may hold both.
"""

from rpcservice.concurrency.base import Backend, Event, Lock, Task, Timer, Watch
from rpcservice.concurrency.thread import ThreadBackend

__all__ = ("Backend", "Event", "Lock", "Task", "ThreadBackend", "Timer", "Watch", "green", "threads")


def green() -> Backend:
    """Give the greenlet backend of the calling thread's eventlet hub."""
    from rpcservice.concurrency.greenlets import backend

    return backend()


def threads() -> ThreadBackend:
    """Give the backend on operating system threads."""
    return ThreadBackend()
