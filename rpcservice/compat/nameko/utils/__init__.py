"""nameko's small helpers."""

import inspect
from pydoc import locate
from typing import Any
from urllib.parse import urlsplit

from rpcservice.core.redaction import REDACTED as REDACTED
from rpcservice.core.redaction import redact

__all__ = (
    "REDACTED",
    "get_redacted_args",
    "import_from_path",
    "sanitize_url",
)


def get_redacted_args(entrypoint: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Give the arguments of a call by their names, without what the entrypoint declares as sensitive.

    Args:
        entrypoint: The entrypoint that fired; a stand-in for one will do.
        args: Positional arguments of the method.
        kwargs: Keyword arguments of the method.
    """
    sensitive = entrypoint.sensitive_arguments
    method = getattr(entrypoint.container.service_cls, entrypoint.method_name)
    bound = inspect.signature(method).bind(None, *args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    del arguments[next(iter(arguments))]
    return redact(arguments, (sensitive,) if isinstance(sensitive, str) else sensitive)


def import_from_path(path: str | None) -> Any:
    """Give the object that a dotted path names; None for None.

    Raises:
        ImportError: There is none.
    """
    if path is None:
        return None
    found = locate(path)
    if found is None:
        raise ImportError(f"`{path}` could not be imported")
    return found


def sanitize_url(url: str) -> str:
    """Give a URL without its password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}:{REDACTED}@{host}").geturl()
