"""Vhosts: what one test leaves in a virtual host, no other one finds."""

import pytest
from kombu import Connection

from rpcservice.testing.rabbitmq import RabbitMQNode, vhost_name
from rpcservice.testing.vhosts import Vhosts

pytestmark = pytest.mark.broker


@pytest.fixture
def vhosts(rabbitmq: RabbitMQNode) -> Vhosts:
    return Vhosts(rabbitmq)


@pytest.fixture
def uri(vhosts: Vhosts) -> str:
    return vhosts.take()


def test_a_virtual_host_is_lent_to_one_at_a_time(vhosts: Vhosts, uri: str) -> None:
    assert vhosts.take() != uri


def test_what_comes_back_without_traces_is_lent_again(vhosts: Vhosts, uri: str) -> None:
    vhosts.give_back(uri)
    assert vhosts.take() == uri


def test_queues_and_exchanges_of_the_one_before_are_gone(vhosts: Vhosts, uri: str, rabbitmq: RabbitMQNode) -> None:
    with Connection(uri) as connection:
        channel = connection.channel()
        for number in range(3):
            channel.queue_declare(f"queue-{number}", durable=True, auto_delete=False)
            channel.exchange_declare(f"exchange-{number}", "topic", durable=True, auto_delete=False)
            channel.queue_bind(f"queue-{number}", f"exchange-{number}", "#")
            channel.queue_bind(f"queue-{number}", "amq.topic", "#")
            channel.basic_publish(channel.prepare_message(b"left"), "", f"queue-{number}")
    vhosts.give_back(uri)
    assert vhosts.take() == uri
    assert (rabbitmq.queues(uri), rabbitmq.bindings(uri)) == ({}, [])
    assert all(name == "" or name.startswith("amq.") for name in rabbitmq.exchanges(uri))


def test_a_connection_that_is_left_open_never_meets_the_next_test(
    vhosts: Vhosts, uri: str, rabbitmq: RabbitMQNode
) -> None:
    with Connection(uri) as connection:
        connection.connect()
        vhosts.give_back(uri)
    assert vhosts.take() != uri
    assert rabbitmq.connections(uri) == []


@pytest.mark.parametrize(
    "change",
    [
        'rabbit_auth_backend_internal:set_permissions(<<"guest">>, VHost, <<>>, <<>>, <<>>, <<"test">>)',
        'rabbit_auth_backend_internal:set_topic_permissions(<<"guest">>, VHost, <<"x">>, <<>>, <<>>, <<"test">>)',
        'rabbit_vhost_limit:set(VHost, [{<<"max-queues">>, 1}], <<"test">>)',
        'rabbit_policy:set(VHost, <<"short">>, <<".*">>, [{<<"max-length">>, 1}], 0, <<"all">>, <<"test">>)',
    ],
    ids=["permissions", "topic permissions", "limits", "policies"],
)
def test_settings_that_a_test_changes_are_not_those_of_the_next_one(
    vhosts: Vhosts, uri: str, rabbitmq: RabbitMQNode, change: str
) -> None:
    rabbitmq.evaluate(f'VHost = <<"{vhost_name(uri)}">>, ok = {change}, true')
    vhosts.give_back(uri)
    assert vhosts.take() != uri


def test_a_test_may_delete_its_virtual_host(vhosts: Vhosts, uri: str, rabbitmq: RabbitMQNode) -> None:
    rabbitmq.delete_vhost(uri)
    vhosts.give_back(uri)
    assert vhosts.take() != uri
