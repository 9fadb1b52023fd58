"""nameko's extension API: declared as there, bound by a second call of the constructor, hosted by our containers."""

import inspect
import warnings
from collections.abc import Callable, Hashable, Iterator
from inspect import getattr_static
from typing import Any, Self

from rpcservice.compat.nameko._missing import missing_names
from rpcservice.concurrency import Event, green
from rpcservice.core import dependency, entrypoint, extension
from rpcservice.core.container import ServiceContainer
from rpcservice.core.context import WorkerContext
from rpcservice.core.entrypoint import DECLARATIONS, declare
from rpcservice.core.extension import parts_of
from rpcservice.errors import DeclarationError

__all__ = (
    "ENTRYPOINT_EXTENSIONS_ATTR",
    "DependencyProvider",
    "Entrypoint",
    "Extension",
    "ProviderCollector",
    "SharedExtension",
    "is_dependency",
    "is_entrypoint",
    "is_extension",
    "iter_extensions",
    "register_entrypoint",
)

__getattr__ = missing_names(__name__)

ENTRYPOINT_EXTENSIONS_ATTR = DECLARATIONS
NAMEKO_ENTRYPOINTS = "nameko_entrypoints"


class Extension(extension.Extension):
    """Base of all extensions; ``container`` is the container that it is bound to, or None."""

    _nameko_arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    _nameko_container: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments: a container makes its own instance with the same."""
        declared = super().__new__(cls)
        declared._nameko_arguments = (args, kwargs)
        return declared

    @property
    def container(self) -> Any:
        """The container, or None for a declaration."""
        return self._nameko_container

    @container.setter
    def container(self, container: Any) -> None:
        self._nameko_container = container

    def is_bound(self) -> bool:
        """Say whether this belongs to a container."""
        return self._nameko_container is not None

    def clone(self) -> Self:
        """Give another one, made with the same arguments."""
        args, kwargs = self._nameko_arguments
        return type(self)(*args, **kwargs)

    def bind(self, container: Any, attr_name: str = "") -> Self:
        """Give a copy of this declaration that belongs to a container.

        Raises:
            RuntimeError: This one is bound already.
            DeclarationError: The container is rpcservice's own, and knows nothing of nameko.
        """
        if self.is_bound():
            raise RuntimeError(f"{self!r} is bound already; bind the declaration instead")
        # A stand-in for a container, as tests have them, keeps no list of what it hosts; a mock is an instance too.
        is_container = issubclass(type(container), ServiceContainer)
        if is_container and not getattr(container, "hosts_nameko", False):
            raise _not_hosted(self, container)
        bound = self.clone()
        bound._nameko_container = container
        bound.bound_to = container
        if _is_free(bound, "host"):
            bound.host = container
        if attr_name:
            bound._note_name(attr_name)
        bind_part = container.bind_part if is_container else _bind_to(container)
        for name, part in list(parts_of(bound)):
            if not (isinstance(part, Extension) and part.is_bound()):
                setattr(bound, name, bind_part(part, name))
        return bound

    def _note_name(self, name: str) -> None:
        """Keep the name of the attribute or method that declares this."""
        if _is_free(self, "attr_name"):
            self.attr_name = name

    def __repr__(self) -> str:
        state = "" if self.is_bound() else " [unbound]"
        return f"<{type(self).__name__}{state} at {id(self):#x}>"


def _is_free(extension: Extension, name: str) -> bool:
    """Say whether an extension has nothing of its own under a name that nameko's extensions do not have."""
    return not getattr_static(extension, name, None)


def _not_hosted(declaration: Extension, container: ServiceContainer) -> DeclarationError:
    service_cls = container.service_cls
    return DeclarationError(
        f"{service_cls.__module__}.{service_cls.__qualname__} is written for nameko, for it has a "
        f"{type(declaration).__name__} of nameko's; {type(container).__module__}.{type(container).__qualname__} does "
        "not host that: run it by `rpcservice run --nameko`, or by the containers and runners of nameko.containers and "
        "nameko.runners"
    )


def _bind_to(container: Any) -> Callable[[Any, str], Any]:
    return lambda part, name: part.bind(container, name)


class SharedExtension(Extension, extension.SharedExtension):
    """An extension of which each container has one for each ``sharing_key``."""

    @property
    def sharing_key(self) -> Any:
        """Which declarations stand for the same instance; by default those of a class."""
        return type(self)

    def bind(self, container: Any, attr_name: str = "") -> Self:
        """Give the container's one instance."""
        shared: dict[Hashable, Self] = container.shared_extensions
        known = shared.get(self.sharing_key)
        if known is None:
            known = super().bind(container, attr_name)
            shared[self.sharing_key] = known
        return known


class ProviderCollector(extension.ProviderCollector):
    """For a shared extension that serves several others; of use without a container too."""

    def _make_event(self) -> Event:
        return green().event()


class DependencyProvider(Extension, dependency.DependencyProvider):
    """Base of what services are given; ``worker_result`` gets the error as a triple."""

    attr_name: str = None  # type: ignore[assignment]  # as nameko has it, until the first bind

    def bind(self, container: Any, attr_name: str = "") -> Self:
        """Give a copy that belongs to a container; the declaration then knows its attribute too."""
        if attr_name:
            self.attr_name = attr_name
        return super().bind(container, attr_name)

    def _note_name(self, name: str) -> None:
        self.attr_name = name

    def worker_result(self, worker_ctx: WorkerContext, result: Any = None, exc_info: Any = None) -> None:
        """Called when the caller has its answer, for every worker of the service."""

    def __repr__(self) -> str:
        return _describe(self, self.attr_name)


class Entrypoint(Extension, entrypoint.Entrypoint):
    """Base of what fires methods.

    Args:
        expected_exceptions: Exception classes that the method may raise as part of its contract.
        sensitive_arguments: What ``get_redacted_args`` is to hide.
        sensitive_variables: The same, under its name before nameko 2.9.
        kwargs: ``concurrency`` and ``time_limit`` of our own.
    """

    # For those whose own __init__ does not call this one.
    expected_exceptions: Any = ()
    sensitive_arguments: Any = ()
    method_limit: int | None = None
    method_seconds: float | None = None
    method_name: str = ""
    """The method; an attribute, for it may be set."""

    def __init__(
        self,
        expected_exceptions: Any = (),
        sensitive_arguments: Any = (),
        *,
        sensitive_variables: Any = (),
        **kwargs: Any,
    ) -> None:
        if sensitive_variables:
            warnings.warn("sensitive_variables is called sensitive_arguments", DeprecationWarning, stacklevel=2)
        super().__init__(
            expected_exceptions=expected_exceptions,
            sensitive_arguments=sensitive_arguments or sensitive_variables,
            **kwargs,
        )

    @classmethod
    def decorator(cls, *args: Any, **kwargs: Any) -> Any:
        """Decorate a method, bare or called; the function itself is given back."""
        made = super().decorator(*args, **kwargs)
        if args and made is args[0]:
            return _mark(made)

        def decorate(function: Any) -> Any:
            return _mark(made(function))

        return decorate

    def _note_name(self, name: str) -> None:
        super()._note_name(name)
        self.method_name = name

    def handle_result_failed(self, worker_ctx: Any, error: BaseException) -> None:
        """Called when ``handle_result`` has raised: see to it that nobody waits for its answer for ever."""

    def __repr__(self) -> str:
        return _describe(self, self.method_name)


def _mark(function: Any) -> Any:
    """Note the declarations of a function where nameko has them too, for those who look for them by that name."""
    target = getattr(function, "__func__", function)
    setattr(target, NAMEKO_ENTRYPOINTS, _Declared(target))
    return function


class _Declared(set[Any]):
    """The declarations of a function as the set that nameko has; what is added is declared.

    Args:
        function: The function.
    """

    def __init__(self, function: Any) -> None:
        super().__init__(getattr(function, DECLARATIONS))
        self._function = function

    def add(self, entrypoint: Any) -> None:
        """Declare another entrypoint, unless it is there already."""
        if entrypoint not in self:
            declare(self._function, entrypoint)
            super().add(entrypoint)


def _describe(bound: Extension, name: str) -> str:
    owner = f"{bound.container.service_name}.{name}" if bound.is_bound() else "unbound"
    return f"<{type(bound).__name__} [{owner}] at {id(bound):#x}>"


def register_entrypoint(fn: Any, entrypoint: Entrypoint) -> None:
    """Note an entrypoint on a function, as its decorator does."""
    _mark(declare(fn, entrypoint))


def is_extension(obj: object) -> bool:
    """Say whether an object is an extension."""
    return isinstance(obj, extension.Extension)


def is_dependency(obj: object) -> bool:
    """Say whether an object is a dependency provider."""
    return isinstance(obj, dependency.DependencyProvider)


def is_entrypoint(obj: object) -> bool:
    """Say whether an object is an entrypoint."""
    return isinstance(obj, entrypoint.Entrypoint)


def iter_extensions(extension: Any) -> Iterator[Any]:
    """Give the extensions below one, the inmost first."""
    for _, part in inspect.getmembers(extension, is_extension):
        yield from iter_extensions(part)
        yield part
