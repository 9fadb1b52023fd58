"""nameko's helpers for tests of services."""

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar
from unittest.mock import MagicMock

from rpcservice.compat.nameko.exceptions import ExtensionNotFound
from rpcservice.compat.nameko.extensions import DependencyProvider, Entrypoint, is_dependency
from rpcservice.compat.nameko.testing.utils import get_extension as get_extension
from rpcservice.compat.nameko.testing.waiting import WaitResult
from rpcservice.compat.nameko.testing.waiting import wait_for_call as wait_for_call
from rpcservice.core.container import ServiceContainer
from rpcservice.core.context import WorkerContext
from rpcservice.testing import calls
from rpcservice.testing.calls import entrypoint_hook as entrypoint_hook
from rpcservice.testing.stand_ins import replace_dependencies as replace_dependencies
from rpcservice.testing.stand_ins import restrict_entrypoints as restrict_entrypoints

__all__ = (
    "EntrypointWaiterTimeout",
    "MockDependencyProvider",
    "Once",
    "dummy",
    "entrypoint_hook",
    "entrypoint_waiter",
    "get_extension",
    "once",
    "replace_dependencies",
    "restrict_entrypoints",
    "wait_for_call",
    "worker_factory",
)

S = TypeVar("S")

EntrypointWaiterTimeout = calls.EntrypointTimeout


class entrypoint_waiter(calls.entrypoint_waiter):  # used as a function is
    """A context manager at whose end an entrypoint has fired and its worker has been torn down.

    Raises:
        RuntimeError: The method has no entrypoint.
    """

    def __init__(
        self,
        container: ServiceContainer,
        method_name: str,
        timeout: float | None = 30,
        callback: calls.Callback | None = None,
    ) -> None:
        try:
            super().__init__(container, method_name, timeout, callback)
        except ExtensionNotFound as exc:
            raise RuntimeError(str(exc)) from exc
        self._result = WaitResult()


def worker_factory(service_cls: type[S], **dependencies: Any) -> S:
    """Give an instance of a class, which may be no whole service, with other dependencies.

    Args:
        service_cls: The class.
        dependencies: What takes the place of dependencies; a ``MagicMock`` takes that of each other one.

    Raises:
        ExtensionNotFound: The class declares no dependency of one of these names.
    """
    service = service_cls()
    names = [name for name, _ in inspect.getmembers(service_cls, is_dependency)]
    missing = sorted(set(dependencies) - set(names))
    if missing:
        raise ExtensionNotFound(
            f"{service_cls.__name__} has no dependency {', '.join(missing)}; it has: {', '.join(names) or 'none'}"
        )
    for name in names:
        setattr(service, name, dependencies[name] if name in dependencies else MagicMock())
    return service


class MockDependencyProvider(DependencyProvider):
    """Injects the same object into every worker.

    Args:
        attr_name: The attribute of the service.
        dependency: The object; a ``MagicMock`` unless it is given.
    """

    def __init__(self, attr_name: str, dependency: Any = None) -> None:
        self.attr_name = attr_name
        self.dependency = MagicMock() if dependency is None else dependency

    def get_dependency(self, worker_ctx: WorkerContext) -> Any:
        """Give the object."""
        return self.dependency


class Once(Entrypoint):
    """Fires its method once, when the service starts.

    Args:
        args: Positional arguments for the method.
        kwargs: Keyword arguments for the method, and the options of every entrypoint.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = ("expected_exceptions", "sensitive_arguments", "sensitive_variables")
        super().__init__(**{name: kwargs.pop(name) for name in options if name in kwargs})
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs

    def start(self) -> None:
        """Fire."""
        self.container.spawn_worker(self, self.args, dict(self.kwargs))


once = Once.decorator
dummy = Entrypoint.decorator
