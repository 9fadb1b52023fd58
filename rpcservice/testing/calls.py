"""Fire an entrypoint of a running container, or wait until one has fired."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, ClassVar

from rpcservice.core.container import ServiceContainer
from rpcservice.core.context import WorkerContext
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.errors import ContainerBeingKilled, ExtensionNotFound, RpcServiceError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Callback = Callable[[WorkerContext, Any, ExcInfo | None], object]


class EntrypointTimeout(RpcServiceError, TimeoutError):
    """Raised when an entrypoint had not fired, or not ended, within the time-out."""


@contextmanager
def entrypoint_hook(
    container: ServiceContainer,
    method_name: str,
    context_data: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
) -> Iterator[Callable[..., Any]]:
    """Give a function that runs a method in a worker, with all dependencies, as if its entrypoint had fired.

    The function gives the method's result, or raises what the method raised, once the worker has been torn down.

    Args:
        container: The container that runs the service.
        method_name: The method.
        context_data: What comes with the call: language, user_id ...
        timeout: Seconds to wait for the worker's end.

    Raises:
        ExtensionNotFound: The method has no entrypoint.
        EntrypointTimeout: From the function: the worker did not end in time.
        ContainerBeingKilled: From the function: the container ended first; or what it died of.
    """
    entrypoint = _without_message(find_entrypoint(container, method_name))

    def hook(*args: Any, **kwargs: Any) -> Any:
        ctx = _run(
            container, partial(container.run_worker, entrypoint, args, kwargs, context_data=context_data), timeout
        )
        if ctx.error is not None:
            raise ctx.error
        return ctx.result

    yield hook


class entrypoint_waiter:  # used as a function is
    """A context manager at whose end an entrypoint has fired and its worker has been torn down.

    It gives a :class:`WaitResult`. When the block raises, nothing is waited for.

    Args:
        container: The container that runs the service.
        method_name: The method.
        timeout: Seconds to wait at the end of the block.
        callback: Called with (context, result, exc_info) after each of the method's workers; what it says true to
            is what was waited for. Without it the first one is.

    Raises:
        ExtensionNotFound: The method has no entrypoint.
        EntrypointTimeout: It did not fire in time.
        ContainerBeingKilled: The container ended first; or what it died of.
    """

    Timeout: ClassVar = EntrypointTimeout

    def __init__(
        self,
        container: ServiceContainer,
        method_name: str,
        timeout: float | None = 30,
        callback: Callback | None = None,
    ) -> None:
        find_entrypoint(container, method_name)
        self._container = container
        self._method_name = method_name
        self._timeout = timeout
        self._callback = callback
        self._done = container.backend.event()
        self._failure: BaseException | None = None
        self._result = WaitResult()

    def __enter__(self) -> "WaitResult":
        _WatchedRun.of(self._container).watchers.append(self._on_end)
        return self._result

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if exc_type is None:
                what = f"{self._container.service_name}.{self._method_name}"
                _wait(self._container, self._done, self._timeout, f"{what} did not fire and end")
                if self._failure is not None:
                    raise self._failure
        finally:
            _WatchedRun.of(self._container).watchers.remove(self._on_end)

    def _on_end(self, ctx: WorkerContext) -> None:
        if self._done.is_set() or ctx.is_killed or ctx.entrypoint.method_name != self._method_name:
            return
        error = ctx.error
        try:
            exc_info = None if error is None else (type(error), error, error.__traceback__)
            if self._callback is None or self._callback(ctx, ctx.result, exc_info):
                self._result.send(ctx.result, error)
                self._done.set()
        except Exception as exc:
            # It belongs to the test, not to the worker in which the callback happens to run.
            self._failure = exc
            self._done.set()


class WaitResult:
    """What was waited for, once it has come."""

    class NotReady(RpcServiceError):
        """Raised by :meth:`get` when nothing has come yet."""

    def __init__(self) -> None:
        self.has_result = False
        self._result: Any = None
        self._error: BaseException | None = None

    def send(self, result: Any, error: BaseException | None) -> None:
        """Keep the first outcome; later ones are dropped."""
        if not self.has_result:
            self.has_result, self._result, self._error = True, result, error

    def get(self) -> Any:
        """Give the method's result, or raise what it raised.

        Raises:
            NotReady: It has not ended yet.
        """
        if not self.has_result:
            raise self.NotReady("nothing has come yet; ask after the block")
        if self._error is not None:
            raise self._error
        return self._result


def find_entrypoint(container: ServiceContainer, method_name: str) -> Entrypoint:
    """Give a container's (first) entrypoint on a method.

    Raises:
        ExtensionNotFound: There is none.
    """
    for entrypoint in container.entrypoints:
        if entrypoint.method_name == method_name:
            return entrypoint
    has = ", ".join(sorted({entrypoint.method_name for entrypoint in container.entrypoints})) or "none"
    raise ExtensionNotFound(f"service {container.service_name!r} has no entrypoint on {method_name}; it has: {has}")


class _NoMessage:
    """What an entrypoint does with its message, undone: a hooked call has none to answer and none to ack."""

    def encode(self, ctx: WorkerContext) -> None:
        """Encode nothing: the result is given as it is."""

    def settle(self, ctx: WorkerContext) -> None:
        """Answer nobody."""

    def give_back(self, ctx: WorkerContext) -> None:
        """Give nothing back."""


def _without_message(entrypoint: Entrypoint) -> Entrypoint:
    """Give a copy of an entrypoint that is still an instance of its class, but has no message to settle."""
    hooked = copy.copy(entrypoint)
    cls = type(entrypoint)
    # Its workers count for the same `concurrency` as those of the entrypoint itself.
    running = property(
        lambda _: entrypoint.method_workers, lambda _, count: setattr(entrypoint, "method_workers", count)
    )
    hooked.__class__ = type(cls.__name__, (_NoMessage, cls), {"__module__": cls.__module__, "method_workers": running})
    return hooked


def _run(container: ServiceContainer, call: Callable[[], WorkerContext], timeout: float | None) -> WorkerContext:
    """Run a worker beside the caller and wait for its end or the container's."""
    done = container.backend.event()
    ended: list[WorkerContext] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            ended.append(call())
        except Exception as exc:
            errors.append(exc)
        finally:
            done.set()

    container.backend.spawn(work)
    _wait(container, done, timeout, f"the call to {container.service_name} did not end")
    if errors:
        raise errors[0]
    if not ended:
        _raise_end_of(container)
    return ended[0]


def _wait(container: ServiceContainer, done: Any, timeout: float | None, failure: str) -> None:
    """Wait for an event, or for the end of the container, whichever is first."""
    either = container.backend.event()

    def watch(wait: Callable[[], object]) -> None:
        try:
            wait()
        except Exception:
            # The container died; its error is raised below, where the test sees it.
            either.set()
        either.set()

    tasks = [container.backend.spawn(watch, wait) for wait in (done.wait, container.wait)]
    try:
        if not either.wait(timeout):
            raise EntrypointTimeout(f"{failure} within {timeout:g} s")
    finally:
        for task in tasks:
            task.kill()
    if not done.is_set():
        _raise_end_of(container)


def _raise_end_of(container: ServiceContainer) -> None:
    container.wait(5)
    raise ContainerBeingKilled(f"service {container.service_name!r} ended before the call did")


class _WatchedRun:
    """Takes the place of a pool's ``run`` and tells watchers of each worker that has ended."""

    def __init__(self, run: Callable[[WorkerContext], object]) -> None:
        self._run = run
        self.watchers: list[Callable[[WorkerContext], None]] = []

    @classmethod
    def of(cls, container: ServiceContainer) -> "_WatchedRun":
        """Give the one of a container, put in place when it is first asked for."""
        run = container.pool.run
        if isinstance(run, cls):
            return run
        if run == container._run_first:
            # It would put the finished plan into this one's place at the first call.
            run = container.make_run()
        watched = container.pool.run = cls(run)
        return watched

    def __call__(self, ctx: WorkerContext) -> object:
        try:
            return self._run(ctx)
        finally:
            for watcher in list(self.watchers):
                watcher(ctx)
