"""The lifecycle of what a service is extended with, and Host, the small view that extensions get of their container."""

import copy
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from rpcservice.concurrency import Backend, Task
from rpcservice.config import Settings

if TYPE_CHECKING:
    from rpcservice.core.resource import Resource

R = TypeVar("R", bound="Resource")


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
    through ``setup``, ``start`` and ``stop`` (or ``kill``).
    """

    host: Host
    attr_name: str = ""
    """The attribute of the service class that declares this extension."""

    def bind(self, host: Host, attr_name: str) -> Self:
        """Give a copy of this declaration that belongs to one container."""
        bound = copy.copy(self)
        bound.host = host
        bound.attr_name = attr_name
        return bound

    def setup(self) -> None:
        """Called once before anything starts: ask for resources and register with them here."""

    def start(self) -> None:
        """Called when every extension is set up and what this one stands on has started."""

    def stop(self) -> None:
        """Called at an orderly stop: take no more work, let go of what ``start`` took."""

    def kill(self) -> None:
        """Called instead of ``stop`` when there is no time: must not wait."""
