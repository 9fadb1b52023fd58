"""The group of commands; each is loaded when it is asked for."""

from importlib import import_module

import click

import rpcservice

COMMANDS = {
    "call": "Call an RPC method and print its result.",
    "emit": "Send an event.",
    "run": "Run services.",
    "show-config": "Print the configuration as it is after defaults and variables.",
    "test": "Run pytest in a process that is patched for services on RabbitMQ.",
}


class LazyGroup(click.Group):
    """Finds a command's module by the command's name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rpcservice.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rpcservice.__version__, prog_name="rpcservice")
def main() -> None:
    """Run services that talk by RPC and events, and talk to them.

    \b
    Example: rpcservice run orders.py --broker memory://
    """
