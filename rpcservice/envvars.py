"""YAML with environment variables: ``${NAME}`` and ``${NAME:default}`` in plain scalars, by nameko's rules."""

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from rpcservice.errors import ConfigError

MAY_HOLD_ONE = re.compile(r".*\$\{.*\}.*", re.DOTALL)
_NAME = re.compile(r"[^{}:\s]+")
_DEEPEST = 20
"""Values that hold variables again are followed so far; deeper, a variable surely holds itself."""
_LONGEST = 100_000
"""Characters that a text may grow to when the variables that its variables hold are replaced."""


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
    if replaced == text:
        return text  # something like "${ S }" only looked like a variable
    if loader.depth >= _DEEPEST or (loader.depth and len(replaced) > _LONGEST):
        raise _HoldsItself(problem=f"a variable in {_short(text)} holds itself; give it another value")
    try:
        return _load(replaced, loader.depth + 1)
    except _HoldsItself as exc:
        raise _HoldsItself(problem=exc.problem, problem_mark=node.start_mark) from exc
    except yaml.YAMLError as exc:
        if loader.depth:
            raise  # the place in the file is known one level up
        # Its value is not shown: it may be a secret.
        problem = f"with its variables replaced, {_short(text)} is no YAML: {getattr(exc, 'problem', None) or exc}"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from exc


class _HoldsItself(yaml.MarkedYAMLError):
    """Raised for a variable that can be replaced for ever."""


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}..."


def _construct_raw(loader: EnvLoader, node: yaml.ScalarNode) -> str:
    return substitute(loader.construct_scalar(node))


EnvLoader.add_implicit_resolver("!env_var", MAY_HOLD_ONE, None)
EnvLoader.add_constructor("!env_var", _construct)
EnvLoader.add_constructor("!raw_env_var", _construct_raw)


def _load(text: str, depth: int) -> Any:
    loader = EnvLoader(text)
    loader.depth = depth
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def load(text: str, source: str = "configuration") -> Any:
    """Parse YAML, its variables replaced.

    Args:
        text: The YAML document.
        source: Where it came from, for messages.

    Raises:
        ConfigError: It is no YAML, or a variable holds itself.
    """
    try:
        return _load(text, 0)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        place = f"{source}, line {mark.line + 1}" if mark else source
        raise ConfigError(f"{place}: {exc.problem or exc.context}{_hint(text, mark)}") from exc
    except (yaml.YAMLError, RecursionError) as exc:
        raise ConfigError(f"{source}: is no valid YAML: {' '.join(str(exc).split())}") from exc


def _hint(text: str, mark: "yaml.Mark | None") -> str:
    """Tell of the one trap that nameko's form has in YAML."""
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    if re.search(r"[\[{,].*\$\{", line) is None or "!env_var" in line:
        return ""
    return '; inside [...] and {...} write !env_var "${NAME}", or put each item on a line of its own'
