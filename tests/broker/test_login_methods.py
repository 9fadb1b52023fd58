"""LOGIN_METHOD, and login_method= of single clients: each SASL mechanism that RabbitMQ knows, on both kinds of link."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Exchange

from rpcservice import ClusterRpc, EventDispatcher, Publisher, ServiceContainer, ServiceRpc
from rpcservice import rpc as rpc_method
from rpcservice.errors import BrokerUnavailable, ConfigError
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import cluster_client

pytestmark = [pytest.mark.broker, pytest.mark.parametrize("link", ["frames", "channel"])]

Make = Callable[..., ServiceContainer]

CLIENT = "rpcservice-client"
"""To whom the client's certificate is made out."""


class Echo:
    name = "echo"

    @rpc_method
    def say(self, text: str) -> str:
        return text


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQNode]:
    """A node that takes a client's certificate for its login, with a user of that name."""
    settings = {
        "auth_mechanisms.1": "PLAIN",
        "auth_mechanisms.2": "AMQPLAIN",
        "auth_mechanisms.3": "EXTERNAL",
        "ssl_cert_login_from": "common_name",
    }
    with RabbitMQNode(tls=True, settings=settings, plugins=["rabbitmq_auth_mechanism_ssl"]) as node:
        rights = ", ".join(['<<".*">>'] * 3)
        made = node.evaluate(
            f'ok = rabbit_auth_backend_internal:add_user(<<"{CLIENT}">>, <<"unused">>, <<"test">>), '
            f'ok = rabbit_auth_backend_internal:set_permissions(<<"{CLIENT}">>, <<"/">>, {rights}, <<"test">>), true'
        )
        assert made is True
        yield node


def certificate(node: RabbitMQNode) -> dict[str, str]:
    files = node.certificates
    assert files is not None
    return {"ca_certs": str(files.ca), "certfile": str(files.client_cert), "keyfile": str(files.client_key)}


def logins(node: RabbitMQNode) -> set[tuple[str, str, bool]]:
    """Say who is connected, and how they have logged in."""
    rows = node._shell.rows("rabbit_networking:connection_info_all([user, auth_mechanism, ssl])")
    return {(row["user"], row["auth_mechanism"], row["ssl"]) for row in rows}


@pytest.mark.parametrize(
    ("method", "expected"),
    [(None, "PLAIN"), ("PLAIN", "PLAIN"), ("AMQPLAIN", "AMQPLAIN")],
)
def test_services_log_in_with_a_password(
    container_factory: Make, node: RabbitMQNode, link: str, method: str | None, expected: str
) -> None:
    config = {"AMQP_URI": node.uri, "LOGIN_METHOD": method, "link": link}
    container = container_factory(Echo, config)
    container.start()
    assert cluster_client(lambda cls: container_factory(cls, config))["echo"].say("hello") == "hello"
    assert logins(node) == {("guest", expected, False)}


def test_services_log_in_with_a_certificate(container_factory: Make, node: RabbitMQNode, link: str) -> None:
    uri = f"amqps://localhost:{node.tls_port}//"
    config = {"AMQP_URI": uri, "AMQP_SSL": certificate(node), "LOGIN_METHOD": "EXTERNAL", "link": link}
    container_factory(Echo, config).start()
    assert cluster_client(lambda cls: container_factory(cls, config))["echo"].say("hello") == "hello"
    assert logins(node) == {(CLIENT, "EXTERNAL", True)}


def test_without_a_certificate_external_is_refused(container_factory: Make, node: RabbitMQNode, link: str) -> None:
    config = {"AMQP_URI": node.uri, "LOGIN_METHOD": "EXTERNAL", "link": link, "startup_timeout": 0.5}
    with pytest.raises(BrokerUnavailable, match=r"no connection to the broker at .* within 0\.5 s: "):
        container_factory(Echo, config).start()


def test_each_client_may_log_in_in_its_own_way(container_factory: Make, node: RabbitMQNode, link: str) -> None:
    elsewhere: dict[str, Any] = {
        "uri": f"amqps://localhost:{node.tls_port}//",
        "ssl": certificate(node),
        "login_method": "EXTERNAL",
    }

    class Bridge:
        name = "bridge"
        one = ServiceRpc("echo", **elsewhere)
        any = ClusterRpc(**elsewhere)
        dispatch = EventDispatcher(**elsewhere)
        publish = Publisher(Exchange("orders"), **elsewhere)

        @rpc_method
        def use(self) -> list[str]:
            self.dispatch("used", 1)
            self.publish(1)
            return [self.one.say("one"), self.any.echo.say("any")]

    near = {"AMQP_URI": node.vhost("near"), "link": link}
    container_factory(Echo, {"AMQP_URI": node.uri, "link": link}).start()
    container_factory(Bridge, near).start()
    assert cluster_client(lambda cls: container_factory(cls, near))["bridge"].use() == ["one", "any"]
    assert (CLIENT, "EXTERNAL", True) in logins(node)
    assert {"bridge.events", "orders"} <= set(node.exchanges("/"))
    assert not {"bridge.events", "orders"} & set(node.exchanges("near"))
    node.delete_vhost("near")


def test_a_login_method_that_does_not_exist_is_refused(container_factory: Make, node: RabbitMQNode, link: str) -> None:
    class Bridge:
        name = "bridge"
        there = ServiceRpc("echo", uri=node.uri, login_method="SECRET")

        @rpc_method
        def use(self) -> None: ...

    with pytest.raises(ConfigError, match="LOGIN_METHOD is 'SECRET'; give PLAIN, AMQPLAIN"):
        container_factory(Bridge, {"AMQP_URI": node.uri, "link": link}).start()
