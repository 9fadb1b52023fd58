"""Services run as users of RabbitMQ that may do no more than ``docs/examples/permissions.json`` says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import kombu
import pytest
from amqp.exceptions import AccessRefused
from waiting import wait_until
from wire import Inbox, Wire

from rpcservice import BROADCAST, ClusterRpc, EventDispatcher, Retry, ServiceRpc, event_handler, rpc
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import RemoteError, RpcServiceError
from rpcservice.standalone.rpc import ClusterRpcClient
from rpcservice.testing.rabbitmq import USER, RabbitMQNode, erlang_binary, vhost_name

pytestmark = pytest.mark.broker

GIVEN = json.loads((Path(__file__).parents[2] / "docs" / "examples" / "permissions.json").read_text())
PASSWORD = "a-password"


class Payments:
    name = "payments"

    @rpc
    def charge(self, amount: int) -> str:
        return f"charged {amount}"


class Orders:
    name = "orders"
    payments = ServiceRpc("payments", timeout=5)
    cluster = ClusterRpc(timeout=5)
    dispatch = EventDispatcher()

    heard: Inbox
    failures: int

    @rpc
    def place(self, amount: int) -> str:
        self.dispatch("order_placed", {"amount": amount})
        self.dispatch("order_due", {"amount": amount}, delay=0.1)
        charged: str = self.payments.charge(amount)
        return charged

    @rpc
    def overstep(self) -> Any:
        return self.cluster.secrets.tell()

    @event_handler("shop", "opened", retry=Retry(max_attempts=2, initial=0.1), dead_letter=True)
    def on_open(self, payload: Any) -> None:
        type(self).failures += 1
        if self.failures == 1:
            raise ValueError("once more")
        self.heard(("opened", payload))

    @event_handler("shop", "closed", handler_type=BROADCAST, reliable_delivery=False)
    def on_close(self, payload: Any) -> None:
        self.heard(("closed", payload))


@pytest.fixture
def users(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> Iterator[Callable[[str], str]]:
    """Make the users in this test's virtual host; gives the URI of each."""
    vhost = erlang_binary(vhost_name(rabbitmq_uri))
    names = [row["user"] for row in GIVEN["permissions"]]
    backend = "rabbit_auth_backend_internal"
    for name in names:
        rabbitmq.evaluate(f'ok = {backend}:add_user(<<"{name}">>, <<"{PASSWORD}">>, <<"test">>), true')
    for row in GIVEN["permissions"]:
        rights = ", ".join(erlang_binary(row[what]) for what in ("configure", "write", "read"))
        rabbitmq.evaluate(f'ok = {backend}:set_permissions(<<"{row["user"]}">>, {vhost}, {rights}, <<"test">>), true')
    for row in GIVEN["topic_permissions"]:
        rights = ", ".join(erlang_binary(row[what]) for what in ("exchange", "write", "read"))
        rabbitmq.evaluate(
            f'ok = {backend}:set_topic_permissions(<<"{row["user"]}">>, {vhost}, {rights}, <<"test">>), true'
        )
    host = rabbitmq_uri.partition("@")[2]
    yield lambda name: f"amqp://{name}:{PASSWORD}@{host}"
    for name in names:
        rabbitmq.evaluate(f'{backend}:delete_user(<<"{name}">>, <<"test">>), true')


@pytest.fixture
def running(
    runner_factory: Callable[..., ServiceRunner], users: Callable[[str], str], rabbitmq_uri: str
) -> Iterator[Wire]:
    """Both services, each as its own user; gives a raw client of somebody who may do everything."""
    Orders.heard, Orders.failures = Inbox(green()), 0
    for service, name in ((Payments, "payments"), (Orders, "orders")):
        runner_factory(service, config={"AMQP_URI": users(name)}).start()
    wire = Wire(rabbitmq_uri, green())
    yield wire
    wire.link.close()


@pytest.fixture
def cluster(running: Wire, rabbitmq_uri: str) -> Iterator[Any]:
    """A caller of both services."""
    with ClusterRpcClient({"AMQP_URI": rabbitmq_uri}, timeout=10) as client:
        yield client


def test_services_call_each_other(cluster: Any) -> None:
    assert cluster.orders.place(7) == "charged 7"


def test_events_go_out_at_once_and_after_a_delay(running: Wire, cluster: Any) -> None:
    placed, due = running.tap("orders.events", "order_placed"), running.tap("orders.events", "order_due")
    cluster.orders.place(7)
    assert [json.loads(events.take().body) for events in (placed, due)] == [{"amount": 7}] * 2


def test_events_come_in_and_come_again_where_the_handler_fails(running: Wire) -> None:
    for name in ("opened", "closed"):
        running.publish("shop.events", name, b"1", content_type="application/json")
    assert {Orders.heard.take()[0] for _ in range(2)} == {"opened", "closed"}
    assert Orders.failures == 2


def test_a_service_that_the_user_may_not_call_is_refused_and_the_next_call_works(running: Wire, cluster: Any) -> None:
    """The topic permissions name who may be called."""
    secrets = running.tap("nameko-rpc", "secrets.tell")
    with pytest.raises(RemoteError, match="ACCESS_REFUSED"):
        cluster.orders.overstep()
    assert cluster.orders.place(8) == "charged 8"
    assert len(secrets) == 0


@pytest.mark.parametrize(("app_id", "refusals"), [("rpcservice", 1), ("another", 2)])
def test_a_request_whose_reply_the_broker_refuses_is_given_up_after_a_second_time(
    running: Wire, cluster: Any, caplog: pytest.LogCaptureFixture, app_id: str, refusals: int
) -> None:
    """A forged request would go round for ever otherwise, and have the channel closed each time."""
    placed = running.tap("orders.events", "order_placed")
    request = {"reply_to": "not-for-you", "correlation_id": "1", "content_type": "application/json", "app_id": app_id}
    running.publish("nameko-rpc", "orders.place", b'{"args": [1], "kwargs": {}}', **request)
    assert [json.loads(placed.take().body) for _ in range(2)] == [{"amount": 1}] * 2
    # An event that is under way while the channel is closed for the reply would be sent once more.
    wait_until(lambda: caplog.text.count("was not taken by the broker") == refusals, "the last refusal")
    assert cluster.orders.place(9) == "charged 9"
    assert json.loads(placed.take().body) == {"amount": 9}
    assert len(placed) == 0


BEYOND: dict[str, Callable[[Any], Any]] = {
    "read another service's requests": lambda channel: channel.basic_get("rpc-payments"),
    "delete another service's queue": lambda channel: channel.queue_delete("rpc-payments"),
    "purge another service's queue": lambda channel: channel.queue_purge("rpc-payments"),
    "send events of another service": lambda channel: publish(channel, "shop.events", "opened"),
    "call a service that is not named": lambda channel: publish(channel, "nameko-rpc", "secrets.tell"),
    "make a queue of its own": lambda channel: channel.queue_declare("stash"),
    "make an exchange of its own": lambda channel: channel.exchange_declare("stash", "topic"),
    "hear the requests of all": lambda channel: channel.queue_bind("rpc-orders", "nameko-rpc", "payments.#"),
}


def publish(channel: Any, exchange: str, routing_key: str) -> None:
    channel.confirm_select()
    channel.basic_publish_confirm(amqp.Message("1"), exchange, routing_key)


@pytest.mark.parametrize("attempt", BEYOND.values(), ids=BEYOND.keys())
def test_the_user_of_a_service_may_do_nothing_else(
    running: Wire, users: Callable[[str], str], attempt: Callable[[Any], Any]
) -> None:
    with kombu.Connection(users("orders")) as connection, pytest.raises(AccessRefused):
        attempt(connection.channel())


def test_a_service_whose_user_may_too_little_says_so_at_the_start(
    runner_factory: Callable[..., ServiceRunner], users: Callable[[str], str]
) -> None:
    class Intruder:
        name = "intruder"

        @rpc
        def ping(self) -> None:
            """Answer nobody."""

    with pytest.raises(RpcServiceError, match=r"ACCESS_REFUSED.*rpc-intruder"):
        runner_factory(Intruder, config={"AMQP_URI": users("orders")}).start()


def test_the_tests_use_no_user_who_may_do_everything(users: Callable[[str], str]) -> None:
    assert USER not in {row["user"] for row in GIVEN["permissions"]}
