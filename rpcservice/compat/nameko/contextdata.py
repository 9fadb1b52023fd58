"""nameko's providers of single context values."""

from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.core import dependency

__all__ = (
    "AuthToken",
    "ContextDataProvider",
    "Language",
    "UserAgent",
    "UserId",
)

__getattr__ = missing_names(__name__)


class ContextDataProvider(DependencyProvider, dependency.ContextDataProvider):
    """Injects one value of the context data; None where it is absent."""

    get_dependency = dependency.ContextDataProvider.get_dependency


class Language(ContextDataProvider, dependency.Language):
    """Injects the language."""


class UserId(ContextDataProvider, dependency.UserId):
    """Injects the user's id."""


class UserAgent(ContextDataProvider, dependency.UserAgent):
    """Injects the user agent."""


class AuthToken(ContextDataProvider, dependency.AuthToken):
    """Injects the authentication token."""
