"""nameko's exceptions; all but a few are rpcservice's own under their names there."""

from collections.abc import Mapping
from typing import Any

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
from rpcservice.errors import MethodNotFound as MethodNotFound
from rpcservice.errors import RemoteError as RemoteError
from rpcservice.errors import RpcTimeout as RpcTimeout
from rpcservice.errors import UnknownService as UnknownService
from rpcservice.errors import UnserializableValueError as UnserializableValueError

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

ConfigurationError = ConfigError

ReplyQueueExpiredWithPendingReplies = ConnectionLost
"""What calls under way end with when their reply queue is gone; the queue itself is declared again."""

registry = faults.registry

safe_for_serialization = faults.safe

get_module_path = faults.module_path


def serialize(exc: BaseException) -> dict[str, Any]:
    """Give the error object of a reply."""
    data = faults.error_to_data(exc)
    return {key: data[key] for key in ("exc_type", "exc_path", "exc_args", "value")}


def deserialize(data: Mapping[str, Any]) -> Exception:
    """Give the exception that an error object stands for."""
    return faults.error_from_data(data)
