"""Reads a service class once: its name, entrypoints and dependencies."""

import inspect
from dataclasses import dataclass
from typing import Any

from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import DECLARATIONS, Entrypoint
from rpcservice.errors import DeclarationError


@dataclass(frozen=True)
class ServiceDefinition:
    """What a service class declares."""

    cls: type
    name: str
    entrypoints: tuple[tuple[str, Entrypoint], ...]
    dependencies: tuple[tuple[str, DependencyProvider], ...]


def is_service(candidate: object) -> bool:
    """Say whether this is a class with a name of its own and at least one entrypoint."""
    return (
        inspect.isclass(candidate)
        and isinstance(getattr(candidate, "name", None), str)
        and any(hasattr(member, DECLARATIONS) for _, member in inspect.getmembers(candidate, inspect.isroutine))
    )


def read_service(cls: type) -> ServiceDefinition:
    """Give what a service class declares, its base classes' declarations included.

    Raises:
        DeclarationError: It is no class, its ``name`` cannot be used, or a dependency lacks its parentheses.
    """
    if not inspect.isclass(cls):
        raise DeclarationError(f"{cls!r} is not a class; a service is a class with a name")
    place = f"{cls.__module__}.{cls.__qualname__}"
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name:
        what = "has no service name" if not name else f"is named {name!r}, which is no text"
        raise DeclarationError(f'{place} {what}; give the class an attribute such as name = "orders"')
    if {"*", "#"} & set(name.split(".")):
        # In the binding of its queue they would stand for the names of other services.
        raise DeclarationError(f"{place} is named {name!r}; '*' and '#' cannot stand alone in a service's name")
    entrypoints = []
    for method_name, method in inspect.getmembers(cls, inspect.isroutine):
        for declaration in getattr(method, DECLARATIONS, ()):
            entrypoints.append((method_name, declaration))
    dependencies = []
    for key, value in inspect.getmembers(cls):
        if isinstance(value, DependencyProvider):
            dependencies.append((key, value))
        elif inspect.isclass(value) and issubclass(value, DependencyProvider) and not _is_defined_there(value, key):
            raise DeclarationError(f"{place}.{key} is the class {value.__name__}; write {key} = {value.__name__}(...)")
    return ServiceDefinition(cls, name, tuple(entrypoints), tuple(dependencies))


def _is_defined_there(value: type, key: str) -> bool:
    return value.__qualname__.endswith(f".{key}")


def method_signature(cls: type, method_name: str, *, follow_wrapped: bool = True) -> inspect.Signature:
    """Give a method's signature without ``self``.

    Args:
        cls: The service class.
        method_name: The method.
        follow_wrapped: Of a method that ``functools.wraps`` was used for, give the signature of the one within.
    """
    function: Any = inspect.getattr_static(cls, method_name)
    if isinstance(function, staticmethod):
        return inspect.signature(function.__func__, follow_wrapped=follow_wrapped)
    if isinstance(function, classmethod):
        function = function.__func__
    signature = inspect.signature(function, follow_wrapped=follow_wrapped)
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind is inspect.Parameter.VAR_POSITIONAL:
        return signature  # self is one of *args
    return signature.replace(parameters=parameters[1:])


def positional_range(signature: inspect.Signature) -> tuple[int, int] | None:
    """Give with how many positional arguments alone a call fits, or None where keywords are required."""
    least = most = 0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += required
        elif parameter.kind is parameter.VAR_POSITIONAL:
            most = 1 << 30
        elif parameter.kind is parameter.KEYWORD_ONLY and required:
            return None
    return least, most
