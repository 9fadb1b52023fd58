"""Services with other dependencies, or fewer entrypoints, than they declare."""

from collections.abc import Iterable
from typing import Any, TypeVar
from unittest.mock import MagicMock

from rpcservice.core.container import ServiceContainer
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.service import read_service
from rpcservice.errors import ExtensionNotFound

S = TypeVar("S")


def worker_factory(service_cls: type[S], **dependencies: Any) -> S:
    """Give an instance of a service whose dependencies are what is given here, or else a ``MagicMock`` each.

    Nothing is started; the service's methods can be called directly.

    Raises:
        ExtensionNotFound: The service declares no dependency of one of these names.
    """
    definition = read_service(service_cls)
    names = [name for name, _ in definition.dependencies]
    _check_known("dependency", dependencies, names, definition.name)
    service = service_cls()
    for name in names:
        setattr(service, name, dependencies[name] if name in dependencies else MagicMock(name=name))
    return service


class MockDependencyProvider(DependencyProvider):
    """Injects the same object into every worker.

    Args:
        dependency: The object.
    """

    def __init__(self, dependency: Any = None) -> None:
        self.dependency = dependency

    def get_dependency(self, ctx: WorkerContext) -> Any:
        """Give the object."""
        return self.dependency


def replace_dependencies(container: ServiceContainer, *names: str, **replacements: Any) -> Any:
    """Replace dependencies of a container that has not started; the replaced providers are never set up.

    Args:
        container: The container.
        names: Dependencies to replace by a ``MagicMock`` each.
        replacements: What to inject instead, by the dependency's name.

    Returns:
        The mocks for ``names`` in their order, or the mock alone when there is one name.

    Raises:
        ExtensionNotFound: The service declares no dependency of one of these names.
        RuntimeError: The container has started, or a name is given both ways.
    """
    if container.started:
        raise RuntimeError(
            f"service {container.service_name!r} runs already; replace its dependencies before it starts"
        )
    both = sorted(set(names) & set(replacements))
    if both:
        raise RuntimeError(f"given both as a name and with a replacement: {', '.join(both)}; give each one way")
    known = [provider.attr_name for provider in container.dependencies]
    _check_known("dependency", [*names, *replacements], known, container.service_name)
    mocks = {name: MagicMock(name=name) for name in names}
    replaced = {
        name: MockDependencyProvider(value).bind(container, name) for name, value in {**mocks, **replacements}.items()
    }
    container.dependencies[:] = [replaced.get(provider.attr_name, provider) for provider in container.dependencies]
    given = tuple(mocks[name] for name in names)
    return given[0] if len(given) == 1 else given


def restrict_entrypoints(container: ServiceContainer, *method_names: str) -> None:
    """Leave a container that has not started only the entrypoints of these methods.

    Raises:
        ExtensionNotFound: The service has no entrypoint on one of these methods.
        RuntimeError: The container has started.
    """
    if container.started:
        raise RuntimeError(
            f"service {container.service_name!r} runs already; restrict its entrypoints before it starts"
        )
    known = [entrypoint.method_name for entrypoint in container.entrypoints]
    _check_known("entrypoint", method_names, known, container.service_name)
    container.entrypoints[:] = [entry for entry in container.entrypoints if entry.method_name in method_names]


def _check_known(kind: str, wanted: Iterable[str], known: Iterable[str], service_name: str) -> None:
    missing = sorted(set(wanted) - set(known))
    if missing:
        has = ", ".join(sorted(set(known))) or "none"
        raise ExtensionNotFound(f"service {service_name!r} has no {kind} {', '.join(missing)}; it has: {has}")
