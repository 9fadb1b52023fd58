"""nameko's exceptions: rpcservice's own under their names there, but for three that look different in nameko."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from rpcservice import errors
from rpcservice.core import faults
from rpcservice.core.faults import deserialize_to_instance as deserialize_to_instance
from rpcservice.errors import BadRequest as BadRequest
from rpcservice.errors import CommandError as CommandError
from rpcservice.errors import ConfigError, ConnectionLost
from rpcservice.errors import ConnectionNotFound as ConnectionNotFound
from rpcservice.errors import ContainerBeingKilled as ContainerBeingKilled
from rpcservice.errors import ExtensionNotFound as ExtensionNotFound
from rpcservice.errors import IncorrectSignature as IncorrectSignature
from rpcservice.errors import MalformedRequest as MalformedRequest
from rpcservice.errors import RemoteError as RemoteError
from rpcservice.errors import RpcTimeout as RpcTimeout
from rpcservice.errors import UnserializableValueError as UnserializableValueError

E = TypeVar("E", bound=BaseException)

__all__ = (
    "BadRequest",
    "CommandError",
    "ConfigurationError",
    "ConnectionNotFound",
    "ContainerBeingKilled",
    "ExtensionNotFound",
    "IncorrectSignature",
    "MalformedRequest",
    "MethodNotFound",
    "RemoteError",
    "ReplyQueueExpiredWithPendingReplies",
    "RpcTimeout",
    "UnknownService",
    "UnserializableValueError",
    "deserialize",
    "deserialize_to_instance",
    "get_module_path",
    "registry",
    "safe_for_serialization",
    "serialize",
)


class ConfigurationError(ConfigError):
    """Raised when a setting, or how a class is written, is wrong."""


class MethodNotFound(errors.MethodNotFound):
    """Raised when a service has no method of the name called; its text is that name alone."""

    __str__ = Exception.__str__


class UnknownService(errors.UnknownService):
    """Raised when no queue is bound for the service that was called."""

    def __str__(self) -> str:
        return f"Unknown service `{self.service_name}`"


ReplyQueueExpiredWithPendingReplies = ConnectionLost
"""What calls under way end with when their reply queue is gone; the queue itself is declared again."""

registry = faults.registry

safe_for_serialization = faults.safe

_OF_NAMEKO: Mapping[type, type] = {
    ConfigError: ConfigurationError,
    errors.MethodNotFound: MethodNotFound,
    errors.UnknownService: UnknownService,
}
_PACKAGE = __name__.removesuffix("nameko.exceptions")


def as_nameko(error: E) -> E:
    """Give an error the class that code for nameko catches, where that is not its own; all else of it stays."""
    cls = _OF_NAMEKO.get(type(error))
    if cls is not None:
        error.__class__ = cls
    return error


@contextmanager
def nameko_errors() -> Iterator[None]:
    """Have errors that a block raises be those that code for nameko catches; decorates functions too."""
    try:
        yield
    except errors.RpcServiceError as exc:
        as_nameko(exc)
        raise


def get_module_path(exc_type: type) -> str:
    """Give the path that stands for an exception class on the wire; what nameko has, has nameko's."""
    if exc_type.__name__ in __all__ and globals()[exc_type.__name__] is exc_type:
        return f"nameko.exceptions.{exc_type.__name__}"
    return faults.module_path(exc_type).removeprefix(_PACKAGE)


def describe(error: BaseException, *, send_traceback: bool = False) -> dict[str, Any]:
    """Give the error object of a reply as a service on nameko would, and what our own callers know more.

    Args:
        error: What the method raised.
        send_traceback: Add the traceback as text.
    """
    data = faults.error_to_data(as_nameko(error), send_traceback=send_traceback)
    data["exc_path"] = get_module_path(type(error))
    return data


def serialize(exc: BaseException) -> dict[str, Any]:
    """Give the error object of a reply."""
    data = describe(exc)
    return {key: data[key] for key in ("exc_type", "exc_path", "exc_args", "value")}


def deserialize(data: Mapping[str, Any]) -> Exception:
    """Give the exception that an error object stands for."""
    return as_nameko(faults.error_from_data(data))
