"""ServiceContainer: hosts one service; binds its extensions and runs its workers."""

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from rpcservice.concurrency import Backend, Event, Task, green
from rpcservice.config import Settings, make_settings
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.extension import Extension, SharedExtension
from rpcservice.core.lifecycle import start_containers, stop_containers
from rpcservice.core.once import ONCE_STAGES, OnceOrder, OnceStages
from rpcservice.core.pool import WorkerPool
from rpcservice.core.resource import Resource, Resources
from rpcservice.core.service import method_signature, positional_range, read_service
from rpcservice.core.worker import DEFAULT_STAGES, Stage, WorkerPlan, choose_run, compose, who_runs

R = TypeVar("R", bound=Resource)
X = TypeVar("X", bound=Extension)

_log = logging.getLogger(__name__)


class ServiceContainer:
    """Hosts one service, alone or as one of a runner's.

    Args:
        service_cls: The service class.
        config: Settings, or a mapping with their keys.
        resources: Those of the runner; a container alone makes its own.
        hooks: Objects with any of ``around_worker``, ``around_publish`` and ``around_receipt``, outside of those
            that the service's own dependencies have.

    Raises:
        DeclarationError: The class cannot be hosted as it is written.
        ConfigError: A setting is wrong.
    """

    stages: Sequence[Stage] = DEFAULT_STAGES
    """What a worker does with a call, in this order; a subclass may have its own."""
    once_stages: OnceOrder = ONCE_STAGES
    """The same for calls that are idempotent."""
    plan_cls: type[WorkerPlan] = WorkerPlan
    """What knows the hooks of the dependencies."""

    def __init__(
        self,
        service_cls: type,
        config: Mapping[str, Any] | Settings | None = None,
        *,
        resources: Resources | None = None,
        hooks: Sequence[object] = (),
    ) -> None:
        definition = read_service(service_cls)
        self.service_cls = service_cls
        self.service_name = definition.name
        self.config = make_settings(config if config is not None else {})
        self.backend: Backend = resources.backend if resources is not None else green()
        self.owns_resources = resources is None
        self.resources = resources if resources is not None else Resources(self.config, self.backend)
        self.max_workers = self.config.max_workers
        self.calls_tracked = self.config.parent_calls_tracked + 1
        self.hooks = list(hooks)
        self.subextensions: list[Extension] = []
        self.shared_extensions: dict[Hashable, SharedExtension] = {}
        self.dependencies: list[DependencyProvider] = [
            declaration.bind(self, attr_name) for attr_name, declaration in definition.dependencies
        ]
        self.entrypoints: list[Entrypoint] = [
            self._bind_entrypoint(method_name, declaration) for method_name, declaration in definition.entrypoints
        ]
        self.started = False
        self.is_stopping = False
        self.stop_deadline: float | None = None
        self._failure: BaseException | None = None
        self._ended: Event = self.backend.event()
        self._threads: set[Task] = set()
        self._known: set[Extension] = set()
        self.pool = WorkerPool(self.backend, self.max_workers, self._run_first)
        self._watch_end: Callable[[ServiceContainer], None] | None = None
        self._leave_loop: Callable[[], None] | None = None

    def _bind_entrypoint(self, method_name: str, declaration: Entrypoint) -> Entrypoint:
        entrypoint = declaration.bind(self, method_name)
        entrypoint.method_signature = method_signature(self.service_cls, method_name)
        entrypoint.method_positional = positional_range(entrypoint.method_signature)
        entrypoint.method_call_prefix = f"{self.service_name}.{method_name}."
        entrypoint.method_workers = 0
        return entrypoint

    def bind_part(self, part: X, attr_name: str) -> X:
        """Bind an extension that another one declares; see :class:`~rpcservice.core.extension.Host`."""
        key = part.sharing_key if isinstance(part, SharedExtension) else None
        if key is not None and key in self.shared_extensions:
            return cast(X, self.shared_extensions[key])
        bound = part.bind(self, attr_name)
        if isinstance(bound, SharedExtension):
            self.shared_extensions[bound.sharing_key] = bound
        self.subextensions.append(bound)
        return bound

    @property
    def extensions(self) -> list[Extension]:
        """All extensions, in the order in which they are set up: parts, dependencies, entrypoints."""
        return [*self.subextensions, *self.dependencies, *self.entrypoints]

    def make_run(self) -> Callable[[WorkerContext], object]:
        """Give what takes a context through the worker's stages, with the around-hooks about it."""
        plan = self.plan_cls(self.service_cls, self.dependencies, self.stages)
        onces = [entrypoint.method_once for entrypoint in self.entrypoints if entrypoint.method_once is not None]
        if onces:
            OnceStages(plan, self.once_stages, self.dependencies, onces[0].claims)
        return self.around("worker", partial(choose_run(), plan))

    def _run_first(self, ctx: WorkerContext) -> object:
        # Dependencies may be replaced and hooks added until the first call comes.
        run = self.pool.run = self.make_run()
        return run(ctx)

    def around(self, kind: str, call: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Put the around-hooks of one kind about a call; see :class:`~rpcservice.core.extension.Host`."""
        name = f"around_{kind}"
        owners = [*self.hooks, *self.dependencies]
        return compose([getattr(owner, name) for owner in owners if hasattr(owner, name)], call)

    def resource(self, cls: type[R], key: Hashable = None) -> R:
        """Give the process's one instance of a resource for that key."""
        return self.resources.get(cls, key)

    def spawn_worker(
        self,
        entrypoint: Entrypoint,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
    ) -> WorkerContext:
        """Have a worker run the entrypoint's method as soon as one is free; never waits."""
        ctx = WorkerContext(self, entrypoint, args, kwargs, context_data, message)
        self.pool.submit(ctx)
        return ctx

    def run_worker(
        self,
        entrypoint: Entrypoint,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        message: Any = None,
        wait: float | None = None,
    ) -> WorkerContext:
        """Run the entrypoint's method in the calling greenlet, as one of the workers."""
        ctx = WorkerContext(self, entrypoint, args, kwargs, context_data, message)
        self.pool.run_here(ctx, wait)
        return ctx

    def count_waiting(self) -> int:
        """Give how many calls wait for a free worker."""
        return len(self.pool.waiting)

    def unfinished(self, entrypoint: Entrypoint) -> list[WorkerContext]:
        """Give the contexts of an entrypoint's workers: of those that run, and of those that wait for a free one."""
        return [ctx for ctx in (*self.pool.running, *self.pool.waiting) if ctx.entrypoint is entrypoint]

    def spawn_managed_thread(self, function: Callable[[], object], identifier: str | None = None) -> Task:
        """Run a function beside the workers; an error in it kills the container."""
        task: list[Task] = []

        def run() -> None:
            try:
                function()
            except Exception as exc:
                _log.critical("%s of service %s died", identifier or function, self.service_name, exc_info=exc)
                # No longer one of those that are killed with the container: it is the one that kills.
                self._threads.difference_update(task)
                self.kill(exc)
            finally:
                self._threads.difference_update(task)

        task.append(self.backend.spawn(run))
        self._threads.add(task[0])
        return task[0]

    def setup(self) -> None:
        """Set every extension up: they ask for their resources here."""
        _log.debug("starting %s", self)
        for extension in self.extensions:
            self.bring_up(extension, "setup")
            self._known.add(extension)

    def bring_up(self, extension: Extension, step: str) -> None:
        """Call ``setup`` or ``start`` of an extension; what it raises gets a note that says whose it is."""
        try:
            getattr(extension, step)()
        except Exception as exc:
            name = getattr(extension, "attr_name", None) or getattr(extension, "method_name", None)
            owner = f"{self.service_name}.{name}" if name else self.service_name
            exc.add_note(f"in {step} of {owner}, {type(extension).__name__}")
            raise

    def watch_loop(self) -> None:
        """Called when the services are up: have it logged when something blocks them, until this one ends."""
        seconds = self.config.blocked_loop_warning
        if seconds > 0 and self._leave_loop is None and not self._ended.is_set():
            self._leave_loop = self.backend.watch_loop(seconds, who_runs)

    def start(self) -> None:
        """Start the service, and its resources where they are its own.

        Raises:
            BrokerUnavailable: The broker could not be reached in time.
        """
        start_containers([self], self.resources)

    def stop(self) -> None:
        """Stop in order: no more work, running workers finish within ``shutdown_timeout``, the rest is given back.

        It waits for the end, unless one of the container's own workers calls it.
        """
        if self.pool.runs_here():
            self.backend.spawn(self.stop)
            return
        if not self._ended.is_set() and not self.is_stopping:
            stop_containers([self], self.resources if self.owns_resources else None)
        self._ended.wait()

    def kill(self, error: BaseException | None = None) -> None:
        """End without waiting; unfinished work goes back to its queue.

        Args:
            error: Why; :meth:`wait` raises it.
        """
        if self._ended.is_set():
            return
        _log.debug("killing %s", self)
        self._failure = self._failure or error
        self.is_stopping = True
        if self.pool.runs_here():
            # The worker that calls ends with the others, and must not leave the rest undone.
            self.backend.spawn(self.kill)
            self._ended.wait()
            return
        for entrypoint in self.entrypoints:
            self._kill_extension(entrypoint)
        self.pool.kill()
        for _ in self._threads:
            _log.warning("killing a managed thread of service %s", self.service_name)
        for extension in [*self.dependencies, *reversed(self.subextensions)]:
            self._kill_extension(extension)
        if self.owns_resources:
            self._quietly(self.resources.kill)
        self.mark_ended()

    def _kill_extension(self, extension: Extension) -> None:
        if extension in self._known:
            self._quietly(extension.kill)

    def _quietly(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:
            _log.warning("while killing service %s", self.service_name, exc_info=True)

    def mark_ended(self) -> None:
        """End the managed threads and wake who waits for the end of this container."""
        self._ended.set()
        if self._leave_loop is not None:
            self._leave_loop()
            self._leave_loop = None
        if self._watch_end is not None:
            self._watch_end(self)
        for thread in list(self._threads):
            thread.kill()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the container has ended; raises what killed it. False when ``timeout`` seconds ran out."""
        if not self._ended.wait(timeout):
            return False
        if self._failure is not None:
            raise self._failure
        return True

    def __repr__(self) -> str:
        return f"<ServiceContainer {self.service_name!r}>"
