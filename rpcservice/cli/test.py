"""``rpcservice test``: pytest in a patched process."""

import sys

import click

from rpcservice.cli import common
from rpcservice.errors import MissingExtra


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
@common.without_traceback
def command(pytest_args: tuple[str, ...]) -> None:
    """Run pytest, patched for services on RabbitMQ before anything is imported. Takes pytest's own arguments.

    \b
    Example: rpcservice test tests/ -k orders
    """
    common.patch()
    common.look_here_for_modules()
    try:
        import pytest
    except ImportError as exc:
        raise MissingExtra("`rpcservice test` needs pytest; run: pip install pytest") from exc
    sys.exit(pytest.main(list(pytest_args)))
