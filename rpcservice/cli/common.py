"""What all commands share: their options, reading the configuration, and turning errors into one line."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rpcservice.cli.escapes import printable
from rpcservice.errors import CommandError, ConfigError, DeclarationError, MissingExtra, RpcServiceError

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.core.runner import ServiceRunner

_log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

_DEBUG = "rpcservice.debug"
_HERE = f"{Path(__file__).parents[1]}{os.sep}"
"""Where rpcservice is: what raises there was called wrongly from elsewhere."""


class Command(click.Command):
    """A command whose errors are shown in one line; with ``--debug`` their traceback comes first."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_note_debug,
                help="Show tracebacks and more log.",
            )
        )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.Abort, click.exceptions.Exit):
            raise
        except Exception as exc:
            if is_debug(ctx):
                told = "".join(traceback.format_exception(exc.__cause__ or exc))
                click.echo(printable(told, has_lines=True), err=True, nl=False)
            if isinstance(exc, click.ClickException):
                raise
            raise _failure(exc, ctx) from exc


class Mistake(click.ClickException):
    """Raised for what cannot be done as it was asked for, with the exit code of wrong usage."""

    exit_code = 2


def _note_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value


def is_debug(ctx: click.Context) -> bool:
    """Say whether ``--debug`` was given."""
    return bool(ctx.meta.get(_DEBUG))


def _failure(exc: Exception, ctx: click.Context) -> click.ClickException:
    """Turn an error into what click shows, with the exit code for it."""
    if isinstance(exc, CommandError):
        return click.UsageError(str(exc), ctx)
    if not isinstance(exc, RpcServiceError):
        return click.ClickException(f"{describe_error(exc)}; --debug shows the traceback")
    is_mistake = isinstance(exc, ConfigError | DeclarationError | MissingExtra)
    return Mistake(str(exc)) if is_mistake else click.ClickException(str(exc))


def describe_error(exc: BaseException) -> str:
    """Say in one line what was raised, and on which line of the user's."""
    text = " ".join(f"{type(exc).__name__}: {exc}".split())
    text = ", ".join([text, *getattr(exc, "__notes__", ())])
    frames = traceback.extract_tb(exc.__traceback__)
    if not frames or isinstance(exc, SyntaxError):
        return text  # which says by itself where it is
    place = next((frame for frame in reversed(frames) if not frame.filename.startswith(_HERE)), frames[-1])
    return f"{text} ({place.filename}, line {place.lineno})"


def config_options(function: F) -> F:
    """Give a command ``--config``, ``--broker``, ``--define`` and ``--nameko``."""
    for option in (
        nameko_option,
        click.option("-d", "--define", multiple=True, metavar="KEY[=VALUE]", callback=_split, help=_DEFINE_HELP),
        click.option("--broker", metavar="URI", help="The broker; wins over AMQP_URI of the configuration."),
        click.option(
            "-c", "--config", metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="The configuration."
        ),
    ):
        function = option(function)
    return function


def _stand_in(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from rpcservice.compat import nameko

        nameko.install()


nameko_option = click.option(
    "--nameko",
    is_flag=True,
    # Before anything else: what follows may import services.
    is_eager=True,
    expose_value=False,
    callback=_stand_in,
    help="Stand in for nameko, whose services, tests and extensions run as they are; so does RPCSERVICE_NAMEKO=1.",
)


def stands_in_for_nameko() -> bool:
    """Say whether ``import nameko`` gives our own, by ``--nameko`` or the environment."""
    # Who has not imported it has not switched it on; every service would pay for the import otherwise.
    nameko = sys.modules.get("rpcservice.compat.nameko")
    return nameko is not None and bool(nameko.is_installed())


_DEFINE_HELP = "Set a key of the configuration to a YAML value, or to true; may be given more than once."


def _split(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in values:
        key, has_value, value = text.partition("=")
        if not key.strip():
            raise click.BadParameter(f"{text!r} has no key; give KEY=VALUE, or KEY alone for true", ctx, param)
        pairs.append((key.strip(), value if has_value else "true"))
    return pairs


def backdoor_address(text: str) -> str:
    """Give a ``[HOST:]PORT`` of the command line with its host, localhost unless another is named.

    Raises:
        CommandError: It is no address.
    """
    from rpcservice.kinds import parse_address

    address = text if ":" in text else f"localhost:{text}"
    try:
        parse_address(address)
    except ConfigError as exc:
        raise CommandError(str(exc)) from exc
    return address


def read_settings(config: str | Path | None, define: Sequence[tuple[str, str]], broker: str | None) -> "Settings":
    """Give the settings that a command line asks for.

    Raises:
        CommandError: A value of ``--define`` is no YAML.
        ConfigError: A setting is wrong.
    """
    from rpcservice.config import load_config
    from rpcservice.envvars import load

    defines: list[tuple[str, object]] = []
    for key, text in define:
        try:
            defines.append((key, load(text, f"--define {key}")))
        except ConfigError as exc:
            raise CommandError(str(exc)) from exc
    if stands_in_for_nameko():
        return _nameko_settings(config, defines, broker)
    if broker is not None:
        defines.append(("AMQP_URI", broker))
    return load_config(config, defines)


def _nameko_settings(
    config: str | Path | None, defines: Sequence[tuple[str, object]], broker: str | None
) -> "Settings":
    """Set nameko's configuration up, and give its settings; the broker is for where the configuration names none."""
    from rpcservice.compat.nameko._config import config as nameko_config
    from rpcservice.compat.nameko._config import read_settings as settings_of
    from rpcservice.config import DEFAULT_AMQP_URI, hide_password, read_config

    values = read_config(config, defines)
    uri = values.setdefault("AMQP_URI", broker or DEFAULT_AMQP_URI)
    if broker is not None and uri != broker:
        _log.warning("--broker is not used, for AMQP_URI is set: %s; give -d AMQP_URI=... instead", hide_password(uri))
    nameko_config.setup(values)
    return settings_of()


def make_runner(settings: "Settings", hooks: Sequence[object] = ()) -> "ServiceRunner":
    """Give a runner for services, nameko's where we stand in for it."""
    if stands_in_for_nameko():
        from rpcservice.compat.nameko.runners import ServiceRunner as NamekoRunner

        return NamekoRunner(settings, hooks=hooks)
    from rpcservice.core.runner import ServiceRunner

    return ServiceRunner(settings, hooks=hooks)
