"""nameko 3's arguments, for commands of others: ``@argument_services()``."""

from functools import partial

import click

__all__ = ("argument_services",)

argument_services = partial(
    click.argument, "services", nargs=-1, required=True, metavar="module[:service class]", type=str
)
