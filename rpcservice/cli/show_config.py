"""``rpcservice show-config``: prints what the configuration comes to."""

import click

from rpcservice.cli import common


@click.command()
@click.option("--all", "show_all", is_flag=True, help="Show the defaults of all other keys too.")
@common.config_options
@common.without_traceback
def command(show_all: bool, config_path: str | None, broker: str | None, defines: tuple[str, ...]) -> None:
    """Print the configuration as YAML, its variables replaced and checked; passwords in AMQP_URI are hidden.

    \b
    Example: rpcservice show-config -c config.yaml -d max_workers=50
    """
    import yaml

    from rpcservice.config import KEYS

    settings = common.read_config(config_path, broker, defines)
    shown = dict(settings.raw)
    if show_all:
        for key in KEYS:
            value = getattr(settings, key.attribute)
            shown.setdefault(key.name, list(value) if isinstance(value, tuple) else value)
    if isinstance(shown.get("AMQP_URI"), str):
        shown["AMQP_URI"] = common.hide_password(shown["AMQP_URI"])
    click.echo(yaml.safe_dump(shown, sort_keys=False, allow_unicode=True).rstrip() if shown else "{}")
