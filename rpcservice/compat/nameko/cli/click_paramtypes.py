"""nameko 3's types of values on the command line."""

from typing import Any

import click

from rpcservice.envvars import load
from rpcservice.errors import ConfigError

__all__ = ("HOST_PORT", "KEY_VAL", "HostPortParamType", "KeyValParamType")


class KeyValParamType(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``KEY=VALUE`` with a YAML value; ``KEY`` alone is true."""

    name = "key_val"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Give key and value."""
        if isinstance(value, tuple):
            return value
        key, has_value, text = str(value).partition("=")
        try:
            return key.strip(), load(text, key) if has_value else True
        except ConfigError as exc:
            raise click.BadParameter(str(exc), ctx, param) from exc


class HostPortParamType(click.ParamType):  # type: ignore[type-arg]  # generic in the newest click only
    """``[HOST:]PORT``, on localhost unless a host is given."""

    name = "host_port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Give host and port."""
        if isinstance(value, tuple):
            return value
        host, _, port = str(value).rpartition(":")
        if not port.isdigit():
            raise click.BadParameter(f"{port} is not a valid port number", ctx, param)
        return host or "localhost", int(port)


KEY_VAL = KeyValParamType()
HOST_PORT = HostPortParamType()
