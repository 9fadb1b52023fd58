"""What the commands have in common: options, the configuration, patching, and errors without tracebacks."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from rpcservice.errors import CommandError, ConfigError, DeclarationError, MissingExtra, RpcServiceError

if TYPE_CHECKING:
    from rpcservice.config import Settings

USAGE, FAILURE = 2, 1
"""Exit codes: for a mistake in what was asked, and for what went wrong while doing it."""


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which configuration holds."""
    for option in (
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
        click.option(
            "-d", "--define", "defines", multiple=True, metavar="KEY=VALUE", help="Set a key; the value is YAML."
        ),
        click.option("--broker", metavar="URI", help="The broker, instead of AMQP_URI."),
        click.option("-c", "--config", "config_path", metavar="FILE", help="The YAML configuration."),
    ):
        function = option(function)
    return function


def without_traceback(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a command end with a line and an exit code for what is wrong, unless it is given ``--debug``."""

    @functools.wraps(function)
    def command(*args: Any, debug: bool = False, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except RpcServiceError as exc:
            if debug:
                raise
            is_usage = isinstance(exc, CommandError | ConfigError | DeclarationError | MissingExtra)
            fail(f"{exc}", USAGE if is_usage else FAILURE)

    return command


def fail(message: str, exit_code: int) -> None:
    """Say what is wrong and end the process."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(exit_code)


def patch() -> None:
    """Patch the standard library for eventlet, before anything else is imported that binds what it patches."""
    with warnings.catch_warnings():
        # Its users know; ours did not choose it.
        warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
        import eventlet

    eventlet.monkey_patch()


def read_config(config_path: str | None, broker: str | None, defines: tuple[str, ...]) -> "Settings":
    """Give the settings that a command's options describe.

    Raises:
        ConfigError: The file or a value is wrong.
    """
    import yaml

    from rpcservice import config

    given: list[tuple[str, object]] = []
    for define in defines:
        key, separator, text = define.partition("=")
        try:
            given.append((key, yaml.safe_load(text) if separator else True))
        except yaml.YAMLError as exc:
            raise CommandError(f"-d {define}: the value is no valid YAML: {' '.join(str(exc).split())}") from exc
    if broker is not None:
        given.append(("AMQP_URI", broker))
    return config.load_config(config_path, given)


def hide_password(uri: str) -> str:
    """Give a URI with stars in the place of its password."""
    import re

    return re.sub(r"(//[^:/@]*):[^@/]*@", r"\1:**@", uri)


def look_here_for_modules() -> None:
    """Let modules of the working directory be imported, as ``python -m`` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
