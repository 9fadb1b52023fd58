"""The arguments of a call as they may be shown: what an entrypoint declares as sensitive is hidden."""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rpcservice.core.entrypoint import Entrypoint

REDACTED = "********"
"""What is shown in the place of a sensitive argument."""

# A key may have any characters but these: one with a hyphen is hidden as well as others.
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def get_redacted_args(entrypoint: Entrypoint, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Give the arguments of a call by their names, defaults included, without what is sensitive.

    What ``sensitive_arguments`` names and the call does not have is passed over. A name that the method takes by
    its ``**kwargs`` is hidden there.

    Args:
        entrypoint: The bound entrypoint that fired.
        args: Positional arguments of the method.
        kwargs: Keyword arguments of the method.

    Raises:
        TypeError: The arguments do not fit the method.
    """
    bound = entrypoint.method_signature.bind(*args, **kwargs)
    bound.apply_defaults()
    sensitive, shown = entrypoint.sensitive_arguments, dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            shown[parameter.name] = redact(shown[parameter.name], sensitive)
    return redact(shown, sensitive)


def redact(arguments: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Give arguments without what the paths name; the objects that are given are left as they are.

    Args:
        arguments: Values by name.
        paths: Such as ``password``, ``card.number`` or ``cards[0].number``.
    """
    shown = dict(arguments)
    for path in paths:
        steps = [int(index) if index else name for name, index in _STEP.findall(path)]
        if steps and steps[0] in shown:
            shown = _without(shown, steps)
    return shown


def _without(value: Any, steps: list[str | int]) -> Any:
    """Give a copy of a container without what the steps lead to; the container itself where they lead nowhere."""
    step, rest = steps[0], steps[1:]
    try:
        inner = value[step]
        changed: Any = list(value) if isinstance(value, tuple) else copy.copy(value)
        changed[step] = _without(inner, rest) if rest else REDACTED
    except (KeyError, IndexError, TypeError):
        return value
    return tuple(changed) if isinstance(value, tuple) else changed
