"""Messages that could not be handled come again, after a pause that the broker keeps, on both brokers."""

import json
import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import pytest
from kombu import Exchange, Queue
from waiting import wait_until

from rpcservice import (
    SINGLETON,
    DeclarationError,
    EventDispatcher,
    MethodNotFound,
    RemoteError,
    Requeue,
    Retry,
    ServiceRpc,
    consume,
    event_handler,
)
from rpcservice import rpc as rpc_method
from rpcservice.amqp.waiting import Wait
from rpcservice.concurrency import green
from rpcservice.core.context import current_worker
from rpcservice.core.runner import ServiceRunner

pytestmark = pytest.mark.usefixtures("grown_queues")

Start = Callable[..., ServiceRunner]

QUICK = Retry(max_attempts=3, initial=0.05, factor=2, jitter=0)
BILL_QUEUE = "evt-orders-placed--billing.bill"


class Attempts(list[Any]):
    """What a handler has seen; the first ``failures`` attempts fail."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("no bank")
        self.times: list[float] = []

    def attempt(self, what: Any) -> Any:
        self.append(what)
        self.times.append(monotonic())
        if len(self) <= self.failures:
            raise self.error
        return len(self)


def billing(attempts: Attempts, **options: Any) -> type:
    class Billing:
        name = "billing"

        @event_handler("orders", "placed", **options)
        def bill(self, payload: Any) -> None:
            attempts.attempt(payload)

    return Billing


def headers_seen(attempts: Attempts, **options: Any) -> tuple[type, list[Any]]:
    """Give a service that keeps the deliveries of its events."""
    seen: list[Any] = []

    class Billing:
        name = "billing"
        current: Any

        @event_handler("orders", "placed", **options)
        def bill(self, payload: Any) -> None:
            ctx = current_worker.get()
            assert ctx is not None
            seen.append(ctx)
            attempts.attempt(payload)

    return Billing, seen


def test_an_event_comes_again_until_its_handler_succeeds(start: Start, dispatch: Any, link_kind: str) -> None:
    attempts = Attempts(failures=2)
    start(billing(attempts, retry=QUICK))
    dispatch("orders", "placed", {"id": 7})
    wait_until(lambda: len(attempts) == 3)
    assert attempts == [{"id": 7}] * 3


def test_each_pause_is_as_long_as_the_policy_says(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=2)
    start(billing(attempts, retry=Retry(max_attempts=3, initial=0.2, factor=2, jitter=0)))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 3)
    first, second, third = attempts.times
    assert 0.2 <= second - first < 2
    assert 0.4 <= third - second < 2


def test_a_short_pause_is_not_kept_up_by_a_long_one(start: Start, dispatch: Any, broker: str) -> None:
    slow, fast = Attempts(failures=9), Attempts(failures=1)

    class Billing:
        name = "billing"

        @event_handler("orders", "placed", retry=Retry(max_attempts=2, initial=30, jitter=0))
        def slowly(self, payload: Any) -> None:
            slow.attempt(payload)

        @event_handler("orders", "paid", retry=Retry(max_attempts=2, initial=0.1, jitter=0))
        def quickly(self, payload: Any) -> None:
            fast.attempt(payload)

    start(Billing)
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(slow) == 1)
    dispatch("orders", "paid", 2)
    wait_until(lambda: len(fast) == 2, timeout=10)
    assert len(slow) == 1


def test_an_event_comes_back_to_the_queue_that_failed_alone(start: Start, dispatch: Any, broker: str) -> None:
    attempts, others = Attempts(failures=1), Attempts(failures=0)

    class Others:
        name = "others"

        @event_handler("orders", "placed")
        def hear(self, payload: Any) -> None:
            others.attempt(payload)

        @event_handler("orders", "placed", handler_type=SINGLETON)
        def hear_once(self, payload: Any) -> None:
            others.attempt(payload)

    start(billing(attempts, retry=QUICK), Others)
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 2 and len(others) == 2)
    dispatch("orders", "placed", 2)
    wait_until(lambda: len(attempts) == 3 and len(others) == 4)
    assert others == [1, 1, 2, 2]


def test_a_message_that_has_come_back_says_where_it_was_published(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=1)
    service, seen = headers_seen(attempts, retry=QUICK)
    start(service)
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(seen) == 2)
    for ctx in seen:
        assert (ctx.message.exchange, ctx.message.routing_key) == ("orders.events", "placed")


def test_what_retries_add_never_becomes_context_data(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=2)
    service, seen = headers_seen(attempts, retry=QUICK)
    start(service)
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(seen) == 3)
    assert [ctx.data for ctx in seen] == [seen[0].data] * 3
    assert not [key for key in seen[2].data if "death" in key or "rpcservice" in key]


def test_the_message_id_and_the_properties_stay_the_same(start: Start, wire: Any, broker: str) -> None:
    attempts = Attempts(failures=1)
    service, seen = headers_seen(attempts, retry=QUICK)
    start(service)
    given = {
        "content_type": "application/json",
        "message_id": "m-1",
        "priority": 3,
        "type": "order",
        "headers": {"nameko.language": "de"},
    }
    wire.publish("orders.events", "placed", b"1", **given)
    wait_until(lambda: len(seen) == 2)
    again = seen[1].message.properties
    assert {name: again[name] for name in ("content_type", "message_id", "priority", "type")} == {
        name: given[name] for name in ("content_type", "message_id", "priority", "type")
    }
    assert seen[1].data == {"language": "de"}


@pytest.mark.broker
def test_what_waits_outlives_the_broker_whatever_its_sender_had_in_mind(start: Start, wire: Any, broker: str) -> None:
    service, seen = headers_seen(Attempts(failures=1), retry=QUICK)
    start(service)
    wire.publish("orders.events", "placed", b"1", content_type="application/json", delivery_mode=1)
    wait_until(lambda: len(seen) == 2)
    assert [ctx.message.properties["delivery_mode"] for ctx in seen] == [1, 2]


def test_what_a_nested_call_misses_may_be_there_at_the_next_attempt(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=1, error=MethodNotFound("charge", (), "bank"))
    start(billing(attempts, retry=QUICK))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 2)


def test_a_wait_exchange_that_was_deleted_is_declared_again(
    start: Start, dispatch: Any, wire: Any, broker: str
) -> None:
    attempts = Attempts(failures=3)
    start(billing(attempts, retry=Retry(max_attempts=4, initial=0.1, factor=1, jitter=0)))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 2)
    wire.channel.delete_exchange("rpcservice.wait")
    wait_until(lambda: len(attempts) == 4)


def test_a_message_that_may_not_wait_is_kept_and_holds_up_no_other(
    start: Start, dispatch: Any, wire: Any, broker: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a queue of the same name that somebody else has declared, or without the permission to declare it."""
    wait = Wait(50, "", BILL_QUEUE if wire.link.has_quorum_queues else "")
    wire.channel.declare_queue(wait.queue, durable=True, arguments={"x-message-ttl": 7})
    attempts = Attempts(failures=3)
    start(billing(attempts, retry=QUICK, concurrency=1))
    for number in range(3):
        dispatch("orders", "placed", number)
    dead = f"{BILL_QUEUE}.dead"
    wait_until(lambda: wire.channel.declare_queue(dead, passive=True).messages == 3)
    assert "cannot be tried again" in caplog.text
    dispatch("orders", "placed", "next")
    wait_until(lambda: attempts[-1] == "next")


def test_copies_and_the_user_do_not_travel_with_a_retry(start: Start, wire: Any, broker_uri: str) -> None:
    """The broker would route the copies again, and refuse another user's name."""
    attempts = Attempts(failures=1)
    start(billing(attempts, retry=QUICK))
    wire.channel.declare_queue("copies", durable=False)
    user = urlsplit(broker_uri).username
    wire.publish(
        "orders.events", "placed", b"1", content_type="application/json", user_id=user, headers={"CC": ["elsewhere"]}
    )
    wait_until(lambda: len(attempts) == 2)
    assert attempts == [1, 1]


def test_the_count_is_bound_to_the_queue(start: Start, wire: Any, broker: str) -> None:
    attempts = Attempts(failures=9)
    start(billing(attempts, retry=QUICK, dead_letter=False))
    headers = {"rpcservice-attempts": {"another-queue": 3}}
    wire.publish("orders.events", "placed", b"1", content_type="application/json", headers=headers)
    wait_until(lambda: len(attempts) == 3)


@pytest.mark.parametrize("count", ["many", -5, 1.5, None, True, [], {BILL_QUEUE: "x"}], ids=str)
def test_a_count_that_is_none_is_taken_for_none(start: Start, wire: Any, count: Any) -> None:
    attempts = Attempts(failures=9)
    start(billing(attempts, retry=QUICK, dead_letter=False))
    wire.publish(
        "orders.events", "placed", b"1", content_type="application/json", headers={"rpcservice-attempts": count}
    )
    wait_until(lambda: len(attempts) == 3)


def test_after_the_last_attempt_there_is_no_other(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=9)
    start(billing(attempts, retry=QUICK))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 3)
    dispatch("orders", "placed", 2)
    wait_until(lambda: len(attempts) == 6)
    assert attempts == [1, 1, 1, 2, 2, 2]


def test_an_error_that_no_retry_names_ends_it(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=1, error=ValueError("never"))
    start(billing(attempts, retry=Retry(initial=0.05, no_retry=(ValueError,))))
    dispatch("orders", "placed", 1)
    dispatch("orders", "placed", 2)
    wait_until(lambda: len(attempts) == 2)
    assert attempts == [1, 2]


def test_a_consumer_of_any_queue_may_retry(start: Start, wire: Any, broker: str) -> None:
    attempts = Attempts(failures=2)

    class Jobs:
        name = "jobs"

        @consume(Queue("jobs", Exchange("work", "fanout"), durable=True), retry=QUICK)
        def work(self, payload: Any) -> None:
            attempts.attempt(payload)

    start(Jobs)
    wire.publish("work", "", b'"job"', content_type="application/json")
    wait_until(lambda: len(attempts) == 3)


def test_another_instance_may_make_the_next_attempt(start: Start, dispatch: Any, wire: Any, broker: str) -> None:
    """The message waits in the broker, with its count, and nothing of it in the process that failed."""
    attempts = Attempts(failures=2)
    retry = Retry(max_attempts=2, initial=0.5, jitter=0)
    first = start(billing(attempts, retry=retry))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 1)
    wait_until(lambda: not first.service_map["billing"].pool.running)
    first.kill()
    start(billing(attempts, retry=retry))
    letter = wait_until(lambda: wire.channel.get(f"{BILL_QUEUE}.dead", no_ack=True))
    assert letter.headers["rpcservice-attempts"] == {BILL_QUEUE: 2}
    assert len(attempts) == 2


def test_requeue_asks_for_the_message_again_without_a_policy(start: Start, dispatch: Any, link_kind: str) -> None:
    attempts = Attempts(failures=6, error=Requeue(delay=0.05))
    start(billing(attempts))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 7)


def test_requeue_without_a_delay_puts_the_message_back_at_once(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=1, error=Requeue())
    start(billing(attempts))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 2)


def test_requeue_counts_where_there_is_a_policy(start: Start, dispatch: Any, broker: str) -> None:
    attempts = Attempts(failures=9, error=Requeue(delay=0.05))
    start(billing(attempts, retry=QUICK))
    dispatch("orders", "placed", 1)
    wait_until(lambda: len(attempts) == 3)
    dispatch("orders", "placed", 2)
    wait_until(lambda: len(attempts) == 6)


def test_the_log_tells_of_each_attempt(start: Start, dispatch: Any, caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts(failures=1)
    start(billing(attempts, retry=QUICK))
    with caplog.at_level(logging.WARNING, "rpcservice.amqp.failures"):
        dispatch("orders", "placed", 1)
        wait_until(lambda: len(attempts) == 2)
    assert "billing.bill: attempt 1 of 3: ConnectionError: no bank; again in 0.05 s" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retry": QUICK, "requeue_on_error": True}, "requeue_on_error puts a message back without end"),
        ({"dead_letter": True, "requeue_on_error": True}, "requeue_on_error puts a message back without end"),
        ({"dead_letter": "yes"}, "dead_letter='yes'"),
    ],
    ids=["retry", "dead-letter", "no-bool"],
)
def test_contradictions_are_refused_at_once(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        billing(Attempts(0), **options)


def test_a_policy_is_a_retry(start: Start) -> None:
    with pytest.raises(TypeError, match=r"retry=3: give Retry"):
        billing(Attempts(0), retry=3)


def test_no_ack_cannot_be_retried(start: Start) -> None:
    class Jobs:
        name = "jobs"

        @consume("jobs", no_ack=True, retry=QUICK)
        def work(self, payload: Any) -> None:
            raise AssertionError

    with pytest.raises(DeclarationError, match="the broker keeps no message with no_ack"):
        start(Jobs)


# Requests


class Payments:
    name = "payments"
    attempts: Attempts

    @rpc_method(retry=QUICK)
    def charge(self, amount: int) -> Any:
        return self.attempts.attempt(amount)


def test_a_request_is_tried_again_while_its_caller_waits(start: Start, rpc: Any, link_kind: str) -> None:
    Payments.attempts = Attempts(failures=2)
    start(Payments)
    assert rpc.payments.charge(5) == 3


def test_the_caller_gets_the_last_error(start: Start, rpc: Any, broker: str) -> None:
    Payments.attempts = Attempts(failures=9)
    start(Payments)
    with pytest.raises(RemoteError, match="no bank"):
        rpc.payments.charge(5)
    assert len(Payments.attempts) == 3


def test_no_attempt_is_made_past_the_callers_time_out(start: Start, rpc: Any, broker: str) -> None:
    attempts = Attempts(failures=9)

    class Slow:
        name = "slow"

        @rpc_method(retry=Retry(initial=30, jitter=0))
        def charge(self) -> Any:
            return attempts.attempt(1)

    start(Slow)
    with pytest.raises(RemoteError, match="no bank"):
        rpc.slow.charge.with_options(timeout=10)()
    assert len(attempts) == 1


def test_a_retried_request_comes_back_by_the_exchange_of_requests(start: Start, wire: Any, broker: str) -> None:
    """So that any instance can take it, nameko's too."""
    Payments.attempts = Attempts(failures=1)
    start(Payments)
    requests = wire.tap("nameko-rpc", "payments.*")
    reply = wire.request("payments.charge", b'{"args": [5], "kwargs": {}}')
    assert json.loads(reply.body) == {"result": 2, "error": None}
    first, second = requests.take(), requests.take()
    assert (first.routing_key, second.routing_key) == ("payments.charge", "payments.charge")
    assert second.headers["rpcservice-attempts"] == {"rpc-payments": 1}
    assert second.properties["reply_to"] == first.properties["reply_to"]
    assert second.properties["correlation_id"] == first.properties["correlation_id"]


# Deadlines


class Clock:
    name = "clock"
    seen: list[Any] = []
    nested = ServiceRpc("inner", timeout=50)
    dispatch = EventDispatcher()

    @rpc_method
    def show(self) -> float | None:
        ctx = current_worker.get()
        assert ctx is not None
        return ctx.deadline

    @rpc_method
    def show_nested(self) -> Any:
        return self.nested.show()

    @rpc_method
    def tell(self) -> None:
        self.dispatch("told", 1)


class Inner(Clock):
    name = "inner"


def test_a_request_takes_its_deadline_along(start: Start, rpc: Any, link_kind: str) -> None:
    start(Clock)
    assert rpc.clock.show.with_options(timeout=20)() == pytest.approx(time() + 20, abs=5)


def test_without_a_time_out_there_is_no_deadline(start: Start, rpc: Any, broker: str) -> None:
    start(Clock)
    assert rpc.clock.show.with_options(timeout=None)() is None


def test_a_nested_call_has_what_remains(start: Start, rpc: Any, broker: str) -> None:
    start(Clock, Inner)
    assert rpc.clock.show_nested.with_options(timeout=20)() == pytest.approx(time() + 20, abs=5)


def test_a_nested_call_may_have_less_than_what_remains(start: Start, rpc: Any, broker: str) -> None:
    start(Clock, Inner)
    assert rpc.clock.show_nested.with_options(timeout=500)() == pytest.approx(time() + 50, abs=5)


def late_request(seconds: float) -> dict[str, Any]:
    return {"headers": {"rpcservice-deadline": int(1000 * (time() - seconds))}}


def test_a_request_that_is_too_late_is_answered_and_not_run(start: Start, wire: Any, broker: str) -> None:
    Payments.attempts = Attempts(failures=0)
    start(Payments)
    reply = wire.request("payments.charge", b'{"args": [5], "kwargs": {}}', **late_request(60))
    error = json.loads(reply.body)["error"]
    assert error["exc_type"] == "DeadlineExceeded"
    assert "payments.charge was not run: its caller gave up 60 s ago" in error["value"]
    assert Payments.attempts == []


def test_clocks_may_differ_by_clock_skew(start: Start, wire: Any) -> None:
    Payments.attempts = Attempts(failures=0)
    start(Payments, clock_skew=120)
    reply = wire.request("payments.charge", b'{"args": [5], "kwargs": {}}', **late_request(60))
    assert json.loads(reply.body)["result"] == 1


@pytest.mark.parametrize("deadline", ["soon", 1.5, None, True, [], -1], ids=str)
def test_a_deadline_that_is_none_is_no_deadline(start: Start, wire: Any, deadline: Any) -> None:
    Payments.attempts = Attempts(failures=0)
    start(Payments)
    reply = wire.request("payments.charge", b'{"args": [5], "kwargs": {}}', headers={"rpcservice-deadline": deadline})
    is_late = deadline == -1
    assert (json.loads(reply.body)["error"] is not None) is is_late


def test_a_stale_deadline_with_namekos_prefix_is_none(start: Start, wire: Any) -> None:
    Payments.attempts = Attempts(failures=0)
    start(Payments)
    stale = {"headers": {"nameko.rpcservice-deadline": 1}}
    assert json.loads(wire.request("payments.charge", b'{"args": [5], "kwargs": {}}', **stale).body)["result"] == 1


def test_events_know_no_deadline(start: Start, wire: Any, rpc: Any, broker: str) -> None:
    attempts = Attempts(failures=0)
    start(billing(attempts), Clock)
    events = wire.tap("clock.events", "told")
    rpc.clock.tell()
    assert "rpcservice-deadline" not in events.take().headers
    wire.publish("orders.events", "placed", b"1", content_type="application/json", **late_request(60))
    wait_until(lambda: attempts == [1])


def test_a_request_that_waited_too_long_for_a_worker_is_not_run(start: Start, rpc: Any, broker: str) -> None:
    done: list[int] = []
    gate = green().event()

    class Busy:
        name = "busy"

        @rpc_method
        def work(self, number: int) -> None:
            done.append(number)
            gate.wait(30)

    start(Busy, max_workers=1, prefetch_count=10, clock_skew=0)
    first = rpc.busy.work.call_async(1)
    wait_until(lambda: done == [1])
    second = rpc.busy.work.with_options(timeout=0.3).call_async(2)
    third = rpc.busy.work.call_async(3)
    green().sleep(0.5)
    gate.set()
    first.result()
    third.result()
    assert done == [1, 3]
    with pytest.raises(Exception, match=r"busy\.work"):
        second.result()
