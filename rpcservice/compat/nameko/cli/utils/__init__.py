"""nameko 3's helpers for commands of others."""

from collections.abc import Mapping
from typing import IO, Any
from warnings import warn

import yaml

from rpcservice.cli.services import find_services
from rpcservice.compat.nameko._config import Config
from rpcservice.compat.nameko._config import config as global_config
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.constants import AMQP_URI_CONFIG_KEY
from rpcservice.compat.nameko.exceptions import nameko_errors
from rpcservice.envvars import MAY_HOLD_ONE, load, substitute
from rpcservice.errors import CommandError, DeclarationError

__all__ = (
    "import_services",
    "load_config",
    "setup_config",
    "setup_yaml_parser",
)

__getattr__ = missing_names(__name__, {"interact": "use code.interact of the standard library"})


def import_services(module_name: str) -> list[type]:
    """Give the services of ``module`` or ``module:Class``.

    Raises:
        ValueError: There is none, or the module cannot be imported.
    """
    try:
        return find_services([module_name])
    except (CommandError, DeclarationError) as exc:
        raise ValueError(str(exc)) from exc


@nameko_errors()
def load_config(config_file: IO[Any]) -> Any:
    """Give what a YAML file says, its environment variables replaced.

    Raises:
        ConfigurationError: It is no YAML.
    """
    content = config_file.read()
    return load(content.decode() if isinstance(content, bytes) else content, getattr(config_file, "name", "config"))


def setup_config(
    config_file: IO[Any] | None, define: Mapping[str, Any] | None = None, broker: str | None = None
) -> Config:
    """Lay a configuration over the global one, and give that.

    Args:
        config_file: A YAML file.
        define: Values that win over those of the file.
        broker: Deprecated: a broker for where none is named.

    Raises:
        ConfigurationError: The file is no YAML.
    """
    if config_file:
        global_config.update(load_config(config_file) or {})
    if broker:
        warn("broker is deprecated; set AMQP_URI in the configuration", DeprecationWarning, stacklevel=2)
        global_config.setdefault(AMQP_URI_CONFIG_KEY, broker)
    global_config.update(define or {})
    return global_config


def setup_yaml_parser() -> None:
    """Have PyYAML's ``SafeLoader`` replace environment variables, in the whole process."""
    yaml.add_implicit_resolver("!env_var", MAY_HOLD_ONE, Loader=yaml.SafeLoader)
    yaml.add_constructor("!env_var", _construct, yaml.SafeLoader)
    yaml.add_constructor("!raw_env_var", _construct_raw, yaml.SafeLoader)


def _construct(loader: yaml.SafeLoader, node: Any) -> Any:
    text: str = loader.construct_scalar(node)
    replaced = substitute(text)
    return text if replaced == text else load(replaced)


def _construct_raw(loader: yaml.SafeLoader, node: Any) -> str:
    return substitute(loader.construct_scalar(node))
