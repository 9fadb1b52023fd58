"""Extensions that are made of others, and shared ones."""

from typing import Any

import pytest

from rpcservice import DependencyProvider, Extension, ServiceContainer
from rpcservice.core.extension import ProviderCollector, SharedExtension, parts_of
from rpcservice.testing import FakeHost, dummy

_events: list[str] = []


@pytest.fixture(autouse=True)
def _forget_events() -> None:
    _events.clear()


class Noting:
    """Notes each step of its life."""

    def note(self, step: str) -> None:
        """Note one."""
        _events.append(f"{type(self).__name__}.{step}")

    def setup(self) -> None:
        """Note it."""
        self.note("setup")

    def start(self) -> None:
        """Note it."""
        self.note("start")

    def stop(self) -> None:
        """Note it."""
        self.note("stop")

    def kill(self) -> None:
        """Note it."""
        self.note("kill")


class Inner(Noting, Extension):
    """A part of a part."""


class Pool(Noting, ProviderCollector, SharedExtension):
    """What two providers share."""

    inner = Inner()

    def stop(self) -> None:
        """Note it, once all providers have left."""
        ProviderCollector.stop(self)
        self.note("stop")


class Session(Noting, DependencyProvider):
    """A provider that stands on the pool."""

    pool = Pool()

    def setup(self) -> None:
        """Join."""
        super().setup()
        self.pool.register_provider(self)

    def stop(self) -> None:
        """Leave."""
        super().stop()
        self.pool.unregister_provider(self)

    def get_dependency(self, ctx: Any) -> Any:
        """Give the provider itself."""
        return self


class Shop:
    """A service with two of them."""

    name = "shop"
    one = Session()
    other = Session()

    @dummy
    def work(self) -> None:
        """Do nothing."""


def test_a_shared_part_is_bound_once_for_a_container(config: dict[str, Any]) -> None:
    """However many extensions declare it."""
    container = ServiceContainer(Shop, config)
    one, other = container.dependencies
    assert one.pool is other.pool
    assert list(container.shared_extensions.values()) == [one.pool]


def test_two_containers_share_nothing(config: dict[str, Any]) -> None:
    """A shared extension is shared within a container."""
    first, second = ServiceContainer(Shop, config), ServiceContainer(Shop, config)
    assert first.dependencies[0].pool is not second.dependencies[0].pool


def test_a_part_of_a_part_is_bound_too(config: dict[str, Any]) -> None:
    """And knows its container under both names."""
    container = ServiceContainer(Shop, config)
    inner = container.dependencies[0].pool.inner
    assert inner.host is container
    assert inner.container is container
    assert inner in container.subextensions


def test_a_declaration_is_left_unbound(config: dict[str, Any]) -> None:
    """The class attribute stays what it was."""
    ServiceContainer(Shop, config)
    assert "host" not in vars(Session.pool)
    assert "host" not in vars(Pool.inner)


def test_parts_start_before_and_stop_after_who_declares_them(config: dict[str, Any]) -> None:
    """The inmost part first."""
    container = ServiceContainer(Shop, config)
    container.start()
    container.stop()
    assert _events == [
        *("Inner.setup", "Pool.setup", "Session.setup", "Session.setup"),
        *("Inner.start", "Pool.start", "Session.start", "Session.start"),
        *("Session.stop", "Session.stop", "Pool.stop", "Inner.stop"),
    ]


def test_a_kill_reaches_the_parts(config: dict[str, Any]) -> None:
    """Without waiting for who has registered with them."""
    container = ServiceContainer(Shop, config)
    container.start()
    _events.clear()
    container.kill()
    assert _events == ["Session.kill", "Session.kill", "Pool.kill", "Inner.kill"]


def test_declarations_with_other_sharing_keys_are_not_shared(config: dict[str, Any]) -> None:
    """The key may depend on what was declared."""

    class Named(SharedExtension):
        def __init__(self, key: str) -> None:
            self.key = key

        @property
        def sharing_key(self) -> Any:
            return type(self), self.key

    class First(DependencyProvider):
        part = Named("first")

    class Second(DependencyProvider):
        part = Named("second")

    class Third(DependencyProvider):
        part = Named("first")

    class Service:
        name = "service"
        first, second, third = First(), Second(), Third()

        @dummy
        def work(self) -> None:
            """Do nothing."""

    first, second, third = (provider.part for provider in ServiceContainer(Service, config).dependencies)
    assert first is third
    assert first is not second


def test_what_an_extension_refers_to_after_binding_is_no_part_of_it() -> None:
    """Only declarations are bound."""
    host = FakeHost()
    first = host.bind(Extension())
    second = Extension()
    second.friend = first  # type: ignore[attr-defined]
    assert list(parts_of(second)) == []
    assert host.bind(second).friend is first  # type: ignore[attr-defined]


def test_a_collector_waits_until_the_last_provider_has_left() -> None:
    """It says so when the time runs out before."""
    pool = FakeHost().bind(Pool())
    pool.register_provider("a")
    pool.register_provider("b")
    pool.unregister_provider("a")
    assert pool.wait_for_providers(0) is False
    pool.unregister_provider("b")
    pool.unregister_provider("never there")
    assert pool.wait_for_providers(0) is True
