"""``rpcservice show-config``: prints the configuration as services see it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rpcservice.cli.common import Command, config_options, read_settings

DEFAULT_FILE = "config.yaml"
HIDDEN = "***"
_SECRET_KEY = re.compile(r"passw(or)?d|secret|token|credential|(api|access|private|signing)_?key", re.IGNORECASE)


@click.command("show-config", cls=Command)
@click.option("--all", "show_all", is_flag=True, help="Show the keys that are not set too, with their defaults.")
@config_options
def show_config(show_all: bool, config: str | None, define: Sequence[tuple[str, str]], broker: str | None) -> None:
    """Print the configuration as YAML, its variables replaced, checked, and hidden what looks like a secret.

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


def _is_secret(key: Any, value: Any) -> bool:
    # A mapping under such a key is looked into; nothing and a switch give nothing away.
    is_plain = isinstance(value, str | int | float) and not isinstance(value, bool)
    return bool(value) and is_plain and isinstance(key, str) and _SECRET_KEY.search(key) is not None


def _presentable(value: Any) -> Any:
    """Give plain lists and mappings without passwords in URIs, and without what a key calls a secret."""
    from rpcservice.config import hide_password

    if isinstance(value, Mapping):
        return {key: HIDDEN if _is_secret(key, item) else _presentable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_presentable(item) for item in value]
    return hide_password(value) if isinstance(value, str) and "://" in value else value
