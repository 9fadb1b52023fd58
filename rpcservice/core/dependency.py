"""DependencyProvider, the base of what services are given, and the simplest of them: configuration and context data."""

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
        return self.bound_to.config.raw


class ContextDataProvider(DependencyProvider):
    """Injects one value of what came with the call; None where it did not. Set ``context_key`` in a subclass."""

    context_key: str | None = None
    """Its key in the context data."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        """Give the value."""
        return None if self.context_key is None else ctx.context_data.get(self.context_key)


class Language(ContextDataProvider):
    """Injects the caller's language, the context data's ``language``."""

    context_key = "language"


class UserId(ContextDataProvider):
    """Injects the user's id, the context data's ``user_id``."""

    context_key = "user_id"


class UserAgent(ContextDataProvider):
    """Injects the user agent, the context data's ``user_agent``."""

    context_key = "user_agent"


class AuthToken(ContextDataProvider):
    """Injects the authentication token, the context data's ``auth_token``."""

    context_key = "auth_token"
