"""Finds the parts of what a test has started."""

from typing import Any, TypeVar

from rpcservice.core.container import ServiceContainer
from rpcservice.core.extension import Extension
from rpcservice.core.runner import ServiceRunner

X = TypeVar("X", bound=Extension)

_ABSENT = object()


def get_extension(container: ServiceContainer, extension_cls: type[X], **attributes: Any) -> X | None:
    """Give a container's first extension of a class, whose attributes have these values; None where there is none."""
    for extension in container.extensions:
        if isinstance(extension, extension_cls) and all(
            getattr(extension, name, _ABSENT) == value for name, value in attributes.items()
        ):
            return extension
    return None


def get_container(runner: ServiceRunner, service_cls: type) -> ServiceContainer | None:
    """Give the container of a runner that hosts a service class; None where there is none."""
    for container in runner.service_map.values():
        if container.service_cls is service_cls:
            return container
    return None
