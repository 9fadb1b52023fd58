"""nameko's provider of the configuration."""

from typing import Any

from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.core.context import WorkerContext

__all__ = ("Config",)


__getattr__ = missing_names(__name__)


class Config(DependencyProvider):
    """Injects a copy of the configuration, as a dictionary."""

    def get_dependency(self, worker_ctx: WorkerContext) -> dict[str, Any]:
        """Give the copy."""
        return dict(self.container.config)
