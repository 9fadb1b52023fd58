"""nameko 3's options, for commands of others: ``@option_config_file()``."""

from functools import partial

import click

from rpcservice.compat.nameko.cli.click_paramtypes import HOST_PORT, KEY_VAL

__all__ = (
    "option_backdoor_port",
    "option_broker",
    "option_config_file",
    "option_define",
    "option_interface",
)

option_broker = partial(click.option, "--broker", metavar="BROKER", help="Deprecated: set AMQP_URI by --define.")
option_config_file = partial(
    click.option,
    "-c",
    "--config",
    "config_file",
    type=click.File("rb"),
    metavar="CONFIG",
    help="The YAML configuration file.",
)
option_define = partial(
    click.option,
    "-d",
    "--define",
    type=KEY_VAL,
    multiple=True,
    metavar="KEY=VALUE",
    callback=lambda ctx, param, value: dict(value),
    help="Set a key of the configuration; may be given more than once.",
)
option_backdoor_port = partial(
    click.option, "--backdoor-port", type=HOST_PORT, help="Serve a Python console at [HOST:]PORT."
)
option_interface = partial(click.option, "--interface", type=click.Choice(["bpython", "ipython", "plain"]))
