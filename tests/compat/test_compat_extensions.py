"""nameko's extension API on our containers."""

from collections.abc import Iterator
from functools import wraps
from typing import Any
from unittest.mock import Mock

import pytest

import rpcservice
from rpcservice.compat.nameko.containers import ServiceContainer
from rpcservice.compat.nameko.extensions import (
    ENTRYPOINT_EXTENSIONS_ATTR,
    DependencyProvider,
    Entrypoint,
    Extension,
    ProviderCollector,
    SharedExtension,
    is_dependency,
    is_entrypoint,
    is_extension,
    iter_extensions,
    register_entrypoint,
)
from rpcservice.errors import DeclarationError


class Inner(Extension):
    """A part of a part."""


class Shared(ProviderCollector, SharedExtension):
    """Shared by all that declare it."""

    inner = Inner()


class Provider(DependencyProvider):
    """With arguments, a part, and state of its own."""

    shared = Shared()

    def __init__(self, host: str, *, port: int = 0) -> None:
        self.host = host
        self.port = port
        self.clients: dict[str, Any] = {}

    def get_dependency(self, worker_ctx: Any) -> Any:
        """Give the provider."""
        return self


class Hook(Entrypoint):
    """Never fires by itself."""


hook = Hook.decorator


class Service:
    """With all of them."""

    name = "service"
    one = Provider("localhost", port=1)
    other = Provider("elsewhere")

    @hook
    def bare(self) -> str:
        """Declared without parentheses."""
        return "bare"

    @hook(expected_exceptions=ValueError, sensitive_arguments="secret")
    def called(self, secret: str) -> str:
        """Declared with arguments."""
        return secret


@pytest.fixture
def container() -> Iterator[ServiceContainer]:
    """A container of the service, not started."""
    made = ServiceContainer(Service, {"AMQP_URI": "memory://"})
    yield made
    made.kill()


def by_name(container: ServiceContainer) -> dict[str, Any]:
    """Give the extensions by the attributes that declare them."""
    return {extension.attr_name: extension for extension in container.extensions}


def test_binding_calls_the_constructor_again(container: ServiceContainer) -> None:
    """With the arguments of the declaration, so that no two containers share what it makes."""
    one = by_name(container)["one"]
    assert (one.host, one.port) == ("localhost", 1)
    assert one.clients == {}
    assert one.clients is not Service.one.clients


def test_an_attribute_named_host_is_the_extensions_own(container: ServiceContainer) -> None:
    """Many providers keep the address of a server there."""
    assert [extension.host for extension in container.dependencies] == ["localhost", "elsewhere"]
    assert all(extension.container is container for extension in container.extensions)


def test_a_declaration_is_not_bound(container: ServiceContainer) -> None:
    """It has no container, and says so."""
    assert Service.one.is_bound() is False
    assert Service.one.container is None
    assert by_name(container)["one"].is_bound() is True
    assert "unbound" in repr(Service.one)
    assert "service.one" in repr(by_name(container)["one"])


def test_a_bound_extension_cannot_be_bound(container: ServiceContainer) -> None:
    """Its parts belong to its container."""
    with pytest.raises(RuntimeError, match="is bound already; bind the declaration instead"):
        by_name(container)["one"].bind(container, "again")


def test_a_shared_extension_is_there_once(container: ServiceContainer) -> None:
    """And so is what it is made of."""
    one, other = container.dependencies
    assert one.shared is other.shared  # type: ignore[attr-defined]
    assert [type(extension) for extension in container.subextensions] == [Inner, Shared]
    assert container.shared_extensions == {Shared: one.shared}  # type: ignore[attr-defined]


def test_an_extension_is_bound_to_a_stand_in_for_a_container() -> None:
    """As unit tests of extensions do."""
    stand_in = Mock(shared_extensions={}, service_name="stand-in")
    bound = Provider("localhost").bind(stand_in, "provider")
    assert bound.container is stand_in
    assert bound.attr_name == "provider"
    assert bound.shared.inner.container is stand_in
    assert Provider("elsewhere").bind(stand_in, "second").shared is bound.shared


def test_an_extension_is_bound_without_a_name() -> None:
    """As nameko's bare extensions are."""
    stand_in = Mock(shared_extensions={})
    assert Shared().bind(stand_in).container is stand_in


def test_a_container_can_be_put_in_place_by_hand() -> None:
    """Another way that unit tests have."""
    provider = Provider("localhost")
    provider.container = stand_in = Mock()
    assert provider.container is stand_in


def test_decorators_work_bare_and_called(container: ServiceContainer) -> None:
    """Both give the function itself."""
    assert Service().bare() == "bare"
    entrypoints = by_name(container)
    assert entrypoints["bare"].method_name == "bare"
    assert entrypoints["called"].expected_exceptions == (ValueError,)
    assert entrypoints["called"].sensitive_arguments == ("secret",)


def test_the_old_name_for_sensitive_arguments_works_with_a_warning() -> None:
    """As in nameko 2."""
    with pytest.warns(DeprecationWarning, match="sensitive_variables is called sensitive_arguments"):
        entrypoint = Hook(sensitive_variables=("password",))
    assert entrypoint.sensitive_arguments == ("password",)


def test_an_unknown_option_of_an_entrypoint_is_refused() -> None:
    """By name."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'retires'"):
        Hook(retires=3)


def test_an_entrypoint_is_registered_by_hand() -> None:
    """As decorators of others do."""

    def method(self: Any) -> None:
        """Do nothing."""

    entrypoint = Hook()
    register_entrypoint(method, entrypoint)
    assert entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR)


def test_extensions_are_told_apart(container: ServiceContainer) -> None:
    """By what they are."""
    extensions = by_name(container)
    one, bare = extensions["one"], extensions["bare"]
    assert [check(one) for check in (is_extension, is_dependency, is_entrypoint)] == [True, True, False]
    assert [check(bare) for check in (is_extension, is_dependency, is_entrypoint)] == [True, False, True]
    assert [check("text") for check in (is_extension, is_dependency, is_entrypoint)] == [False] * 3


def test_the_extensions_below_one_are_given_inmost_first(container: ServiceContainer) -> None:
    """Depth first."""
    one: Any = container.dependencies[0]
    assert list(iter_extensions(one)) == [one.shared.inner, one.shared]


def test_a_collector_waits_for_its_providers_at_the_stop(container: ServiceContainer) -> None:
    """Those who leave free it."""
    shared: Any = container.dependencies[0].shared  # type: ignore[attr-defined]
    shared.register_provider("one")
    container.backend.call_later(0.01, shared.unregister_provider, "one")
    shared.stop()
    assert shared.providers == set()


def test_the_declaration_of_a_provider_learns_its_attribute() -> None:
    """Decorators of others that are methods of the declaration ask it where its provider is injected."""

    class Named:
        name = "named"
        one = Provider("host")

    assert Named.one.attr_name is None
    ServiceContainer(Named, {"AMQP_URI": "memory://"})
    assert Named.one.attr_name == "one"


@pytest.mark.parametrize("decorate", [hook, hook(expected_exceptions=ValueError)])
def test_declarations_are_found_by_nameko_s_name_too(decorate: Any) -> None:
    """Class decorators of others look for methods that have some; static methods among them."""

    def method(self: Any) -> None:
        """Do nothing."""

    for member in (method, staticmethod(lambda: None)):
        decorated = decorate(member)
        assert decorated is member
        (declared,) = getattr(decorated, "__func__", decorated).nameko_entrypoints
        assert isinstance(declared, Hook)


def test_an_entrypoint_may_be_added_to_nameko_s_set() -> None:
    """Decorators of others do so; what is there already is not there twice."""

    class Service:
        name = "service"

        @hook
        def method(self) -> None:
            """Do nothing."""

    (first,) = Service.method.nameko_entrypoints
    second = Hook()
    for entrypoint in (first, second, second):
        Service.method.nameko_entrypoints.add(entrypoint)
    assert Service.method.nameko_entrypoints == {first, second}
    assert [type(one) for one in ServiceContainer(Service, {}).entrypoints] == [Hook, Hook]


def test_extensions_may_have_names_of_their_own() -> None:
    """Whatever they keep under them: nothing of ours stands there."""

    class Owner(DependencyProvider):
        parts: Any = ("a", "b")
        receive = 1

        def __init__(self, size: int) -> None:
            self.size = size
            self._arguments = None
            self._container = "a box"

        def setup(self) -> None:
            self.parts = None

    class Service:
        name = "service"
        owner = Owner(3)

    container = ServiceContainer(Service, {})
    (bound,) = container.dependencies
    container.setup()
    assert isinstance(bound, Owner)
    assert (bound.size, bound.parts, bound.container, bound._container) == (3, None, container, "a box")
    assert not Service.owner.is_bound()


def test_a_decorator_may_give_arguments_that_no_caller_gives() -> None:
    """What it wraps is not what is called."""

    def with_session(method: Any) -> Any:
        @wraps(method)
        def wrapper(self: Any, *args: Any) -> Any:
            return method(self, "session", *args)

        return wrapper

    class Wrapped:
        name = "wrapped"

        @hook
        @with_session
        def run(self, session: str, value: int) -> tuple[str, int]:
            return session, value

    container = ServiceContainer(Wrapped, {"AMQP_URI": "memory://"})
    (entrypoint,) = container.entrypoints
    entrypoint.check_signature((1,), {})
    assert container.run_worker(entrypoint, (1,)).result == ("session", 1)


def test_an_entrypoint_may_leave_out_the_constructor_of_its_base() -> None:
    """nameko's does nothing that is needed."""

    class Bare(Entrypoint):
        def __init__(self, topic: str) -> None:
            self.topic = topic

    class Working:
        name = "working"

        @Bare.decorator("news")
        def work(self) -> int:
            return 1

        @Bare.decorator("more")
        def fail(self) -> None:
            raise ValueError("failed")

    container = ServiceContainer(Working, {"AMQP_URI": "memory://"})
    entrypoints = {entrypoint.method_name: entrypoint for entrypoint in container.entrypoints}
    assert container.run_worker(entrypoints["work"]).result == 1
    assert isinstance(container.run_worker(entrypoints["fail"]).error, ValueError)
    assert entrypoints["work"].topic == "news"


def test_every_extension_says_whether_it_is_bound() -> None:
    """Also one that is neither a provider nor an entrypoint."""
    inner = Inner()
    assert repr(inner).startswith("<Inner [unbound] at 0x")
    assert repr(inner.bind(Mock())).startswith("<Inner at 0x")


def test_a_collector_needs_no_container() -> None:
    """Tests of shared extensions make one without."""
    collector = ProviderCollector()
    provider = object()
    collector.register_provider(provider)
    assert collector.wait_for_providers(0) is False
    collector.unregister_provider(provider)
    collector.stop()
    assert collector.wait_for_providers(0) is True


@pytest.mark.parametrize("kind", ["entrypoint", "provider"])
def test_a_container_of_our_own_says_what_hosts_a_service_of_nameko(kind: str) -> None:
    """Instead of failing where an extension asks it for what only nameko's has."""
    body = (
        {"work": Entrypoint.decorator(lambda self: None)} if kind == "entrypoint" else {"given": DependencyProvider()}
    )
    service_cls = type("Shop", (), {"name": "shop", **body})
    with pytest.raises(DeclarationError, match=r"\.Shop is written for nameko, .* `rpcservice run --nameko`"):
        rpcservice.ServiceRunner({"AMQP_URI": "memory://"}).add_service(service_cls)
