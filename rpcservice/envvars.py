"""YAML with environment variables: ``${NAME}`` and ``${NAME:default}`` in plain scalars, by nameko's rules."""

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from rpcservice.errors import ConfigError

_MAY_HOLD_ONE = re.compile(r".*\$\{.*\}.*", re.DOTALL)
_NAME = re.compile(r"[^}:\s]+")
_DEEPEST = 20
"""Values that hold variables again are followed so far; deeper, a variable surely holds itself."""


def substitute(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Put the values of variables, or their defaults, in the place of ``${NAME}`` and ``${NAME:default}``.

    A default holds when the variable is not set; it may hold braces and variables itself. Without default, a
    variable that is not set gives nothing. What is no such form stays as it is.

    Args:
        text: The text.
        environment: The variables; ``os.environ`` when not given.
    """
    values = os.environ if environment is None else environment
    parts = []
    position = 0
    while (start := text.find("${", position)) >= 0:
        name = _NAME.match(text, start + 2)
        end = _closing_brace(text, start + 2)
        after = name.end() if name else start
        if name is None or end < 0 or text[after] not in ":}":
            parts.append(text[position : start + 2])
            position = start + 2
            continue
        parts.append(text[position:start])
        default = text[after + 1 : end] if text[after] == ":" else ""
        value = values.get(name[0])
        parts.append(substitute(default, values) if value is None else value)
        position = end + 1
    parts.append(text[position:])
    return "".join(parts)


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return -1


class EnvLoader(yaml.SafeLoader):
    """A YAML loader that replaces variables in plain scalars, and by tag (``!env_var``, ``!raw_env_var``) in others."""

    depth = 0


def _construct(loader: EnvLoader, node: yaml.ScalarNode) -> Any:
    text: str = loader.construct_scalar(node)
    replaced = substitute(text)
    # Something like "${ S }" only looked like a variable.
    return text if replaced == text else load(replaced, loader.depth + 1)


def _construct_raw(loader: EnvLoader, node: yaml.ScalarNode) -> str:
    return substitute(loader.construct_scalar(node))


EnvLoader.add_implicit_resolver("!env_var", _MAY_HOLD_ONE, None)
EnvLoader.add_constructor("!env_var", _construct)
EnvLoader.add_constructor("!raw_env_var", _construct_raw)


def load(text: str, depth: int = 0) -> Any:
    """Parse YAML, its variables replaced.

    Args:
        text: The YAML document.
        depth: How many variables this text came out of.

    Raises:
        ConfigError: A variable holds itself.
        yaml.YAMLError: It is no YAML.
    """
    if depth > _DEEPEST:
        raise ConfigError(f"an environment variable holds itself: {text[:60]!r}; give it a value without ${{...}}")
    loader = EnvLoader(text)
    loader.depth = depth
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
