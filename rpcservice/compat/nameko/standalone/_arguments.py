"""The arguments of standalone clients, with the configuration in front (2.x) or global (3.x)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rpcservice.compat.nameko import serialization
from rpcservice.compat.nameko._config import OWN_SECTION, read_settings
from rpcservice.compat.nameko.constants import AMQP_SSL_CONFIG_KEY, AMQP_URI_CONFIG_KEY
from rpcservice.compat.nameko.exceptions import nameko_errors
from rpcservice.config import Settings
from rpcservice.standalone.session import BROKER_WAIT, client_settings


@nameko_errors()
def take_config(arguments: Sequence[Any], options: dict[str, Any]) -> tuple[Settings, list[Any]]:
    """Give the settings of a client and the other positional arguments; takes out of the options what is used.

    Args:
        arguments: Positional arguments. A mapping with ``AMQP_URI`` in front of them is a configuration.
        options: Keyword arguments.

    Raises:
        ConfigurationError: The configuration is wrong.
    """
    others = list(arguments)
    config = options.pop("config", None)
    if config is None and others and isinstance(others[0], Mapping) and AMQP_URI_CONFIG_KEY in others[0]:
        config = others.pop(0)
    settings: Settings = read_settings(config)
    serialization.setup(settings.raw)
    if "startup_timeout" not in (settings.raw.get(OWN_SECTION) or {}):
        settings = replace(settings, startup_timeout=BROKER_WAIT)
    ssl = options.pop("ssl", None)
    if ssl is None:
        ssl = settings.raw.get(AMQP_SSL_CONFIG_KEY)
    # Of kombu's connections, of which there are none.
    options.pop("transport_options", None)
    return client_settings(settings, options.pop("uri", None), ssl, options.pop("login_method", None)), others
