"""Services on a broker that speaks TLS: verified unless AMQP_SSL says otherwise, on both kinds of link."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from amqp_services import Echo

from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import BrokerUnavailable

if TYPE_CHECKING:
    from rpcservice.testing import RabbitMQNode

pytestmark = [pytest.mark.broker, pytest.mark.parametrize("link", ["frames", "channel"])]

Start = Callable[..., ServiceRunner]


@pytest.fixture
def tls_uri(rabbitmq: "RabbitMQNode") -> Iterator[str]:
    uri = rabbitmq.vhost(tls=True)
    yield uri
    rabbitmq.delete_vhost(uri)


def test_services_talk_over_a_verified_connection(
    start: Start, caller: type, run_in: Any, rabbitmq: "RabbitMQNode", tls_uri: str, link: str
) -> None:
    assert rabbitmq.certificates is not None
    runner = start(Echo, caller, AMQP_URI=tls_uri, AMQP_SSL={"ca_certs": str(rabbitmq.certificates.ca)}, link=link)
    assert run_in(runner, lambda caller: caller.cluster.echo.large(300_000)) == "x" * 300_000
    run_in(runner, lambda caller: caller.dispatch("said", "x" * 300_000))
    assert {row["ssl"] for row in rabbitmq.connections(tls_uri)} == {True}
    runner.stop()


@pytest.mark.parametrize("setting", [None, True, {"cert_reqs": "required"}])
def test_a_broker_of_an_unknown_authority_is_refused(start: Start, tls_uri: str, link: str, setting: Any) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        start(Echo, AMQP_URI=tls_uri, AMQP_SSL=setting, link=link, startup_timeout=1)


def test_verification_can_be_turned_off(start: Start, caller: type, run_in: Any, tls_uri: str, link: str) -> None:
    runner = start(Echo, caller, AMQP_URI=tls_uri, AMQP_SSL={"cert_reqs": "none"}, link=link)
    assert run_in(runner, lambda caller: caller.cluster.echo.add(1)) == 2
    runner.stop()
