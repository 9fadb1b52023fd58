"""Tests in the form of nameko 3: fixtures lay their configuration over nameko.config."""

import nameko
import pytest
from kitchen import Kitchen, Pantry, Table
from nameko import config
from nameko.containers import ServiceContainer
from nameko.exceptions import UnknownService
from nameko.runners import run_services
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ClusterRpcClient, ServiceRpcClient
from nameko.testing.services import dummy, entrypoint_hook, entrypoint_waiter, worker_factory
from nameko.testing.utils import get_container


@pytest.fixture
def stock():
    with config.patch({"STOCK": {"egg": 3}}):
        yield


def test_unit():
    kitchen = worker_factory(Kitchen)
    kitchen.pantry.count.return_value = 1
    kitchen.cluster["pantry"]["count"].return_value = 2
    assert kitchen.cook("egg") is False
    kitchen.dispatch.assert_called_once_with("cooked", {"sku": "egg", "left": 1})


@config.patch({"STOCK": {"egg": 12}})
def test_patch_as_a_decorator(empty_config):
    assert config["STOCK"] == {"egg": 12}


def test_empty_config():
    with config.patch({}, clear=True):
        assert dict(config) == {}


def test_fixture_empty_config(empty_config):
    assert dict(nameko.config) == {}


@pytest.mark.usefixtures("rabbit_config", "web_config", "stock")
def test_runner(runner_factory):
    runner = runner_factory(Kitchen, Pantry, Table)
    runner.start()
    table, kitchen = get_container(runner, Table), get_container(runner, Kitchen)
    with entrypoint_waiter(table, "serve", timeout=10) as result, entrypoint_hook(kitchen, "cook") as cook:
        assert cook("egg") is True
    assert result.get() == 3


@pytest.mark.usefixtures("rabbit_config", "stock")
def test_standalone(container_factory, rabbit_uri):
    container_factory(Pantry).start()
    with ServiceRpcClient("pantry", timeout=10) as pantry:
        assert pantry.count("egg") == 3
    with ClusterRpcClient(context_data={"language": "de"}, timeout=10, uri=rabbit_uri) as cluster:
        assert cluster["pantry"]["count"]("egg") == 3
        assert cluster.pantry.count.call_async("egg").result() == 3
        with pytest.raises(ValueError):
            cluster.pantry()
        with pytest.raises(AttributeError):
            cluster.pantry.count.more.nothing()
        with pytest.raises(UnknownService):
            cluster.nobody.answers()


@pytest.mark.usefixtures("rabbit_config", "web_config")
def test_events(container_factory):
    container = container_factory(Table)
    container.start()
    dispatch = event_dispatcher()
    with entrypoint_waiter(container, "serve", timeout=10) as result:
        dispatch("kitchen", "cooked", {"sku": "egg", "left": 2})
    assert result.get() == 2


def test_a_config_for_a_container(container_factory):
    class Service:
        name = "service"

        @dummy
        def read(self):
            return config["MINE"]

    container = container_factory(Service, config={"MINE": 1})
    container.start()
    with entrypoint_hook(container, "read") as read:
        assert read() == 1


@pytest.mark.usefixtures("rabbit_config", "stock")
def test_run_services():
    with run_services(Pantry, Kitchen) as runner, entrypoint_hook(get_container(runner, Kitchen), "cook") as cook:
        assert cook("milk") is True


def test_mock_container(mock_container):
    assert mock_container.serializer == config["serializer"] == "json"
    assert isinstance(mock_container, ServiceContainer)


@pytest.mark.usefixtures("rabbit_config")
def test_web(container_factory, web_config, web_config_port, web_session):
    assert config["WEB_SERVER_ADDRESS"] == f"127.0.0.1:{web_config_port}"
    container_factory(Table).start()
    assert web_session.get("/menu").text == "welcome"


@pytest.mark.usefixtures("rabbit_config")
def test_amqp_uri(amqp_uri, rabbit_uri):
    assert amqp_uri == rabbit_uri == config["AMQP_URI"]
