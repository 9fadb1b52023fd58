"""``rpcservice``, the group of all commands, and how mistakes are shown."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from rpcservice import __version__
from rpcservice.cli.backdoor import backdoor
from rpcservice.cli.call import call
from rpcservice.cli.dead_letters import dead_letters
from rpcservice.cli.emit import emit
from rpcservice.cli.migrate import migrate
from rpcservice.cli.run import run
from rpcservice.cli.shell import shell
from rpcservice.cli.show_config import show_config
from rpcservice.cli.test import test


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
    click.echo(f"Error: {exc.format_message()}", err=True)
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        click.echo(f"Try: {exc.ctx.command_path} --help", err=True)


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
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


for command in (run, call, emit, dead_letters, shell, backdoor, show_config, test, migrate):
    main.add_command(command)
