"""An entrypoint that is fired by hand and keeps a journal."""

from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import Entrypoint, ServiceContainer, WorkerContext


@pytest.fixture
def journal() -> list[str]:
    """What happened, in order."""
    return []


@pytest.fixture
def hand(journal: list[str]) -> type[Any]:
    """An entrypoint class for ``@hand.decorator``; ``@hand.decorator(broken=("settle",))`` raises there, once."""

    class Hand(Entrypoint):
        stop_phase = "serving"

        def __init__(self, broken: tuple[str, ...] = (), **options: Any) -> None:
            super().__init__(**options)
            self.broken = list(broken)

        def note(self, what: str) -> None:
            journal.append(what)
            if what in self.broken:
                self.broken.remove(what)
                raise RuntimeError(f"broken {what}")

        def encode(self, ctx: WorkerContext) -> None:
            self.note("encode")
            ctx.reply = f"error {ctx.error}" if ctx.error is not None else f"result {ctx.result}"

        def settle(self, ctx: WorkerContext) -> None:
            self.note("settle")

        def give_back(self, ctx: WorkerContext) -> None:
            self.note("give back")

    return Hand


@pytest.fixture
def start(container_factory: Callable[..., ServiceContainer]) -> Callable[..., ServiceContainer]:
    """Start a container: ``start(ServiceClass, max_workers=2)``."""

    def make(service_cls: type, **settings: Any) -> ServiceContainer:
        container = container_factory(service_cls, settings)
        container.start()
        return container

    return make


@pytest.fixture
def fire() -> Callable[..., WorkerContext]:
    """Run a method in the calling greenlet: ``fire(container, "method", *args)``; gives the finished context."""

    def run(container: ServiceContainer, method_name: str, *args: Any, **options: Any) -> WorkerContext:
        entrypoint = next(entry for entry in container.entrypoints if entry.method_name == method_name)
        return container.run_worker(entrypoint, args, **options)

    return run
