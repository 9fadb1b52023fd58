from unittest.mock import MagicMock

import pytest

from rpcservice import DependencyProvider, ExtensionNotFound, ServiceContainer, WorkerContext
from rpcservice.testing import dummy, entrypoint_hook, replace_dependencies, restrict_entrypoints, worker_factory


class Rates(DependencyProvider):
    def setup(self) -> None:
        raise AssertionError("the rates need a server that tests do not have")

    def get_dependency(self, ctx: WorkerContext) -> "dict[str, float]":
        return {"eur": 1.0}


class Shop:
    name = "shop"

    rates = Rates()
    stock = Rates()

    @dummy
    def price(self, currency: str) -> float:
        return 10 * self.rates[currency]

    @dummy
    def count(self) -> object:
        return self.stock.count()


@pytest.fixture
def container() -> ServiceContainer:
    return ServiceContainer(Shop, {"AMQP_URI": "memory://stand-ins/"})


def test_worker_factory_puts_what_is_given_in_the_place_of_the_dependency() -> None:
    service = worker_factory(Shop, rates={"eur": 2.0})
    assert service.price("eur") == 20


def test_worker_factory_puts_a_mock_in_the_place_of_every_other_dependency() -> None:
    service = worker_factory(Shop, rates={})
    assert isinstance(service.stock, MagicMock)


def test_worker_factory_takes_a_false_value_as_it_is() -> None:
    assert worker_factory(Shop, stock=None).stock is None


def test_worker_factory_names_an_unknown_dependency_and_those_that_exist() -> None:
    with pytest.raises(ExtensionNotFound, match="service 'shop' has no dependency rate; it has: rates, stock"):
        worker_factory(Shop, rate={})


def test_replaced_dependencies_are_injected_and_the_real_ones_never_set_up(container: ServiceContainer) -> None:
    stock = replace_dependencies(container, "stock", rates={"eur": 3.0})
    stock.count.return_value = 7
    container.start()
    with entrypoint_hook(container, "price") as price, entrypoint_hook(container, "count") as count:
        assert (price("eur"), count()) == (30, 7)
    container.stop()


def test_several_names_give_their_mocks_in_order(container: ServiceContainer) -> None:
    stock, rates = replace_dependencies(container, "stock", "rates")
    injected = {provider.attr_name: provider.get_dependency(MagicMock()) for provider in container.dependencies}
    assert injected == {"stock": stock, "rates": rates}


def test_a_replacement_may_be_none(container: ServiceContainer) -> None:
    replace_dependencies(container, "stock", rates=None)
    rates = next(provider for provider in container.dependencies if provider.attr_name == "rates")
    assert rates.get_dependency(MagicMock()) is None


def test_a_name_given_both_ways_is_refused(container: ServiceContainer) -> None:
    with pytest.raises(RuntimeError, match="given both as a name and with a replacement: rates"):
        replace_dependencies(container, "rates", rates={})


def test_an_unknown_dependency_cannot_be_replaced(container: ServiceContainer) -> None:
    with pytest.raises(ExtensionNotFound, match="no dependency nothing, rate; it has: rates, stock"):
        replace_dependencies(container, "nothing", rate={})


def test_dependencies_of_a_running_container_cannot_be_replaced(container: ServiceContainer) -> None:
    replace_dependencies(container, "rates", "stock")
    container.start()
    with pytest.raises(RuntimeError, match="runs already; replace its dependencies before it starts"):
        replace_dependencies(container, "rates")
    container.stop()


def test_only_the_entrypoints_of_the_methods_named_are_left(container: ServiceContainer) -> None:
    restrict_entrypoints(container, "price")
    assert [entrypoint.method_name for entrypoint in container.entrypoints] == ["price"]


def test_an_unknown_entrypoint_cannot_be_kept(container: ServiceContainer) -> None:
    with pytest.raises(ExtensionNotFound, match="service 'shop' has no entrypoint prize; it has: count, price"):
        restrict_entrypoints(container, "prize")


def test_entrypoints_of_a_running_container_cannot_be_restricted(container: ServiceContainer) -> None:
    replace_dependencies(container, "rates", "stock")
    container.start()
    with pytest.raises(RuntimeError, match="restrict its entrypoints before it starts"):
        restrict_entrypoints(container, "price")
    container.stop()
