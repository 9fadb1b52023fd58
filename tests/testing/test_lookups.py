"""get_extension and get_container."""

from rpcservice import ServiceContainer, ServiceRunner
from rpcservice.core.dependency import Config
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.testing import dummy, get_container, get_extension


class Orders:
    name = "orders"

    config = Config()

    @dummy
    def place(self) -> None: ...

    @dummy
    def cancel(self) -> None: ...


class Products:
    name = "products"

    @dummy
    def price(self) -> None: ...


def test_an_extension_is_found_by_its_class() -> None:
    container = ServiceContainer(Orders)
    assert get_extension(container, Config) is container.dependencies[0]


def test_an_extension_is_found_by_its_attributes() -> None:
    container = ServiceContainer(Orders)
    found = get_extension(container, Entrypoint, method_name="place")
    assert found is not None
    assert (found.method_name, found.container) == ("place", container)


def test_an_extension_that_is_not_there_is_none() -> None:
    """Nor is an attribute that no extension has an error."""
    container = ServiceContainer(Orders)
    assert get_extension(container, Entrypoint, method_name="refund") is None
    assert get_extension(container, Entrypoint, colour="red") is None


def test_a_container_is_found_by_its_service() -> None:
    runner = ServiceRunner()
    runner.add_service(Orders)
    products = runner.add_service(Products)
    assert get_container(runner, Products) is products


def test_a_container_that_is_not_there_is_none() -> None:
    assert get_container(ServiceRunner(), Products) is None
