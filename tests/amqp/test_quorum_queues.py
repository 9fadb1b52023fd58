"""``queue_type: quorum``: which queues are on several nodes of a cluster, and what becomes of messages they give up."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from waiting import wait_until

from rpcservice import BROADCAST, SINGLETON, ChannelClosed, EventDispatcher, Requeue, Retry, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.amqp.deadletters import revived, shared_arguments
from rpcservice.config import make_settings
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import dummy, entrypoint_hook

pytestmark = pytest.mark.broker

Start = Callable[..., ServiceRunner]
QUICK = Retry(max_attempts=3, initial=0.05, jitter=0)


class Billing:
    name = "billing"
    dispatch = EventDispatcher()
    seen: list[Any] = []

    @event_handler("orders", "placed", retry=QUICK)
    def bill(self, payload: Any) -> None:
        self.seen.append(payload)
        if len(self.seen) < 3:
            raise ConnectionError("no bank")

    @event_handler("orders", "paid", handler_type=SINGLETON)
    def once(self, payload: Any) -> None:
        self.seen.append(payload)

    @event_handler("orders", "placed", reliable_delivery=False)
    def watch(self, payload: Any) -> None:
        return None

    @event_handler("orders", "placed", handler_type=BROADCAST, reliable_delivery=False)
    def everywhere(self, payload: Any) -> None:
        return None

    @rpc_method
    def show(self, text: str) -> str:
        return text


@pytest.fixture
def queues(start: Start, rabbitmq: Any, broker_uri: str) -> Callable[[], dict[str, str]]:
    """Start the service; gives what tells the type of each queue by its name."""
    Billing.seen = []
    start(Billing, queue_type="quorum", delivery_limit=2)
    vhost = urlsplit(broker_uri).path.removeprefix("/")

    def look() -> dict[str, str]:
        found: dict[str, str] = {}
        for name, queue in rabbitmq.queues(unquote(vhost)).items():
            found[name] = dict(queue["arguments"]).get("x-queue-type", "classic")
        return found

    return look


Queues = Callable[[], dict[str, str]]


def test_a_queue_of_the_other_type_is_a_mistake_that_says_what_to_do(
    runner_factory: Callable[..., ServiceRunner],
) -> None:
    """Nothing is lost: the queue stays as it is."""
    runner = runner_factory(Billing)
    runner.start()
    runner.stop()
    says = r"'x-queue-type' for queue .*\(is queue_type, .* or delete the queue when it is empty"
    with pytest.raises(ChannelClosed, match=says) as raised:
        runner_factory(Billing, config={"queue_type": "quorum"}).start()
    assert raised.value.code == 406


def test_the_queues_that_instances_share_are_quorum_queues(queues: Queues) -> None:
    found = queues()
    for name in ("rpc-billing", "evt-orders-placed--billing.bill", "evt-orders-paid"):
        assert found.pop(name) == "quorum"
        assert found.pop(f"{name}.dead") == "quorum"
    assert set(found.values()) == {"classic"}
    assert "evt-orders-placed--billing.watch" in found


def test_services_on_them_answer_and_handle(queues: Queues, rpc: Any, dispatch: Any) -> None:
    assert rpc.billing.show("hello") == "hello"
    dispatch("orders", "paid", 7)
    wait_until(lambda: Billing.seen == [7])


def test_retries_wait_in_quorum_queues(queues: Queues, dispatch: Any) -> None:
    dispatch("orders", "placed", 1)
    wait_until(lambda: Billing.seen == [1, 1, 1])
    assert queues()["rpcservice.retry.50.evt-orders-placed--billing.bill"] == "quorum"


def test_delayed_events_wait_in_quorum_queues(queues: Queues, start: Start) -> None:
    class Orders:
        name = "orders"
        dispatch = EventDispatcher(delay=0.1)

        @dummy
        def place(self) -> None:
            self.dispatch("paid", 8)

    runner = start(Orders, queue_type="quorum")
    with entrypoint_hook(runner.service_map["orders"], "place") as place:
        place()
    wait_until(lambda: Billing.seen == [8])
    assert queues()["rpcservice.delay.100.orders.events"] == "quorum"


def test_what_is_delivered_too_often_is_with_the_dead_letters(queues: Queues, wire: Any) -> None:
    """As when it ends each process that takes it."""
    queue = "evt-orders-late--nobody.late"
    config = make_settings({"queue_type": "quorum", "delivery_limit": 2})
    wire.channel.declare_exchange("orders.events", "topic")
    wire.channel.declare_queue(f"{queue}.dead", arguments={"x-queue-type": "quorum"})
    wire.channel.declare_queue(queue, arguments=shared_arguments(config, queue))
    wire.channel.bind_queue(queue, "orders.events", "late")
    wire.publish("orders.events", "late", b"1", message_id="m-1")
    for _ in range(3):
        wait_until(lambda: wire.channel.get(queue)).reject(requeue=True)
    letter = wait_until(lambda: wire.channel.get(f"{queue}.dead"))
    message = revived(letter)
    assert message is not None
    assert (message.exchange, message.routing_key, message.body) == ("", queue, b"1")


def test_a_request_given_up_goes_back_to_its_method(queues: Queues, wire: Any) -> None:
    config = make_settings({"queue_type": "quorum", "delivery_limit": 1})
    queue = "rpc-nobody"
    wire.channel.declare_queue(f"{queue}.dead", arguments={"x-queue-type": "quorum"})
    wire.channel.declare_queue(queue, arguments=shared_arguments(config, queue))
    wire.channel.bind_queue(queue, "nameko-rpc", "nobody.*")
    wire.publish("nameko-rpc", "nobody.show", b"1")
    for _ in range(2):
        wait_until(lambda: wire.channel.get(queue)).reject(requeue=True)
    message = revived(wait_until(lambda: wire.channel.get(f"{queue}.dead")))
    assert message is not None
    assert (message.exchange, message.routing_key) == ("nameko-rpc", "nobody.show")


@pytest.mark.parametrize(("error", "deliveries"), [(Requeue(), 3), (Requeue(delay=0.05), 6)])
def test_a_requeue_without_a_delay_counts_as_a_delivery(
    start: Start, wire: Any, error: Requeue, deliveries: int
) -> None:
    """The broker counts them, up to the limit; one with a delay comes back as a message of its own."""

    class Shipping:
        name = "shipping"
        seen: list[Any] = []

        @event_handler("orders", "placed", dead_letter=True)
        def ship(self, payload: Any) -> None:
            self.seen.append(payload)
            if len(self.seen) < 6:
                raise error

    start(Shipping, queue_type="quorum", delivery_limit=2)
    wire.publish("orders.events", "placed", b"1", content_type="application/json")
    if deliveries < 6:
        letter = wait_until(lambda: wire.channel.get("evt-orders-placed--shipping.ship.dead", no_ack=True))
        assert letter.body == b"1"
    wait_until(lambda: len(Shipping.seen) == deliveries)
