"""nameko's providers of single context values."""

from typing import Any

from rpcservice.compat.nameko import constants
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.core.context import WorkerContext


class ContextDataProvider(DependencyProvider):
    """Injects one value of the context data; None where it is absent."""

    context_key: str | None = None

    def get_dependency(self, worker_ctx: WorkerContext) -> Any:
        """Give the value."""
        return worker_ctx.data.get(self.context_key or "")


class Language(ContextDataProvider):
    """Injects the language."""

    context_key = constants.LANGUAGE_CONTEXT_KEY


class UserId(ContextDataProvider):
    """Injects the user's id."""

    context_key = constants.USER_ID_CONTEXT_KEY


class UserAgent(ContextDataProvider):
    """Injects the user agent."""

    context_key = constants.USER_AGENT_CONTEXT_KEY


class AuthToken(ContextDataProvider):
    """Injects the authentication token."""

    context_key = constants.AUTH_TOKEN_CONTEXT_KEY
