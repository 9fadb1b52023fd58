"""The pytest plugin: containers, runners and brokers as fixtures. Patches nothing, and imports little until asked."""

import importlib.util
import secrets
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rpcservice.core.container import ServiceContainer
    from rpcservice.testing.callers import Dispatcher
    from rpcservice.testing.rabbitmq import RabbitMQNode
    from rpcservice.testing.vhosts import Vhosts


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add nameko's fixtures where we stand in for nameko."""
    nameko = sys.modules.get("rpcservice.compat.nameko")
    if nameko is not None and nameko.is_installed():
        pluginmanager.import_plugin("rpcservice.compat.nameko.testing.pytest")


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's marker known, let eventlet's own deprecation warning through, and add the factories."""
    config.addinivalue_line("markers", "broker: needs a RabbitMQ server; a private node is started for the session")
    config.addinivalue_line("filterwarnings", r"ignore:\s*Eventlet is deprecated:Warning")
    # Unless another plugin, which has factories of its own, has it blocked.
    config.pluginmanager.import_plugin("rpcservice.testing.factories")


@pytest.fixture(scope="session")
def rabbitmq() -> "Iterator[RabbitMQNode]":
    """The session's private RabbitMQ node, started when it is first asked for.

    It listens with TLS too where the ``cryptography`` package is installed.
    """
    from rpcservice.testing.rabbitmq import RabbitMQNode

    with RabbitMQNode(tls=_has_certificates()) as node:
        yield node


@pytest.fixture(scope="session")
def _rabbitmq_to_break() -> "Iterator[RabbitMQNode]":
    from rpcservice.testing.rabbitmq import RabbitMQNode

    with RabbitMQNode(tls=_has_certificates()) as node:
        yield node


@pytest.fixture
def rabbitmq_node(_rabbitmq_to_break: "RabbitMQNode") -> "RabbitMQNode":
    """A private RabbitMQ node, empty and running, that this test may stop, kill and restart.

    It is another one than ``rabbitmq``; the next test that asks for it gets it emptied and running again.
    """
    _rabbitmq_to_break.reset()
    return _rabbitmq_to_break


@pytest.fixture(scope="session")
def _vhosts(rabbitmq: "RabbitMQNode") -> "Vhosts":
    from rpcservice.testing.vhosts import Vhosts

    return Vhosts(rabbitmq)


@pytest.fixture
def rabbitmq_uri(_vhosts: "Vhosts") -> Iterator[str]:
    """The URI of an empty virtual host of the session's node that only this test uses."""
    uri = _vhosts.take()
    yield uri
    _vhosts.give_back(uri)


@pytest.fixture
def broker_uri(request: pytest.FixtureRequest) -> Iterator[str]:
    """A broker that only this test uses: the embedded one, or with ``@pytest.mark.broker`` a RabbitMQ virtual host."""
    if request.node.get_closest_marker("broker") is not None:
        yield request.getfixturevalue("rabbitmq_uri")
        return
    host = secrets.token_hex(8)
    yield f"memory://{host}/"
    embedded = sys.modules.get("rpcservice.amqp.memory_broker")
    if embedded is not None:
        embedded.forget_broker(host)


@pytest.fixture
def config(broker_uri: str) -> dict[str, Any]:
    """The configuration of this test's services; web servers take a free port of this host."""
    return {"AMQP_URI": broker_uri, "WEB_SERVER_ADDRESS": "127.0.0.1:0"}


@pytest.fixture
def rpc(container_factory: "Callable[..., ServiceContainer]") -> Any:
    """A client for any service on this test's broker: ``rpc["orders"].place(sku)``, ``rpc.orders.place(sku)``."""
    from rpcservice.testing.callers import cluster_client

    return cluster_client(container_factory)


@pytest.fixture
def dispatch(container_factory: "Callable[..., ServiceContainer]") -> "Dispatcher":
    """Send an event on this test's broker: ``dispatch("orders", "order_placed", {...})``."""
    from rpcservice.testing.callers import Dispatcher

    return Dispatcher(container_factory)


def _has_certificates() -> bool:
    return importlib.util.find_spec("cryptography") is not None
