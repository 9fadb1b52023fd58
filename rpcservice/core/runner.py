"""ServiceRunner: several services in one process, over one set of resources."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rpcservice.concurrency import green
from rpcservice.config import Settings, import_named, make_settings
from rpcservice.core.container import ServiceContainer
from rpcservice.core.lifecycle import start_containers, stop_containers
from rpcservice.core.resource import Resources
from rpcservice.errors import ConfigError, DeclarationError

_log = logging.getLogger(__name__)


class ServiceRunner:
    """Runs several services as one: they start together, share connections, and stop together.

    Args:
        config: Settings, or a mapping with their keys.
        hooks: Around-hooks for every service.

    Raises:
        ConfigError: A setting is wrong.
    """

    container_cls: type[ServiceContainer] = ServiceContainer
    """What hosts each service, unless ``SERVICE_CONTAINER_CLS`` names a class."""

    def __init__(self, config: Mapping[str, Any] | Settings | None = None, *, hooks: Sequence[object] = ()) -> None:
        self.config = make_settings(config if config is not None else {})
        if self.config.service_container_cls is not None:
            self.container_cls = _container_class(self.config.service_container_cls)
        self.backend = green()
        self.resources = Resources(self.config, self.backend)
        self.service_map: dict[str, ServiceContainer] = {}
        self.hooks = list(hooks)
        self._one_ended = self.backend.event()
        self._is_killed = False
        self._is_stopping = False

    @property
    def containers(self) -> dict[str, ServiceContainer]:
        """The containers by the names of their services."""
        return self.service_map

    @property
    def service_names(self) -> list[str]:
        """The names of the services, in the order in which they were added."""
        return list(self.service_map)

    def add_service(self, cls: type) -> ServiceContainer:
        """Add a service; gives its container.

        Raises:
            DeclarationError: The class cannot be hosted, or its name is taken.
        """
        container = self._make_container(cls)
        taken = self.service_map.get(container.service_name)
        if taken is not None:
            raise DeclarationError(
                f"two services are named {container.service_name!r}: {_place(taken.service_cls)} and {_place(cls)}; "
                "rename one"
            )
        container._watch_end = lambda _: self._one_ended.set()
        self.service_map[container.service_name] = container
        return container

    def _make_container(self, cls: type) -> ServiceContainer:
        return self.container_cls(cls, self.config, resources=self.resources, hooks=self.hooks)

    def start(self) -> None:
        """Start all services; gives control back when they are up.

        Raises:
            BrokerUnavailable: The broker could not be reached in time.
        """
        _log.info("starting services: %s", ", ".join(self.service_map))
        start_containers(list(self.service_map.values()), self.resources)
        _log.info("services are up: %s", ", ".join(self.service_map))

    def stop(self) -> None:
        """Stop all services in order; see :func:`~rpcservice.core.lifecycle.stop_containers`."""
        if self._is_killed:
            return
        if not self._is_stopping:
            self._is_stopping = True
            _log.info("stopping services: %s", ", ".join(self.service_map))
            stop_containers(list(self.service_map.values()), self.resources)
            _log.info("services have stopped: %s", ", ".join(self.service_map))
        for container in self.service_map.values():
            container._ended.wait()

    def kill(self) -> None:
        """End all services without waiting; unfinished work goes back to its queue."""
        self._is_killed = True
        if any(container.pool.runs_here() for container in self.service_map.values()):
            # The worker that calls ends with the others, and must not leave the rest undone.
            self.backend.spawn(self.kill)
            self.backend.event().wait()
            return
        for container in self.service_map.values():
            container.kill()
        self.resources.kill()

    def wait(self) -> None:
        """Wait until the services have ended. When one dies, the others are stopped and its error is raised."""
        if not self.service_map:
            return
        self._one_ended.wait()
        self.stop()
        errors = []
        for container in self.service_map.values():
            try:
                container.wait()
            except Exception as exc:
                errors.append(exc)
        if errors:
            raise errors[0]


def _container_class(path: str) -> type[ServiceContainer]:
    cls = import_named(path, "SERVICE_CONTAINER_CLS")
    if not (isinstance(cls, type) and issubclass(cls, ServiceContainer)):
        raise ConfigError(f"SERVICE_CONTAINER_CLS is {path!r}, which is {cls!r}; give a subclass of ServiceContainer")
    return cls


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@contextmanager
def run_services(
    *services: type, config: Mapping[str, Any] | Settings | None = None, kill_on_exit: bool = False
) -> Iterator[ServiceRunner]:
    """Run services for the time of a ``with`` block; gives the runner.

    Args:
        services: Service classes.
        config: Settings, or a mapping with their keys.
        kill_on_exit: Kill them at the end instead of stopping them in order.
    """
    runner = ServiceRunner(config)
    for service in services:
        runner.add_service(service)
    runner.start()
    try:
        yield runner
    except BaseException:
        runner.kill()
        raise
    if kill_on_exit:
        runner.kill()
    else:
        runner.stop()
