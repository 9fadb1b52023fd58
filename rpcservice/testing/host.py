"""FakeHost, a Host without a container, for tests of one extension alone."""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from rpcservice.concurrency import Backend, Task, green
from rpcservice.config import Settings, make_settings
from rpcservice.core.context import WorkerContext
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.extension import Extension, SharedExtension
from rpcservice.core.resource import Resource, Resources
from rpcservice.core.service import positional_range
from rpcservice.core.worker import compose

R = TypeVar("R", bound=Resource)
X = TypeVar("X", bound=Extension)


def _nothing(*args: Any, **kwargs: Any) -> None:
    """The method of a host that was given none."""


class FakeHost:
    """Binds extensions and runs one plain function as the method of every entrypoint, at once.

    Args:
        method: The function; its result or exception is the outcome of each worker.
        service_name: The name of the service that there is not.
        config: Settings, or a mapping with their keys.
        backend: Where the extension's background work runs; greenlets by default, as in a container.
        hooks: Objects with around-hooks.

    Attributes:
        workers: The contexts of the workers so far, with ``args``, ``result``, ``error``, ``reply`` ...
        threads: What ``spawn_managed_thread`` started.
        errors: What those raised; a container would have been killed by it.
    """

    def __init__(
        self,
        method: Callable[..., Any] = _nothing,
        *,
        service_name: str = "service",
        config: Mapping[str, Any] | Settings | None = None,
        backend: Backend | None = None,
        hooks: Sequence[object] = (),
    ) -> None:
        self.method = method
        self.service_name = service_name
        self.config = make_settings(config if config is not None else {})
        self.backend = backend if backend is not None else green()
        self.resources = Resources(self.config, self.backend)
        self.calls_tracked = self.config.parent_calls_tracked + 1
        self.hooks = list(hooks)
        self.workers: list[WorkerContext] = []
        self.threads: list[Task] = []
        self.errors: list[Exception] = []
        self._parts: dict[Hashable, Any] = {}

    def bind(self, extension: X, attr_name: str = "method") -> X:
        """Bind an extension as a container does; ``setup`` and ``start`` are left to the test."""
        bound = extension.bind(self, attr_name)
        if isinstance(bound, Entrypoint):
            bound.method_signature = inspect.signature(self.method)
            bound.method_positional = positional_range(bound.method_signature)
            bound.method_call_prefix = f"{self.service_name}.{attr_name}."
        return bound

    def bind_part(self, part: X, attr_name: str) -> X:
        """Bind an extension that another one declares; a shared one once."""
        key = part.sharing_key if isinstance(part, SharedExtension) else part
        known: X = self._parts.setdefault(key, part.bind(self, attr_name))
        return known

    def resource(self, cls: type[R], key: Hashable = None) -> R:
        """Give this host's one instance of a resource for that key."""
        return self.resources.get(cls, key)

    def run_worker(
        self,
        entrypoint: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
        wait: float | None = None,
    ) -> WorkerContext:
        """Call the function and have the entrypoint encode and settle the outcome."""
        ctx = self.context(entrypoint, args, kwargs, context_data=context_data, message=message)
        self.workers.append(ctx)
        self.around("worker", self._work)(ctx)
        return ctx

    def spawn_worker(self, entrypoint: Any, *args: Any, **options: Any) -> WorkerContext:
        """Do the same; the worker has ended when this gives its context."""
        return self.run_worker(entrypoint, *args, **options)

    def count_waiting(self) -> int:
        """Give none: workers run at once."""
        return 0

    def unfinished(self, entrypoint: Any) -> list[WorkerContext]:
        """Give none: workers end at once."""
        return []

    def context(self, entrypoint: Any = None, *args: Any, **options: Any) -> WorkerContext:
        """Give the context of a worker, as hooks of dependencies take it; nothing runs."""
        if entrypoint is None:
            entrypoint = self.bind(Entrypoint())
        container: Any = self
        return WorkerContext(container, entrypoint, *args, **options)

    def _work(self, ctx: WorkerContext) -> None:
        try:
            ctx.result = self.method(*ctx.args, **ctx.kwargs)
        except Exception as exc:
            ctx.error = exc
        ctx.entrypoint.encode(ctx)
        ctx.entrypoint.settle(ctx)
        ctx.settled = True

    def spawn_managed_thread(self, function: Callable[[], object], identifier: str | None = None) -> Task:
        """Run a function beside the test; what it raises is kept in ``errors``."""

        def run() -> None:
            try:
                function()
            except Exception as exc:
                self.errors.append(exc)

        self.threads.append(self.backend.spawn(run))
        return self.threads[-1]

    def around(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Put the hooks of one kind about a call."""
        name = f"around_{kind}"
        return compose([getattr(owner, name) for owner in self.hooks if hasattr(owner, name)], call)
