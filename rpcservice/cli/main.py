"""``rpcservice``, the group of all commands, and how mistakes are shown."""

import sys
from collections.abc import Iterator, MutableMapping, Sequence
from importlib import import_module
from typing import Any

import click

from rpcservice import __version__
from rpcservice.cli.escapes import printable

_COMMANDS = ("run", "call", "emit", "dead-letters", "shell", "backdoor", "show-config", "test", "migrate")
"""Each in a module that is named as the command."""


class Commands(MutableMapping[str, click.Command]):
    """Commands by name; the module of one is imported when it is asked for, so that services start without the rest."""

    def __init__(self, names: Sequence[str]) -> None:
        self._known: dict[str, click.Command | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> click.Command:
        command = self._known[name]
        if command is None:
            attribute = name.replace("-", "_")
            command = self._known[name] = getattr(import_module(f"rpcservice.cli.{attribute}"), attribute)
        return command

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class Program(click.Group):
    """A group whose mistakes take one or two lines: exit code 2 for wrong usage, 1 for a failure."""

    def main(  # type: ignore[override]  # click's has overloads for values of standalone_mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        *,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, and end the process with its exit code."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, standalone_mode=False, **extra)
        except click.ClickException as exc:
            _show(exc)
            code = exc.exit_code
        except click.Abort:
            click.echo("Stopped.", err=True)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)


def _show(exc: click.ClickException) -> None:
    click.echo(f"Error: {printable(exc.format_message(), has_lines=True)}", err=True)
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        click.echo(f"Try: {exc.ctx.command_path} --help", err=True)


@click.group(
    cls=Program,
    commands=Commands(_COMMANDS),
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="rpcservice", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Services that talk by RPC and events.

    \b
    Example:
      rpcservice run hello.py --broker memory://
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)
