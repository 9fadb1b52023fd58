"""nameko's small helpers for tests."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple

import eventlet
import eventlet.queue

from rpcservice.compat.nameko.extensions import Entrypoint
from rpcservice.compat.nameko.testing.rabbit import Client, HTTPError
from rpcservice.core.container import ServiceContainer
from rpcservice.testing import waits
from rpcservice.testing.lookups import get_container as get_container
from rpcservice.testing.lookups import get_extension as get_extension
from rpcservice.testing.matchers import ANY_PARTIAL as ANY_PARTIAL
from rpcservice.testing.matchers import AnyInstanceOf as AnyInstanceOf
from rpcservice.testing.ports import find_free_port as find_free_port

__all__ = (
    "ANY_PARTIAL",
    "AnyInstanceOf",
    "DummyProvider",
    "ResourcePipeline",
    "assert_stops_raising",
    "find_free_port",
    "get_container",
    "get_extension",
    "get_rabbit_connections",
    "reset_rabbit_connections",
    "unpack_mock_call",
    "wait_for_call",
    "wait_for_worker_idle",
)


@contextmanager
def wait_for_call(timeout: float, mock_method: Any) -> Iterator[Any]:
    """Wait until a mock has been called, and give it.

    Raises:
        eventlet.Timeout: It was not called within ``timeout`` seconds.
    """
    with eventlet.Timeout(timeout):
        while not mock_method.called:
            eventlet.sleep()
    yield mock_method


def wait_for_worker_idle(container: ServiceContainer, timeout: float = 10) -> None:
    """Wait until a container has no running workers.

    Raises:
        eventlet.Timeout: It still has, after ``timeout`` seconds.
    """
    warnings.warn("wait_for_worker_idle is deprecated; use entrypoint_waiter", DeprecationWarning, stacklevel=2)
    if not container.pool.wait_for(None, monotonic() + timeout):
        error = eventlet.Timeout(timeout)
        # To make one is to start its clock, which would strike in whatever the caller does next.
        error.cancel()
        raise error


def assert_stops_raising(
    fn: Callable[[], object],
    exception_type: type[Exception] | tuple[type[Exception], ...] = Exception,
    timeout: float = 10,
    interval: float = 0.1,
) -> None:
    """Call a function again and again until it raises no more.

    Raises:
        eventlet.Timeout: It still does, after ``timeout`` seconds.
    """
    with eventlet.Timeout(timeout):
        waits.assert_stops_raising(fn, exception_type, timeout=None, interval=interval)


class MockCallArgs(NamedTuple):
    """The arguments of a mock's call."""

    positional: tuple[Any, ...]
    keyword: dict[str, Any]


def unpack_mock_call(call: Any) -> MockCallArgs:
    """Give the arguments of a mock's call."""
    return MockCallArgs(*call)


class DummyProvider(Entrypoint):
    """An entrypoint that is not bound, for the contexts of workers that a test makes itself.

    Args:
        method_name: The method that it fires.
    """

    def __init__(self, method_name: str | None = None) -> None:
        super().__init__()
        self.method_name = method_name or ""


def get_rabbit_connections(vhost: str, rabbit_manager: Client) -> list[dict[str, Any]]:
    """Give the open connections of a virtual host."""
    return [found for found in rabbit_manager.get_connections() or [] if found["vhost"] == vhost]


def reset_rabbit_connections(vhost: str, rabbit_manager: Client) -> None:
    """Close the connections of a virtual host."""
    for connection in get_rabbit_connections(vhost, rabbit_manager):
        try:
            rabbit_manager.delete_connection(connection["name"])
        except HTTPError as exc:
            # It may have been closed meanwhile.
            if exc.response.status_code != 404:
                raise


class ResourcePipeline:
    """Makes resources ahead of their use, and destroys them after it, beside the tests.

    Args:
        create: Makes one.
        destroy: Called with one that has been used, or that is left over.
        size: So many are made ahead.
    """

    def __init__(self, create: Callable[[], Any], destroy: Callable[[Any], object], size: int = 3) -> None:
        if size < 1:
            raise RuntimeError(f"size={size}: give the number of resources to make ahead, 1 or more")
        self.create = create
        self.destroy = destroy
        self.size = size
        self._ready = eventlet.queue.Queue(maxsize=size)
        self._trash = eventlet.queue.Queue()
        self._is_running = False

    def _make(self) -> None:
        while self._is_running:
            try:
                made: tuple[Any, Exception | None] = (self.create(), None)
            except Exception as exc:
                # Raised in the test that asks for it, which would wait for ever otherwise.
                made = (None, exc)
            self._ready.put(made)

    def _destroy_all(self) -> None:
        while (item := self._trash.get()) is not self:
            self.destroy(item)

    @contextmanager
    def get(self) -> Iterator[Any]:
        """Give one for the time of a block; raises what making it raised."""
        item, error = self._ready.get()
        if error is not None:
            raise error
        try:
            yield item
        finally:
            self._trash.put(item)

    @contextmanager
    def run(self) -> "Iterator[ResourcePipeline]":
        """Make and destroy them for the time of a block; at its end none is left."""
        self._is_running = True
        maker, destroyer = eventlet.spawn(self._make), eventlet.spawn(self._destroy_all)
        try:
            yield self
        finally:
            self._is_running = False
            self._ready.resize(self.size + 1)
            maker.wait()
            while self._ready.qsize():
                item, error = self._ready.get()
                if error is None:
                    self._trash.put(item)
            # The pipeline itself in the trash is the end of it.
            self._trash.put(self)
            destroyer.wait()
