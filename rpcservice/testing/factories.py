"""The plugin's fixtures that make containers and runners; another plugin may put its own in their place."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from rpcservice.errors import ConfigError

if TYPE_CHECKING:
    from rpcservice.config import Settings
    from rpcservice.core.container import ServiceContainer
    from rpcservice.core.runner import ServiceRunner

    GivenConfig = Mapping[str, Any] | Settings | None

_UNPATCHED = (
    "services on RabbitMQ run on greenlets, and this process is not patched for them; run "
    "`pytest -p rpcservice.testing.patch` (or put it into addopts), or `rpcservice test`. "
    "On the embedded broker, without @pytest.mark.broker, nothing needs patching"
)


@pytest.fixture
def container_factory(config: dict[str, Any]) -> "Iterator[Callable[..., ServiceContainer]]":
    """Make containers: ``container_factory(ServiceClass, config=None)``. What still runs after the test is killed.

    Keys of ``config`` are laid over those of the ``config`` fixture.
    """
    made: list[ServiceContainer] = []
    base = config

    def make(service_cls: type, config: "GivenConfig" = None, **options: Any) -> "ServiceContainer":
        from rpcservice.core.container import ServiceContainer

        made.append(ServiceContainer(service_cls, _settings(base, config), **options))
        return made[-1]

    yield make
    _end_all(made)


@pytest.fixture
def runner_factory(config: dict[str, Any]) -> "Iterator[Callable[..., ServiceRunner]]":
    """Make runners: ``runner_factory(*service_classes, config=None)``. What still runs after the test is killed.

    Keys of ``config`` are laid over those of the ``config`` fixture.
    """
    made: list[ServiceRunner] = []
    base = config

    def make(*service_classes: type, config: "GivenConfig" = None, **options: Any) -> "ServiceRunner":
        from rpcservice.core.runner import ServiceRunner

        made.append(ServiceRunner(_settings(base, config), **options))
        for service_cls in service_classes:
            made[-1].add_service(service_cls)
        return made[-1]

    yield make
    _end_all(made)


def _settings(base: Mapping[str, Any], given: "GivenConfig") -> "Settings":
    """Lay what a test gives over the fixture's configuration."""
    from rpcservice.config import make_settings

    settings: Settings = make_settings({**base, **given} if isinstance(given, Mapping) else given or base)
    if not settings.amqp_uri.startswith("memory:") and not _is_patched():
        raise ConfigError(_UNPATCHED)
    return settings


def _is_patched() -> bool:
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("socket"))


def _end_all(made: "list[Any]") -> None:
    for one in reversed(made):
        one.kill()
