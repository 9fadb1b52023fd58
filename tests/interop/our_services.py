"""The services of ours that nameko talks to."""

import threading
from typing import Any

import odd_outcomes
from shop_errors import OutOfStock

from rpcservice import (
    BROADCAST,
    SINGLETON,
    DependencyProvider,
    EventDispatcher,
    ServiceRpc,
    deserialize_to_instance,
    event_handler,
    rpc,
)
from rpcservice.amqp.events import EventHandler
from rpcservice.concurrency import green
from rpcservice.core.context import WorkerContext

Seen = list[tuple[str, Any, int]]


deserialize_to_instance(OutOfStock)


class Context(DependencyProvider):
    def get_dependency(self, ctx: WorkerContext) -> dict[str, Any]:
        return dict(ctx.context_data)


class Instance(DependencyProvider):
    """A number that tells the two instances apart."""

    def get_dependency(self, ctx: WorkerContext) -> int:
        return id(self.host)


class Log(DependencyProvider):
    """Notes (handler, payload, instance) in lists that the test reads."""

    seen: Seen = []
    changed = threading.Condition()

    def get_dependency(self, ctx: WorkerContext) -> Any:
        def note(handler: str, payload: Any) -> None:
            with self.changed:
                self.seen.append((handler, payload, id(self.host)))
                self.changed.notify_all()

        return note


class Trouble(DependencyProvider):
    """Fails in the hook that the context data name."""

    def _run(self, hook: str, ctx: WorkerContext) -> None:
        if ctx.context_data.get("trouble") == hook:
            raise RuntimeError(f"trouble in {hook}")

    def get_dependency(self, ctx: WorkerContext) -> None:
        self._run("get_dependency", ctx)

    def worker_setup(self, ctx: WorkerContext) -> None:
        self._run("worker_setup", ctx)

    def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
        self._run("worker_result", ctx)

    def worker_teardown(self, ctx: WorkerContext) -> None:
        self._run("worker_teardown", ctx)


class NamedHandler(EventHandler):
    """Has a queue for each instance that outlives it."""

    @property
    def broadcast_identifier(self) -> str:
        return f"ours-{id(self.host)}"


named_handler = NamedHandler.decorator


OPTIONS: dict[str, Any] = {
    "compression": "gzip",
    "priority": 5,
    "expiration": 30,
    "delivery_mode": 1,
    "headers": {"own": "ü"},
}


class OurShop:
    name = "our_shop"
    context = Context()
    trouble = Trouble()
    note = Log()
    instance = Instance()
    theirs = ServiceRpc("nameko_shop", timeout=15)
    theirs_packed = ServiceRpc("nameko_shop", timeout=15, **OPTIONS)
    dispatch = EventDispatcher()

    @rpc
    def echo(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"args": args, "kwargs": kwargs}

    @rpc
    def length(self, value: dict[str, Any]) -> list[int]:
        return [len(value), len(value["big"])]

    @rpc
    def add(self, left: int, right: int = 1) -> int:
        return left + right

    @rpc
    def fail(self) -> None:
        raise ValueError("no", 3)

    @rpc
    def sell_out(self) -> None:
        raise OutOfStock("lamp", 7)

    @rpc
    def unserializable(self) -> object:
        return object()

    @rpc
    def outcome(self, kind: str, name: str) -> Any:
        return odd_outcomes.outcome(kind, name)

    @rpc
    def hold(self, seconds: float) -> int:
        self.note("hold", seconds)
        green().sleep(seconds)
        return self.instance

    @rpc
    def see_context(self) -> dict[str, Any]:
        return self.context

    @rpc
    def see_instance(self) -> int:
        return self.instance

    @rpc
    def ask_theirs(self, method: str, *args: Any) -> Any:
        return self.theirs[method](*args)

    @rpc
    def ask_theirs_packed(self, method: str, *args: Any) -> Any:
        return self.theirs_packed[method](*args)

    @rpc
    def emit(self, event_type: str, payloads: list[Any]) -> None:
        for payload in payloads:
            self.dispatch(event_type, payload)

    @event_handler("nameko_shop", "pooled")
    def on_pooled(self, payload: Any) -> None:
        self.note("pooled", [payload, self.context])

    @event_handler("nameko_shop", "pooled_lossy", reliable_delivery=False)
    def on_pooled_lossy(self, payload: Any) -> None:
        self.note("pooled_lossy", payload)

    @event_handler("nameko_shop", "single", handler_type=SINGLETON)
    def on_single(self, payload: Any) -> None:
        self.note("single", payload)

    @event_handler("nameko_shop", "single_lossy", handler_type=SINGLETON, reliable_delivery=False)
    def on_single_lossy(self, payload: Any) -> None:
        self.note("single_lossy", payload)

    @event_handler("nameko_shop", "everywhere", handler_type=BROADCAST, reliable_delivery=False)
    def on_everywhere(self, payload: Any) -> None:
        self.note("everywhere", payload)

    @named_handler("nameko_shop", "everywhere_kept", handler_type=BROADCAST)
    def on_everywhere_kept(self, payload: Any) -> None:
        self.note("everywhere_kept", payload)

    @event_handler("nameko_shop", "by.*.pattern.#")
    def on_pattern(self, payload: Any) -> None:
        self.note("pattern", payload)

    @event_handler("nameko_shop", "fails")
    def on_fails(self, payload: Any) -> None:
        self.note("fails", payload)
        raise ValueError(payload)

    @event_handler("nameko_shop", "fails_and_comes_back", requeue_on_error=True)
    def on_fails_and_comes_back(self, payload: Any) -> None:
        self.note("fails_and_comes_back", payload)
        if [seen for name, seen, _ in Log.seen if name == "fails_and_comes_back"].count(payload) == 1:
            raise ValueError(payload)

    @event_handler("our_shop", "single", handler_type=SINGLETON)
    def share_with_nameko(self, payload: Any) -> None:
        self.note("shared", payload)
