"""``rpcservice show-config``: prints the configuration as services see it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rpcservice.cli.common import Command, config_options, read_settings

DEFAULT_FILE = "config.yaml"


@click.command("show-config", cls=Command)
@click.option("--all", "show_all", is_flag=True, help="Show the keys that are not set too, with their defaults.")
@config_options
def show_config(show_all: bool, config: str | None, define: Sequence[tuple[str, str]], broker: str | None) -> None:
    """Print the configuration as YAML, its variables replaced, checked, and passwords in URIs hidden.

    Without --config it reads config.yaml, where there is one.

    \b
    Example:
      AMQP_URI=amqp://localhost rpcservice show-config -c config.yaml
    """
    import yaml

    from rpcservice.config import KEYS

    if config is None and Path(DEFAULT_FILE).is_file():
        config = DEFAULT_FILE
    settings = read_settings(config, define, broker)
    shown = dict(settings.raw)
    if show_all:
        shown = {**{key.name: getattr(settings, key.attribute) for key in KEYS}, **shown}
    text = yaml.safe_dump(_presentable(shown), sort_keys=False, allow_unicode=True, default_flow_style=False)
    click.echo(text, nl=False)


def _presentable(value: Any) -> Any:
    """Give plain lists and mappings, passwords in URIs hidden, wherever they stand."""
    from rpcservice.config import hide_password

    if isinstance(value, Mapping):
        return {key: _presentable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_presentable(item) for item in value]
    return hide_password(value) if isinstance(value, str) and "://" in value else value
