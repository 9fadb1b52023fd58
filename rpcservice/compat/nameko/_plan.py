"""The hooks of a service as nameko calls them: found anew for each call, for tests patch them meanwhile."""

from collections.abc import Callable, Sequence
from typing import Any

from rpcservice.compat.nameko._stages import handle_result
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.worker import Stage, WorkerPlan, record


class LatePlan(WorkerPlan):
    """Knows the providers, but not yet what their methods are."""

    def __init__(self, cls: type, dependencies: Sequence[DependencyProvider], stages: Sequence[Stage]) -> None:
        super().__init__(cls, dependencies, stages)
        self.injections = [(provider.attr_name, _late(provider, "get_dependency")) for provider in dependencies]
        self.setups = [_late(provider, "worker_setup") for provider in dependencies]
        # Entrypoints encode an outcome when they send it, and not before.
        self.answers = (handle_result,)
        self.fail = record
        self.teardowns = [_late(provider, "worker_teardown") for provider in dependencies]


def _late(provider: DependencyProvider, name: str) -> Callable[..., Any]:
    def hook(*args: Any) -> Any:
        return getattr(provider, name)(*args)

    return hook
