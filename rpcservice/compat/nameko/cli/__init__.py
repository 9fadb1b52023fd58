"""nameko's command line: rpcservice's commands, standing in for nameko."""

from typing import Any

import click

from rpcservice.cli.backdoor import backdoor
from rpcservice.cli.main import Program
from rpcservice.cli.run import run as run_command
from rpcservice.cli.shell import shell as shell_command
from rpcservice.cli.show_config import show_config
from rpcservice.cli.test import test
from rpcservice.compat import nameko
from rpcservice.compat.nameko._missing import missing_names

__all__ = ("cli",)


__getattr__ = missing_names(__name__)


class _Nameko(Program):
    """The group of the commands that nameko has."""

    def invoke(self, ctx: click.Context) -> Any:
        """Stand in for nameko, and run a command."""
        nameko.install()
        return super().invoke(ctx)


cli = _Nameko(
    "nameko",
    commands=[backdoor, show_config, run_command, shell_command, test],
    help="Command line interface to services, as nameko has it.",
)
cli = click.version_option(nameko.__version__, "-v", "--version", prog_name="nameko")(cli)
