"""What failed in services written for nameko comes again, or is kept, where they ask for it; on both brokers."""

import json
from collections.abc import Callable
from time import time
from typing import Any

import pytest
from kombu import Queue
from waiting import wait_until
from wire import Inbox, Wire

from rpcservice import Reject, Requeue, Retry
from rpcservice.amqp.deadletters import shared_arguments
from rpcservice.amqp.drops import Drops
from rpcservice.compat.nameko.amqp.consume import Consumer as ConsumerCore
from rpcservice.compat.nameko.events import BROADCAST, EventHandler, EventHandlerConfigurationError, event_handler
from rpcservice.compat.nameko.exceptions import ConfigurationError
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.compat.nameko.messaging import Consumer, QueueConsumer, consume
from rpcservice.compat.nameko.rpc import Rpc, RpcConsumer, rpc
from rpcservice.compat.nameko.runners import ServiceRunner
from rpcservice.concurrency import Event, green
from rpcservice.config import make_settings

Serve = Callable[..., ServiceRunner]

QUICK = Retry(max_attempts=3, initial=0.05, factor=1, jitter=0)
BILL_QUEUE = "evt-orders-placed--billing.bill"
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}


@pytest.fixture(params=["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def broker(request: pytest.FixtureRequest) -> str:
    """Run the test on the embedded broker and on RabbitMQ; the marker of the second one chooses the URI."""
    name: str = request.param
    return name


class Attempts(list[Any]):
    """What a method has seen; all of its attempts fail but those from ``succeeds_at`` on."""

    def __init__(self, error: Exception | None = None, succeeds_at: int | None = None) -> None:
        self._error = error or ConnectionError("no bank")
        self._succeeds_at = succeeds_at

    def note(self, what: Any) -> int:
        self.append(what)
        if self._succeeds_at is None or len(self) < self._succeeds_at:
            raise self._error
        return len(self)


def billing(attempts: Attempts, decorator: Any) -> type:
    """Make a service with one handler of messages."""

    class Billing:
        name = "billing"

        @decorator
        def bill(self, payload: Any) -> None:
            attempts.note(payload)

    return Billing


def placed(**options: Any) -> Any:
    return event_handler("orders", "placed", **options)


def place(wire: Wire, body: bytes = b"1", **properties: Any) -> None:
    wire.publish("orders.events", "placed", body, **JSON, **properties)


def take(wire: Wire, queue: str = f"{BILL_QUEUE}.dead") -> Any:
    return wait_until(lambda: wire.channel.get(queue, no_ack=True))


def count(wire: Wire, queue: str) -> int:
    messages: int = wire.channel.declare_queue(queue, passive=True).messages
    return messages


def drops(runner: ServiceRunner) -> dict[str, int]:
    return dict(runner.resources.get(Drops).counts)


# Events and messages


def test_an_event_comes_again_until_its_handler_succeeds(serve: Serve, wire: Wire, broker: str) -> None:
    attempts = Attempts(succeeds_at=3)
    runner = serve(billing(attempts, placed(retry=QUICK)))
    place(wire)
    wait_until(lambda: len(attempts) == 3)
    runner.stop()
    assert (count(wire, BILL_QUEUE), count(wire, f"{BILL_QUEUE}.dead")) == (0, 0)


def test_after_the_last_attempt_an_event_is_with_the_dead_letters(serve: Serve, wire: Wire, broker: str) -> None:
    attempts = Attempts()
    runner = serve(billing(attempts, placed(retry=QUICK)))
    place(wire, message_id="m-1")
    letter = take(wire)
    assert attempts == [1, 1, 1]
    assert letter.properties["message_id"] == "m-1"
    assert letter.headers["rpcservice-attempts"] == {BILL_QUEUE: 3}
    assert letter.headers["rpcservice-error"] == "ConnectionError: no bank"
    assert "in bill" in letter.headers["rpcservice-traceback"]
    assert (letter.headers["rpcservice-exchange"], letter.headers["rpcservice-routing-key"]) == (
        "orders.events",
        "placed",
    )
    runner.stop()
    assert count(wire, BILL_QUEUE) == 0


def test_a_message_that_comes_again_says_where_it_came_from_and_no_more(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    class Watching(EventHandler):
        def handle_message(self, body: Any, message: Any) -> None:
            info = message.delivery_info
            inbox((info["exchange"], info["routing_key"], self.unpack_message_headers(message)))
            super().handle_message(body, message)

    serve(billing(Attempts(succeeds_at=2), Watching.decorator("orders", "placed", retry=QUICK)))
    place(wire, headers={"nameko.language": "de"})
    assert [inbox.take(), inbox.take()] == [("orders.events", "placed", {"language": "de"})] * 2


def test_the_options_are_those_of_consume_too(serve: Serve, wire: Wire, broker: str) -> None:
    attempts = Attempts()
    serve(billing(attempts, consume(Queue("parcels"), retry=QUICK)))
    wire.publish("", "parcels", b'"tea"', **JSON)
    assert take(wire, "parcels.dead").headers["rpcservice-attempts"] == {"parcels": 3}
    assert attempts == ["tea"] * 3


def test_reject_is_for_the_dead_letters_at_once(serve: Serve, wire: Wire, broker: str) -> None:
    attempts = Attempts(Reject("no such order"))
    serve(billing(attempts, placed(retry=QUICK)))
    place(wire)
    assert take(wire).headers["rpcservice-error"] == "Reject: no such order"
    assert len(attempts) == 1


def test_reject_is_the_end_where_failures_are_put_back(serve: Serve, wire: Wire) -> None:
    attempts = Attempts(Reject("no such order"))
    runner = serve(billing(attempts, placed(requeue_on_error=True)))
    place(wire, b"1")
    place(wire, b"2")
    wait_until(lambda: len(attempts) == 2)
    runner.stop()
    assert attempts == [1, 2]
    assert count(wire, BILL_QUEUE) == 0


@pytest.mark.parametrize("delay", [0, 0.05])
def test_requeue_has_a_message_come_again_without_a_policy(serve: Serve, wire: Wire, broker: str, delay: float) -> None:
    attempts = Attempts(Requeue(delay=delay), succeeds_at=3)
    runner = serve(billing(attempts, placed()))
    place(wire)
    wait_until(lambda: len(attempts) == 3)
    runner.stop()
    assert count(wire, BILL_QUEUE) == 0


def test_what_cannot_be_decoded_is_kept(serve: Serve, wire: Wire, broker: str) -> None:
    """The second one comes only when the first one is acknowledged."""
    runner = serve(billing(Attempts(), placed(dead_letter=True, prefetch_count=1)))
    for message_id in ("m-1", "m-2"):
        place(wire, b"{not json", message_id=message_id)
    letters = [take(wire), take(wire)]
    assert [(letter.body, letter.properties["message_id"]) for letter in letters] == [
        (b"{not json", "m-1"),
        (b"{not json", "m-2"),
    ]
    assert letters[0].headers["rpcservice-error"].startswith("MalformedRequest: ")
    assert drops(runner) == {}


def test_what_cannot_be_decoded_nor_kept_is_counted(serve: Serve, wire: Wire) -> None:
    runner = serve(billing(Attempts(), placed()))
    place(wire, b"{not json")
    wait_until(lambda: drops(runner) == {"billing.bill": 1})


def test_what_a_queue_consumer_cannot_decode_is_counted(serve: Serve, wire: Wire) -> None:
    class Provider(Consumer):
        queue_consumer = QueueConsumer()

        def setup(self) -> None:
            self.queue_consumer.register_provider(self)

        def start(self) -> None:
            """Leave that to the queue consumer."""

        def stop(self) -> None:
            self.queue_consumer.unregister_provider(self)

    runner = serve(billing(Attempts(), Provider.decorator(Queue("parcels"))))
    wire.publish("", "parcels", b"{not json", **JSON)
    wait_until(lambda: drops(runner) == {"billing": 1})


def test_a_handle_result_that_breaks_down_is_kept(serve: Serve, wire: Wire) -> None:
    class Broken(EventHandler):
        def handle_result(self, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
            raise KeyError("broken")

    options = {"dead_letter": True, "prefetch_count": 1}
    serve(billing(Attempts(succeeds_at=1), Broken.decorator("orders", "placed", **options)))
    place(wire, b"1")
    place(wire, b"2")
    letters = [take(wire), take(wire)]
    assert [letter.body for letter in letters] == [b"1", b"2"]
    assert letters[0].headers["rpcservice-error"] == "KeyError: 'broken'"


def test_a_handle_result_that_breaks_down_without_dead_letters_is_counted(serve: Serve, wire: Wire) -> None:
    class Broken(EventHandler):
        def handle_result(self, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
            raise KeyError("broken")

    runner = serve(billing(Attempts(succeeds_at=1), Broken.decorator("orders", "placed")))
    place(wire)
    wait_until(lambda: drops(runner) == {"billing.bill": 1})


def test_a_handle_result_that_breaks_down_after_the_ack_keeps_nothing(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    class Broken(EventHandler):
        def handle_result(self, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> Any:
            super().handle_result(message, worker_ctx, result, exc_info)
            inbox(message.acknowledged)
            raise KeyError("broken")

    runner = serve(billing(Attempts(succeeds_at=1), Broken.decorator("orders", "placed", dead_letter=True)))
    place(wire)
    assert inbox.take() is True
    runner.stop()
    assert count(wire, f"{BILL_QUEUE}.dead") == 0


def test_handle_message_processed_decides_on_failures_as_ever(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    """Who overrides it without calling the one of nameko settles the message itself."""

    class Deciding(EventHandler):
        def handle_message_processed(self, message: Any, result: Any = None, exc_info: Any = None) -> None:
            self.consumer.ack_message(message)
            inbox(exc_info[0])

    attempts = Attempts()
    runner = serve(billing(attempts, Deciding.decorator("orders", "placed", retry=QUICK)))
    place(wire)
    assert inbox.take() is ConnectionError
    runner.stop()
    assert len(attempts) == 1
    assert (count(wire, BILL_QUEUE), count(wire, f"{BILL_QUEUE}.dead")) == (0, 0)


def test_handle_message_processed_sees_each_attempt(serve: Serve, wire: Wire, inbox: Inbox) -> None:
    class Counting(EventHandler):
        def handle_message_processed(self, message: Any, result: Any = None, exc_info: Any = None) -> None:
            super().handle_message_processed(message, result, exc_info)
            inbox((exc_info and exc_info[0], message.acknowledged))

    serve(billing(Attempts(succeeds_at=2), Counting.decorator("orders", "placed", retry=QUICK)))
    place(wire)
    assert [inbox.take(), inbox.take()] == [(ConnectionError, True), (None, True)]


def test_a_consumer_class_of_its_own_refuses_what_it_cannot_do(serve: Serve) -> None:
    class OwnCore(ConsumerCore):
        """Consumes in another way."""

    class Own(Consumer):
        consumer_cls = OwnCore

    with pytest.raises(ConfigurationError, match=r"OwnCore, which tries nothing again.*leave consumer_cls"):
        serve(billing(Attempts(), Own.decorator(Queue("parcels"), retry=QUICK)))


@pytest.mark.broker
def test_requeue_puts_a_message_of_such_a_class_back(serve: Serve, wire: Wire) -> None:
    class OwnCore(ConsumerCore):
        """Consumes in another way."""

    class Own(Consumer):
        consumer_cls = OwnCore

    attempts = Attempts(Requeue(), succeeds_at=2)
    runner = serve(billing(attempts, Own.decorator(Queue("parcels"))))
    wire.publish("", "parcels", b"1", **JSON)
    wait_until(lambda: len(attempts) == 2)
    runner.stop()


def test_a_broadcast_handler_has_no_dead_letters() -> None:
    with pytest.raises(EventHandlerConfigurationError, match="leave dead_letter out"):
        placed(handler_type=BROADCAST, reliable_delivery=False, dead_letter=True)


def test_a_broadcast_handler_may_try_again(serve: Serve, wire: Wire, broker: str) -> None:
    attempts = Attempts(succeeds_at=2)
    runner = serve(billing(attempts, placed(handler_type=BROADCAST, reliable_delivery=False, retry=QUICK)))
    place(wire)
    wait_until(lambda: len(attempts) == 2)
    assert runner.service_map["billing"].entrypoints[0].queue_with_dead_letters is None


def test_a_handler_names_the_queue_whose_dead_letters_it_keeps(serve: Serve) -> None:
    runner = serve(billing(Attempts(), placed(dead_letter=True)))
    assert runner.service_map["billing"].entrypoints[0].queue_with_dead_letters == BILL_QUEUE


@pytest.mark.broker
def test_a_queue_that_instances_share_may_be_a_quorum_queue(serve: Serve, wire: Wire) -> None:
    """What it gives up has a place to go to. Such a queue does not take the arguments of another one."""
    serve(billing(Attempts(succeeds_at=1), placed()), rpcservice={"queue_type": "quorum"})
    arguments = shared_arguments(make_settings({"queue_type": "quorum"}), BILL_QUEUE)
    assert wire.channel.declare_queue(BILL_QUEUE, arguments=arguments).name == BILL_QUEUE
    assert count(wire, f"{BILL_QUEUE}.dead") == 0


# Requests


def paying(attempts: Attempts, decorator: Any) -> type:
    """Make a service with one method."""

    class Payments:
        name = "payments"

        @decorator
        def charge(self, amount: int) -> int:
            return attempts.note(amount)

    return Payments


def charge(wire: Wire, arguments: str = "[5]", **properties: Any) -> Any:
    """Call the method; gives what its caller gets."""
    body = b'{"args": %s, "kwargs": {}}' % arguments.encode()
    return json.loads(wire.request("payments.charge", body, **properties).body)


def test_a_request_comes_again_and_is_answered_once(serve: Serve, wire: Wire, broker: str) -> None:
    runner = serve(paying(Attempts(succeeds_at=3), rpc(retry=QUICK)))
    assert charge(wire) == {"result": 3, "error": None}
    runner.stop()
    assert count(wire, "rpc-payments") == 0


def test_a_request_is_kept_and_answered(serve: Serve, wire: Wire, broker: str) -> None:
    serve(paying(Attempts(), rpc(retry=QUICK, dead_letter=True)))
    assert charge(wire)["error"]["value"] == "no bank"
    letter = take(wire, "rpc-payments.dead")
    assert letter.headers["rpcservice-attempts"] == {"rpc-payments": 3}
    assert letter.headers["rpcservice-return"] == {"exchange": "nameko-rpc", "routing_key": "payments.charge"}


def test_no_attempt_goes_past_the_time_out_of_the_caller(serve: Serve, wire: Wire) -> None:
    attempts = Attempts()
    serve(paying(attempts, rpc(retry=Retry(max_attempts=2, initial=3600, max_interval=3600))))
    in_a_minute = int((time() + 60) * 1000)
    assert charge(wire, headers={"rpcservice-deadline": in_a_minute})["error"]["value"] == "no bank"
    assert len(attempts) == 1


@pytest.mark.parametrize(
    ("body", "exc_type"),
    [(b"{not json", "MalformedRequest"), (b'{"args": [1, 2], "kwargs": {}}', "IncorrectSignature")],
)
def test_a_request_that_is_refused_is_kept_and_answered(
    serve: Serve, wire: Wire, broker: str, body: bytes, exc_type: str
) -> None:
    attempts = Attempts()
    runner = serve(paying(attempts, rpc(dead_letter=True)))
    reply = wire.request("payments.charge", body)
    assert json.loads(reply.body)["error"]["exc_type"] == exc_type
    letter = take(wire, "rpc-payments.dead")
    assert letter.body == body
    assert letter.headers["rpcservice-error"].startswith(exc_type)
    assert attempts == []
    runner.stop()
    assert count(wire, "rpc-payments") == 0


def test_an_error_of_handle_message_is_kept_and_answered(serve: Serve, wire: Wire) -> None:
    class Broken(Rpc):
        def handle_message(self, body: Any, message: Any) -> None:
            raise KeyError("broken")

    serve(paying(Attempts(), Broken.decorator(dead_letter=True)))
    assert charge(wire)["error"]["exc_type"] == "KeyError"
    assert take(wire, "rpc-payments.dead").headers["rpcservice-error"] == "KeyError: 'broken'"


def test_a_shared_consumer_that_breaks_down_answers_all_the_same(serve: Serve, wire: Wire) -> None:
    class BrokenConsumer(RpcConsumer):
        def handle_result(self, message: Any, result: Any, exc_info: Any) -> Any:
            raise KeyError("broken")

    class Own(Rpc):
        rpc_consumer = BrokenConsumer()

    runner = serve(paying(Attempts(), Own.decorator(dead_letter=True)))
    assert charge(wire, "[1, 2]")["error"]["exc_type"] == "KeyError"
    take(wire, "rpc-payments.dead")
    runner.stop()
    assert count(wire, "rpc-payments") == 0


def test_a_result_in_the_place_of_an_error_is_no_failure(serve: Serve, wire: Wire) -> None:
    """A ``handle_result`` that gives nameko's another outcome decides what is tried again."""

    class Kind(Rpc):
        def handle_result(self, message: Any, worker_ctx: Any, result: Any, exc_info: Any) -> Any:
            return super().handle_result(message, worker_ctx, "later", None)

    attempts = Attempts()
    serve(paying(attempts, Kind.decorator(retry=QUICK)))
    assert charge(wire) == {"result": "later", "error": None}
    assert len(attempts) == 1


def test_providers_see_the_error_of_each_attempt(serve: Serve, wire: Wire) -> None:
    class Watcher(DependencyProvider):
        seen: list[Any] = []

        def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
            self.seen.append(exc_info and exc_info[0])

    attempts = Attempts(succeeds_at=2)

    class Payments:
        name = "payments"
        watcher = Watcher()

        @rpc(retry=QUICK)
        def charge(self, amount: int) -> int:
            return attempts.note(amount)

    runner = serve(Payments)
    assert charge(wire)["result"] == 2
    runner.stop()
    assert Watcher.seen == [ConnectionError, None]


def test_a_request_whose_worker_is_killed_before_it_is_kept_goes_back(
    config: dict[str, Any], wire: Wire, inbox: Inbox
) -> None:
    started: Event = green().event()

    class Payments:
        name = "payments"

        @rpc(retry=QUICK)
        def charge(self, amount: int) -> None:
            started.set()
            Inbox(green()).take()

    runner = ServiceRunner(config)
    runner.add_service(Payments)
    runner.start()
    wire.publish("nameko-rpc", "payments.charge", b'{"args": [5], "kwargs": {}}', **JSON)
    assert started.wait(10)
    runner.kill()
    wait_until(lambda: count(wire, "rpc-payments") == 1)


def test_an_error_whose_text_cannot_be_had_ends_no_more_than_its_call(serve: Serve, wire: Wire, broker: str) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise SystemExit(3)

    class Failing:
        name = "failing"
        runs: list[str] = []

        @rpc
        def call(self) -> None:
            raise Unprintable

        @placed()
        def handle(self, payload: Any) -> None:
            self.runs.append("handle")
            raise Unprintable

        @consume(Queue("parcels"))
        def take(self, payload: Any) -> None:
            self.runs.append("take")
            raise Unprintable

    runner = serve(Failing)
    place(wire)
    wire.publish("", "parcels", b"1", **JSON)
    wait_until(lambda: sorted(Failing.runs) == ["handle", "take"])
    reply = json.loads(wire.request("failing.call", content_encoding="utf-8").body)
    assert (reply["error"]["exc_type"], reply["error"]["value"]) == ("Unprintable", "[__unicode__ failed]")
    wait_until(lambda: count(wire, "parcels") == count(wire, "evt-orders-placed--failing.handle") == 0)
    runner.stop()
    assert sorted(Failing.runs) == ["handle", "take"]
