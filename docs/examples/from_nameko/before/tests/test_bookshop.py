"""Tests of the shop, without and with a broker."""

import pytest
from bookshop.errors import SoldOut
from bookshop.services import Catalogue, Journal, Orders
from nameko.testing.services import entrypoint_hook, entrypoint_waiter, worker_factory

CUSTOMER = {"name": "Ada", "email": "ada@example.com"}


def test_an_order_reserves_a_copy_and_tells_so():
    orders = worker_factory(Orders)
    assert orders.place("Emma", CUSTOMER) == "Emma is on its way to Ada"
    orders.catalogue.reserve.assert_called_once_with("Emma")
    orders.dispatch.assert_called_once_with("placed", {"title": "Emma", "customer": "Ada"})


@pytest.fixture
def shop(runner_factory, rabbit_config):
    config = {**(rabbit_config or {}), "BOOKS": {"Dune": 1, "Emma": 3}}
    runner = runner_factory(config, Catalogue, Orders, Journal)
    runner.start()
    return {container.service_name: container for container in runner.containers}


def test_the_journal_hears_of_an_order(shop):
    with entrypoint_waiter(shop["journal"], "note"), entrypoint_hook(shop["orders"], "place") as place:
        place("Emma", CUSTOMER)
    assert "Ada: Emma" in Journal.lines


def test_a_book_that_is_sold_out_is_refused(shop):
    with entrypoint_hook(shop["orders"], "place") as place:
        place("Dune", CUSTOMER)
        with pytest.raises(SoldOut):
            place("Dune", CUSTOMER)
