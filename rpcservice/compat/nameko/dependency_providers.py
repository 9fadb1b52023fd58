"""nameko's provider of the configuration."""

from typing import Any

from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.core.context import WorkerContext


class Config(DependencyProvider):
    """Injects a copy of the configuration, as a dictionary."""

    def get_dependency(self, worker_ctx: WorkerContext) -> dict[str, Any]:
        """Give the copy."""
        return dict(self.container.config)
