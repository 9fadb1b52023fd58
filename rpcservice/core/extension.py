"""The lifecycle of what a service is extended with, and Host, the small view that extensions get of their container."""

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from rpcservice.concurrency import Backend, Event, Task
from rpcservice.config import Settings

if TYPE_CHECKING:
    from rpcservice.core.resource import Resource

R = TypeVar("R", bound="Resource")
X = TypeVar("X", bound="Extension")


class Host(Protocol):
    """What an extension may ask of the container that hosts it."""

    service_name: str
    config: Settings
    backend: Backend

    def resource(self, cls: type[R], key: Hashable = None) -> R:
        """Give the process's one instance of a resource for that key, made on first request.

        Call it in ``setup``: resources start before dependencies and entrypoints do.
        """
        ...

    def bind_part(self, part: X, attr_name: str) -> X:
        """Bind an extension that another one declares as its attribute; a shared one is bound once for the service."""
        ...

    def spawn_worker(
        self,
        entrypoint: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
    ) -> Any:
        """Have a worker run the entrypoint's method as soon as one is free; gives its context and never waits.

        Raises:
            ContainerBeingKilled: The container takes no more work.
        """
        ...

    def run_worker(
        self,
        entrypoint: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
        wait: float | None = None,
    ) -> Any:
        """Run the entrypoint's method in the calling greenlet, as one of the workers; gives the finished context.

        Args:
            entrypoint: The bound entrypoint that fires.
            args: Positional arguments of the method.
            kwargs: Keyword arguments of the method.
            context_data: What came with the request: language, call stack ...
            message: What fired the entrypoint, for ``ctx.message``.
            wait: Seconds to wait for a free worker; None waits for ever.

        Raises:
            WorkerPoolFull: No worker came free in time.
            ContainerBeingKilled: The container takes no more work.
        """
        ...

    def count_waiting(self) -> int:
        """Give how many calls wait for a free worker."""
        ...

    def unfinished(self, entrypoint: Any) -> Iterable[Any]:
        """Give the contexts of an entrypoint's workers: of those that run, and of those that wait for a free one."""
        ...

    def spawn_managed_thread(self, function: Callable[[], object], identifier: str | None = None) -> Task:
        """Run a function beside the workers until it ends or the container stops; its error kills the container."""
        ...

    def around(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Put the service's around-hooks of one kind about a call; gives the call itself where there are none.

        Args:
            kind: "publish", "receipt" or "worker".
            call: A function of one argument: the Message, the Delivery or the WorkerContext.
        """
        ...


class Extension:
    """Base of entrypoints and dependency providers: declared once on the class, bound to each container by copy.

    ``__init__`` only stores its arguments. A container binds a shallow copy, which then has ``host`` and lives
    through ``setup``, ``start`` and ``stop`` (or ``kill``). Its attributes that are extensions themselves, its
    parts, are bound with it: they are set up and started before whoever declares them, and stopped after.
    """

    host: Host
    bound_to: Host
    """The same as ``host``, for what rpcservice has itself: somebody else's extension may call something else so."""
    attr_name: str = ""
    """The attribute of the service class, or of the extension, that declares this extension."""

    @property
    def container(self) -> Host:
        """The container that hosts this extension, under nameko's name."""
        return self.bound_to

    def bind(self, host: Host, attr_name: str) -> Self:
        """Give a copy of this declaration that belongs to one container."""
        bound = self.clone()
        bound.host = bound.bound_to = host
        bound.attr_name = attr_name
        for name, part in parts_of(bound):
            setattr(bound, name, host.bind_part(part, name))
        return bound

    def clone(self) -> Self:
        """Give what is bound in the place of this declaration."""
        return copy.copy(self)

    def setup(self) -> None:
        """Called once before anything starts: ask for resources and register with them here."""

    def start(self) -> None:
        """Called when every extension is set up and what this one stands on has started."""

    def stop(self) -> None:
        """Called at an orderly stop: take no more work, let go of what ``start`` took."""

    def kill(self) -> None:
        """Called instead of ``stop`` when there is no time: must not wait."""


def parts_of(extension: Extension) -> Iterator[tuple[str, Extension]]:
    """Give the extensions that one declares as attributes, of its class or its own.

    No method, for it would take the name from extensions that have something of their own under it.
    """
    declared: dict[str, object] = {}
    for cls in reversed(type(extension).__mro__):
        declared.update(vars(cls))
    declared.update(vars(extension))
    for name, value in declared.items():
        # What is bound is somebody else's already, and is only referred to.
        if isinstance(value, Extension) and "bound_to" not in vars(value):
            yield name, value


class SharedExtension(Extension):
    """An extension of which each container has one, however many others declare it as a part.

    What is to be shared by all services of a process is a :class:`~rpcservice.core.resource.Resource`.
    """

    @property
    def sharing_key(self) -> Any:
        """Which declarations stand for the same instance: those whose keys are equal; by default those of a class."""
        return type(self)


class ProviderCollector:
    """For a shared extension that serves several others: knows them, and can wait until the last one has left."""

    bound_to: Host

    @property
    def providers(self) -> set[Any]:
        """Those that are registered now."""
        known: set[Any] = vars(self).setdefault("_providers", set())
        return known

    @property
    def _all_gone(self) -> Event:
        event: Event | None = vars(self).get("_gone")
        if event is None:
            event = vars(self)["_gone"] = self._make_event()
            event.set()
        return event

    def _make_event(self) -> Event:
        return self.bound_to.backend.event()

    def register_provider(self, provider: Any) -> None:
        """Take one in; those who declare this extension call it in ``setup`` or ``start``."""
        self.providers.add(provider)
        self._all_gone.clear()

    def unregister_provider(self, provider: Any) -> None:
        """Let one go; without effect when it is not there."""
        self.providers.discard(provider)
        if not self.providers:
            self._all_gone.set()

    def wait_for_providers(self, timeout: float | None = None) -> bool:
        """Wait until all have left, at most ``timeout`` seconds; True when they have."""
        return self._all_gone.wait(timeout)

    def stop(self) -> None:
        """Wait until all have left."""
        self.wait_for_providers()
