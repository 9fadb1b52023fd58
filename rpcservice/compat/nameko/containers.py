"""nameko's containers: the order of a worker's steps, and what extensions find there."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from time import monotonic
from types import SimpleNamespace
from typing import Any

from rpcservice.compat.nameko import serialization
from rpcservice.compat.nameko._config import config as global_config
from rpcservice.compat.nameko._config import read_settings
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko._plan import LatePlan
from rpcservice.compat.nameko._pool_view import LONG, PoolView
from rpcservice.compat.nameko._spawning import Firing, keep_message, take_firing
from rpcservice.compat.nameko._stages import ONCE_STAGES, STAGES, HandleResult, choose_stages, settle
from rpcservice.compat.nameko._threads import GreenletExit, ManagedThread, WorkerThread, spawn_thread
from rpcservice.compat.nameko.constants import DEFAULT_PARENT_CALLS_TRACKED, PARENT_CALLS_CONFIG_KEY
from rpcservice.compat.nameko.exceptions import ConfigurationError, ContainerBeingKilled, nameko_errors
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.compat.nameko.utils import import_from_path
from rpcservice.config import Settings
from rpcservice.core import container, context, worker
from rpcservice.core.context import new_id
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.resource import Resources
from rpcservice.core.service import method_signature, positional_range
from rpcservice.core.worker import Stage, WorkerPlan
from rpcservice.errors import DeclarationError

__all__ = (
    "ServiceContainer",
    "WorkerContext",
    "get_container_cls",
    "get_service_name",
    "new_call_id",
)

__getattr__ = missing_names(__name__, {"is_method": "use inspect.isfunction"})

current_message: ContextVar[Any] = ContextVar("nameko_message", default=None)
"""The message whose ``handle_message`` runs here, if any."""

lent: ContextVar[tuple[Resources | None, Sequence[object]]] = ContextVar("namekolent", default=(None, ()))
"""The resources and hooks of the runner that is making a container here."""

_log = logging.getLogger(__name__)


class WorkerContext(context.WorkerContext):
    """One call of one entrypoint, made as nameko makes it.

    Args:
        container: The container that runs it.
        service: The service instance; None where it is still to be made.
        entrypoint: The entrypoint that fired.
        args: Positional arguments of the method.
        kwargs: Keyword arguments of the method.
        data: What came with the call.
    """

    handle_result: HandleResult | None = None
    incoming: Any = None
    """The message, as nameko's extensions know it, that fired the entrypoint."""
    plan: WorkerPlan
    """The hooks of the service."""

    def __init__(
        self,
        container: Any,
        service: Any,
        entrypoint: Any,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        *,
        message: Any = None,
    ) -> None:
        is_hosted = issubclass(type(container), ServiceContainer) and _is_bound(entrypoint)
        host, fired = (container, entrypoint) if is_hosted else _stand_ins(container, entrypoint)
        super().__init__(host, fired, tuple(args or ()), kwargs, data, message)
        self.container = container
        self.entrypoint = entrypoint
        self.service = service

    @property
    def data(self) -> dict[str, Any]:
        """What came with the call, and what is sent on: the same dictionary as ``context_data``."""
        return self.context_data

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.service_name}.{self.entrypoint.method_name}] at {id(self):#x}>"

    @property
    def origin_call_id(self) -> str | None:  # type: ignore[override]  # nameko gives nothing for a first call
        """The id of the first call that is still tracked; None when this is the first."""
        return self.call_id_stack[0] if len(self.call_id_stack) > 1 else None


def _is_bound(entrypoint: Any) -> bool:
    prefix = entrypoint.method_call_prefix
    return isinstance(prefix, str) and prefix != ""


def _stand_ins(container: Any, entrypoint: Any) -> tuple[Any, Any]:
    """Give what the core wants to know of a container and an entrypoint that tests have made up, or mocked."""
    tracked = container.config.get(PARENT_CALLS_CONFIG_KEY, DEFAULT_PARENT_CALLS_TRACKED)
    calls_tracked = (tracked if isinstance(tracked, int) else DEFAULT_PARENT_CALLS_TRACKED) + 1
    prefix = f"{container.service_name}.{entrypoint.method_name}."
    return SimpleNamespace(calls_tracked=calls_tracked), SimpleNamespace(method_call_prefix=prefix)


def find_message(handle_result: HandleResult | None) -> Any:
    """Give the message that a worker is spawned for: ``handle_result`` is bound to it, or it is handled here."""
    if isinstance(handle_result, partial):
        for bound in handle_result.args:
            if hasattr(bound, "delivery_info"):
                return bound
    return current_message.get()


class ServiceContainer(container.ServiceContainer):
    """Hosts one service of nameko's.

    Args:
        service_cls: The service class.
        config: A configuration; None for the global one.
        resources: Those of the runner.
        hooks: Around-hooks.

    Raises:
        ConfigurationError: The class has no usable name, a setting is wrong, or a serializer is not known.
    """

    stages: Sequence[Stage] = STAGES
    once_stages = ONCE_STAGES
    plan_cls = LatePlan
    hosts_nameko = True
    """Whether extensions that are written for nameko may be bound to it."""

    def __init__(
        self,
        service_cls: type,
        config: Mapping[str, Any] | Settings | None = None,
        *,
        resources: Resources | None = None,
        hooks: Sequence[object] = (),
    ) -> None:
        get_service_name(service_cls)
        if resources is None:
            resources, hooks = lent.get()
        settings = read_settings(config)
        self.serializer, self.accept = serialization.setup(settings)
        try:
            super().__init__(service_cls, settings, resources=resources, hooks=hooks)
        except DeclarationError as exc:
            raise ConfigurationError(str(exc)) from exc

    @nameko_errors()
    def start(self) -> None:
        """Start the service, and its resources where they are its own.

        Raises:
            ConfigurationError: A setting is wrong.
            BrokerUnavailable: The broker could not be reached in time.
        """
        super().start()

    def _bind_entrypoint(self, method_name: str, declaration: Entrypoint) -> Entrypoint:
        entrypoint = super()._bind_entrypoint(method_name, declaration)
        # Decorators of others give methods arguments that no caller gives.
        entrypoint.method_signature = method_signature(self.service_cls, method_name, follow_wrapped=False)
        entrypoint.method_positional = positional_range(entrypoint.method_signature)
        return entrypoint

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "spawn_worker" in vars(cls):
            cls.spawn_worker = keep_message(cls.spawn_worker, settle)  # type: ignore[method-assign]  # the same, and more

    def make_run(self) -> Callable[[context.WorkerContext], object]:
        """Give what takes a context through the stages, and tells of them where DEBUG is logged by now."""
        self.stages = choose_stages(self.stages)
        return super().make_run()

    @property
    def interface(self) -> "ServiceContainer":
        """What extensions get of this container: all of it."""
        return self

    @property
    def extensions(self) -> Any:
        """All extensions, in the order in which they are set up; compares and combines as the set that nameko has."""
        return dict.fromkeys(super().extensions).keys()

    def spawn_worker(
        self,
        entrypoint: Any,
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        context_data: Mapping[str, Any] | None = None,
        handle_result: HandleResult | None = None,
        *,
        message: Any = None,
    ) -> WorkerContext:
        """Have a worker run the entrypoint's method.

        It waits until one is free, so that a loop of an extension does not run ahead of them; not for messages of
        a queue, of which there are only ``prefetch_count``, and not where a worker calls it.

        Args:
            entrypoint: The bound entrypoint that fires.
            args: Positional arguments of the method.
            kwargs: Keyword arguments of the method.
            context_data: What came with the call.
            handle_result: Called with the outcome; gives the one that providers are to see.
            message: What is given back when the worker does not finish.

        Raises:
            ContainerBeingKilled: The container takes no more work.
        """
        if self.pool.refuses(entrypoint.stop_phase):
            raise ContainerBeingKilled(f"service {self.service_name!r} takes no more work")
        firing = take_firing(entrypoint)
        if firing is not None:
            message = firing.message
        incoming = find_message(handle_result)
        delivery = getattr(incoming, "delivery", None) if message is None else message
        ctx = WorkerContext(self, None, entrypoint, args, kwargs, context_data, message=delivery)
        ctx.handle_result = handle_result
        ctx.incoming = incoming
        if firing is not None:
            firing.ctx = ctx
            if firing.is_here:
                self.pool.run_here(ctx, firing.wait)
                return ctx
        self.pool.submit(ctx)
        if self.pool.waiting and incoming is None and delivery is None and not self.pool.runs_here():
            self.pool.wait_until_taken(ctx)
        return ctx

    def run_worker(
        self,
        entrypoint: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
        wait: float | None = None,
        handle_result: HandleResult | None = None,
    ) -> WorkerContext:
        """Run the entrypoint's method in the calling greenlet, as one of the workers.

        Where :meth:`spawn_worker` is overridden or wrapped, the call goes through it.
        """
        if type(self).spawn_worker is not _SPAWN_WORKER or "spawn_worker" in vars(self):
            firing = Firing(entrypoint, message, is_here=True, wait=wait)
            handle = handle_result or own_handler(entrypoint) or settle
            spawn = partial(self.spawn_worker, context_data=context_data, handle_result=handle)
            return self._ended_worker(firing, firing.call(spawn, entrypoint, args, kwargs or {}))
        ctx = WorkerContext(self, None, entrypoint, args, kwargs, context_data, message=message)
        ctx.handle_result = handle_result or own_handler(entrypoint)
        self.pool.run_here(ctx, wait)
        return ctx

    def _ended_worker(self, firing: Firing, spawned: Any) -> WorkerContext:
        """Wait for the worker that another ``spawn_worker`` has made; where it made none, that is the outcome."""
        ctx = spawned if firing.ctx is None else firing.ctx
        if isinstance(ctx, WorkerContext):
            self.pool.wait_until_taken(ctx)
            while not self.pool.wait_for([ctx], monotonic() + LONG):
                continue
            return ctx
        entrypoint = firing.entrypoint
        ctx = WorkerContext(self, None, entrypoint, message=firing.message)
        ctx.error = RuntimeError(f"{type(self).__qualname__}.spawn_worker spawned no worker for {ctx.call_id}")
        _log.error("%s", ctx.error)
        entrypoint.encode(ctx)
        return ctx

    # The next five go by the names that they have in nameko, for instrumentation wraps and reads them.

    @property
    def _worker_pool(self) -> "PoolView":
        return PoolView(self.pool)

    @property
    def _worker_threads(self) -> Mapping[context.WorkerContext, Any]:
        return {ctx: WorkerThread(self.pool, ctx) for ctx in self.pool.running}

    def spawn_managed_thread(self, function: Callable[[], object], identifier: str | None = None) -> ManagedThread:
        """Run a function beside the workers, in a green thread of eventlet's; an error in it kills the container."""
        thread = spawn_thread(function)
        self._threads.add(thread)
        thread.link(self._end_thread, identifier or function)
        return thread

    def _end_thread(self, thread: ManagedThread, identifier: object) -> None:
        self._threads.discard(thread)
        try:
            thread.wait()
        except GreenletExit:
            _log.debug("%s of service %s: thread killed by container", identifier, self.service_name)
        except Exception as exc:
            _log.critical("%s of service %s: thread exited with error", identifier, self.service_name, exc_info=exc)
            self.kill(exc)

    def _worker_setup(self, worker_ctx: WorkerContext) -> None:
        worker.set_up(worker_ctx.plan, worker_ctx)

    def _worker_result(self, worker_ctx: WorkerContext, result: Any = None, exc_info: Any = None) -> None:
        for provider in self.dependencies:
            error = exc_info if isinstance(provider, DependencyProvider) else worker_ctx.error
            try:
                provider.worker_result(worker_ctx, result, error)
            except Exception:
                _log.exception("worker_result failed after %s", worker_ctx.call_id)

    def _worker_teardown(self, worker_ctx: WorkerContext) -> None:
        worker.tear_down(worker_ctx.plan, worker_ctx)

    def kill(self, exc_info: Any = None) -> None:
        """End without waiting.

        Args:
            exc_info: Why, as an exception or as the triple of ``sys.exc_info()``; ``wait`` raises it.
        """
        super().kill(exc_info[1] if isinstance(exc_info, tuple) else exc_info)


def own_handler(entrypoint: Any) -> HandleResult | None:
    """Give what handles the outcomes of an entrypoint for the web whose ``handle_result`` is overridden."""
    return getattr(entrypoint, "_nameko_handler", None)


_SPAWN_WORKER = ServiceContainer.spawn_worker


def get_service_name(service_cls: type) -> str:
    """Give the name of a service class.

    Raises:
        ConfigurationError: It has none, or one that is no text.
    """
    name = getattr(service_cls, "name", None)
    if isinstance(name, str):
        return name
    place = f"{service_cls.__module__}.{service_cls.__name__}"
    if name is None:
        raise ConfigurationError(f'Service class must define a `name` attribute ({place}), such as name = "orders"')
    raise ConfigurationError(f"Service name attribute must be a string ({place}.name), not {name!r}")


def get_container_cls(config: Mapping[str, Any] | None = None) -> type[ServiceContainer]:
    """Give the container class that the key ``SERVICE_CONTAINER_CLS`` names, else :class:`ServiceContainer`."""
    path = (global_config if config is None else config).get("SERVICE_CONTAINER_CLS")
    return import_from_path(path) or ServiceContainer


new_call_id = new_id
