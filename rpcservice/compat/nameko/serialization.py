"""nameko's way to serializers: kombu's registry, to which the configuration adds its own."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kombu import serialization

from rpcservice.compat.nameko._config import config as global_config
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.constants import (
    ACCEPT_CONFIG_KEY,
    DEFAULT_SERIALIZER,
    SERIALIZER_CONFIG_KEY,
    SERIALIZERS_CONFIG_KEY,
)
from rpcservice.compat.nameko.exceptions import ConfigurationError
from rpcservice.compat.nameko.utils import import_from_path

__all__ = (
    "SerializationConfig",
    "setup",
)

__getattr__ = missing_names(__name__)


class SerializationConfig(NamedTuple):
    """Which serializers are used."""

    serializer: str
    accept: list[str]


def setup(config: Mapping[str, Any] | None = None) -> SerializationConfig:
    """Register the serializers that a configuration describes, and give the names of those that it uses.

    Args:
        config: The configuration; None for the global one.

    Raises:
        ConfigurationError: It uses one that nobody has registered.
        ImportError: An encoder or decoder is not there.
    """
    given = global_config if config is None else config
    for name, description in (given.get(SERIALIZERS_CONFIG_KEY) or {}).items():
        functions = {key: _function(name, key, description[key]) for key in ("encoder", "decoder")}
        serialization.register(name, **{"content_type": f"application/x-{name}", **description, **functions})
    serializer = given.get(SERIALIZER_CONFIG_KEY) or DEFAULT_SERIALIZER
    accept = list(given.get(ACCEPT_CONFIG_KEY) or [serializer])
    for name in (serializer, *accept):
        if name not in serialization.registry.name_to_type:
            raise ConfigurationError(f'Please register a serializer for "{name}" format, under SERIALIZERS')
    return SerializationConfig(serializer, accept)


def _function(name: str, key: str, path: str) -> Any:
    try:
        return import_from_path(path)
    except ImportError as exc:
        raise ImportError(f"SERIALIZERS.{name}.{key} is {path!r}, which cannot be imported: {exc}") from exc
