"""DependencyProvider, the base of what services are given, and Config, the simplest of them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rpcservice.core.context import WorkerContext
from rpcservice.core.extension import Extension


class DependencyProvider(Extension):
    """Declared as a class attribute of a service; each worker finds what :meth:`get_dependency` gives in its place.

    An error in a hook fails that one call, and the caller learns of it. A provider may also define any of the
    around-hooks ``around_worker(ctx, call_next)``, ``around_publish(message, call_next)`` and
    ``around_receipt(delivery, call_next)``; each gives ``call_next(...)`` its turn and gives back what it gave.
    """

    def get_dependency(self, ctx: WorkerContext) -> Any:
        """Called for each worker; give the object to put in the attribute's place."""
        return None

    def worker_setup(self, ctx: WorkerContext) -> None:
        """Called for each worker before its method, when all dependencies are in place."""

    def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
        """Called when the method has ended and its result is encoded, before the caller gets it: commit here."""

    def worker_teardown(self, ctx: WorkerContext) -> None:
        """Called last for each worker, whatever happened before: close here."""

    if TYPE_CHECKING:
        # To type checkers a service's attribute is what get_dependency gives, not the provider that is written there.
        def __get__(self, service: object, owner: type | None = None) -> Any: ...


class Config(DependencyProvider):
    """Injects the whole configuration, as a read-only mapping."""

    def get_dependency(self, ctx: WorkerContext) -> Mapping[str, Any]:
        """Give the configuration as it was read."""
        return self.host.config.raw
