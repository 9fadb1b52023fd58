"""``rpcservice test``: runs pytest in a process that is patched for services on RabbitMQ."""

from collections.abc import Sequence
from importlib import import_module

import click

from rpcservice.cli.common import Command, nameko_option, stands_in_for_nameko
from rpcservice.cli.patching import patch
from rpcservice.errors import MissingExtra

# The command line has imported this package already, and nothing in it needs its assertions rewritten.
_QUIET = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")


@click.command(cls=Command, context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("arguments", nargs=-1, metavar="[PYTEST ARGUMENTS]...", type=click.UNPROCESSED)
@nameko_option
@click.pass_context
def test(ctx: click.Context, arguments: Sequence[str]) -> None:
    """Run pytest with the standard library patched, and exit with its code.

    Modules are found in the current folder, as by "rpcservice run" and "python -m pytest".

    \b
    Example:
      rpcservice test tests/ -x
    """
    patch()
    from rpcservice.cli.services import search_here

    search_here()
    try:
        pytest = import_module("pytest")
    except ImportError as exc:
        raise MissingExtra("rpcservice test needs pytest; install it with: pip install pytest") from exc
    # By name, and so before the plugins of installed packages, which may import nameko.
    plugins = ["-p", "rpcservice.compat.nameko.testing.pytest"] if stands_in_for_nameko() else []
    ctx.exit(pytest.main([*plugins, *arguments, *_QUIET]))
