"""nameko's runner, with the configuration as an argument (2.x) or global (3.x)."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pydoc import ErrorDuringImport
from typing import Any, cast

from rpcservice.compat.nameko._config import read_settings
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.containers import ServiceContainer, get_container_cls, get_service_name, lent
from rpcservice.compat.nameko.exceptions import nameko_errors
from rpcservice.config import Settings, import_named
from rpcservice.core import runner
from rpcservice.core.resource import Resources

__all__ = (
    "ServiceRunner",
    "run_services",
)

__getattr__ = missing_names(__name__)


class ServiceRunner(runner.ServiceRunner):
    """Runs several services as one.

    Args:
        config: A configuration; None for the global one.
        hooks: Around-hooks for every service.

    Raises:
        ConfigurationError: A setting is wrong.
    """

    @nameko_errors()
    def __init__(self, config: Mapping[str, Any] | Settings | None = None, *, hooks: Sequence[object] = ()) -> None:
        settings = read_settings(config)
        self.container_cls = _named_container_cls(settings)
        super().__init__(settings, hooks=hooks)

    def add_service(self, cls: type) -> ServiceContainer:
        """Add a service; gives its container. To add the same class again changes nothing, as in nameko.

        Raises:
            ConfigurationError: The class cannot be hosted.
            DeclarationError: Another class has its name.
        """
        known: Any = self.service_map.get(get_service_name(cls))
        added: Any = known if getattr(known, "service_cls", None) is cls else super().add_service(cls)
        return cast(ServiceContainer, added)

    @nameko_errors()
    def start(self) -> None:
        """Start all services.

        Raises:
            ConfigurationError: A setting is wrong.
            BrokerUnavailable: The broker could not be reached in time.
        """
        super().start()

    def _make_container(self, cls: type) -> ServiceContainer:
        return make_container(cls, read_settings(self.config), self.resources, self.hooks)

    @property
    def containers(self) -> Any:
        """The containers."""
        return self.service_map.values()


def _named_container_cls(settings: Mapping[str, Any]) -> type[ServiceContainer]:
    try:
        return get_container_cls(settings)
    except (ImportError, ErrorDuringImport):
        # It says only that there is no such thing; this says why, and which setting it is.
        return cast(type[ServiceContainer], import_named(settings["SERVICE_CONTAINER_CLS"], "SERVICE_CONTAINER_CLS"))


def make_container(
    service_cls: type, settings: Mapping[str, Any], resources: Resources | None = None, hooks: Sequence[object] = ()
) -> ServiceContainer:
    """Make the container that a configuration asks for, whose class may take nameko's arguments only.

    Args:
        service_cls: The service class.
        settings: The configuration.
        resources: Those of the runner.
        hooks: Around-hooks.
    """
    container_cls: Callable[..., ServiceContainer] = get_container_cls(settings)
    token = lent.set((resources, hooks))
    try:
        return container_cls(service_cls, settings) if _takes(container_cls, 2) else container_cls(service_cls)
    finally:
        lent.reset(token)


def _takes(function: Callable[..., Any], number: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * number)
    except TypeError:
        return False
    return True


@contextmanager
def run_services(*config_and_services: Any, kill_on_exit: bool = False) -> Iterator[ServiceRunner]:
    """Run services for the time of a ``with`` block; gives the runner.

    Args:
        config_and_services: Service classes; before them, as in nameko 2, a configuration.
        kill_on_exit: Kill them at the end instead of stopping them in order.
    """
    services = list(config_and_services)
    config = services.pop(0) if services and isinstance(services[0], Mapping) else None
    runner = ServiceRunner(config)
    for service in services:
        runner.add_service(service)
    runner.start()
    try:
        yield runner
    except BaseException:
        runner.kill()
        raise
    end = runner.kill if kill_on_exit else runner.stop
    end()
