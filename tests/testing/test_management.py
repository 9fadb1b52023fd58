"""ManagementApi against a private node with the management plugin."""

from collections.abc import Iterator

import pytest

from rpcservice.errors import BrokerUnavailable
from rpcservice.testing import ManagementApi, ManagementError, RabbitMQNode, free_ports
from rpcservice.testing.rabbitmq import PASSWORD_PREFIX

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQNode]:
    """A node with the management plugin."""
    with RabbitMQNode(management=True) as node:
        yield node


@pytest.fixture
def api(node: RabbitMQNode) -> ManagementApi:
    """A client for that node."""
    return ManagementApi(node.api_uri)


def test_virtual_hosts_are_made_and_deleted(api: ManagementApi, node: RabbitMQNode) -> None:
    api.create_vhost("made/here")
    api.set_vhost_permissions("made/here", "guest", ".*", ".*", ".*")
    assert "made/here" in [vhost["name"] for vhost in api.get_all_vhosts()]
    assert "guest" in node.ctl("list_permissions", "-p", "made/here")
    api.delete_vhost("made/here")
    assert "made/here" not in [vhost["name"] for vhost in api.get_all_vhosts()]


def test_messages_are_published_and_taken(api: ManagementApi) -> None:
    api.create_queue("/", "letters", durable=True)
    api.create_queue_binding("/", "amq.topic", "letters", "letter.*")
    api.publish("/", "amq.topic", "letter.first", "hello", {"priority": 1})
    assert [message["payload"] for message in api.get_messages("/", "letters", requeue=True)] == ["hello"]
    (taken,) = api.get_messages("/", "letters", count=5)
    assert (taken["payload"], taken["routing_key"], taken["properties"]["priority"]) == ("hello", "letter.first", 1)
    assert api.get_messages("/", "letters") == []


def test_queues_bindings_and_exchanges_are_listed(api: ManagementApi) -> None:
    api.create_queue("/", "listed", auto_delete=True)
    api.create_queue_binding("/", "amq.direct", "listed", "key")
    assert api.get_queue("/", "listed")["auto_delete"] is True
    assert "listed" in [queue["name"] for queue in api.get_queues("/")]
    assert ("amq.direct", "key") in [
        (binding["source"], binding["routing_key"]) for binding in api.get_queue_bindings("/", "listed")
    ]
    assert "amq.topic" in [exchange["name"] for exchange in api.get_exchanges("/")]


def test_a_refused_request_tells_its_status(api: ManagementApi) -> None:
    with pytest.raises(ManagementError, match=r"GET /api/queues/%2F/nowhere was answered with 404") as caught:
        api.get_queue("/", "nowhere")
    assert caught.value.response.status_code == 404


def test_a_wrong_password_is_refused_at_once(node: RabbitMQNode) -> None:
    with pytest.raises(ManagementError, match="401"):
        ManagementApi(node.api_uri.replace(PASSWORD_PREFIX, "wrong-"))


def test_where_nothing_answers_the_plugin_is_named() -> None:
    with pytest.raises(BrokerUnavailable, match="is it enabled\\? rabbitmq-plugins enable rabbitmq_management"):
        ManagementApi(f"http://guest:guest@127.0.0.1:{free_ports(1)[0]}")


def test_a_connection_that_is_not_there_is_refused(api: ManagementApi) -> None:
    assert api.get_connections("nowhere") == []
    with pytest.raises(ManagementError, match="404"):
        api.delete_connection("nobody")


def test_a_node_without_the_plugin_says_so(rabbitmq: RabbitMQNode) -> None:
    with pytest.raises(ValueError, match=r"has no management API; make it with RabbitMQNode\(management=True\)"):
        rabbitmq.api_uri  # noqa: B018 - the look-up is the test
