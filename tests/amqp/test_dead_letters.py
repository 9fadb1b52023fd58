"""What was tried for the last time, or cannot be decoded, is kept beside its queue, on both brokers."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import (
    BROADCAST,
    DeclarationError,
    Reject,
    RemoteError,
    Retry,
    consume,
    event_handler,
)
from rpcservice import rpc as rpc_method
from rpcservice.amqp.deadletters import Route, dead_letter, lighter, revived
from rpcservice.amqp.link import Delivery
from rpcservice.amqp.properties import encode_properties
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import MessageTooLarge

Start = Callable[..., ServiceRunner]

QUICK = Retry(max_attempts=2, initial=0.05, jitter=0)
BILL_QUEUE = "evt-orders-placed--billing.bill"
JSON = {"content_type": "application/json"}


def billing(error: Exception | None = None, **options: Any) -> type:
    class Billing:
        name = "billing"
        payloads: list[Any] = []

        @event_handler("orders", "placed", **options)
        def bill(self, payload: Any) -> None:
            self.payloads.append(payload)
            raise error or ConnectionError("no bank")

    return Billing


def take(wire: Any, queue: str = f"{BILL_QUEUE}.dead") -> Any:
    return wait_until(lambda: wire.channel.get(queue, no_ack=True))


def count(wire: Any, queue: str) -> int:
    messages: int = wire.channel.declare_queue(queue, passive=True).messages
    return messages


def test_after_the_last_attempt_a_message_is_with_the_dead_letters(
    start: Start, dispatch: Any, wire: Any, link_kind: str
) -> None:
    start(billing(retry=QUICK))
    dispatch("orders", "placed", {"id": 7})
    letter = take(wire)
    assert json.loads(letter.body) == {"id": 7}
    headers = letter.headers
    assert headers["rpcservice-error"] == "ConnectionError: no bank"
    assert headers["rpcservice-traceback"].rstrip().endswith("ConnectionError: no bank")
    assert "in bill" in headers["rpcservice-traceback"]
    assert (headers["rpcservice-service"], headers["rpcservice-method"]) == ("billing", "bill")
    assert headers["rpcservice-attempts"] == {BILL_QUEUE: 2}
    assert headers["rpcservice-queue"] == BILL_QUEUE
    assert (headers["rpcservice-exchange"], headers["rpcservice-routing-key"]) == ("orders.events", "placed")
    failed_at = datetime.fromisoformat(headers["rpcservice-failed-at"])
    assert abs(datetime.now(UTC) - failed_at) < timedelta(minutes=1)


def test_without_a_policy_it_is_the_first_attempt(start: Start, dispatch: Any, wire: Any, broker: str) -> None:
    start(billing(dead_letter=True))
    dispatch("orders", "placed", 1)
    assert take(wire).headers["rpcservice-attempts"] == {BILL_QUEUE: 1}


@pytest.mark.parametrize("properties", [{"delivery_mode": 1}, {}], ids=["transient", "unsaid"])
def test_a_letter_outlives_the_broker_whatever_its_sender_had_in_mind(
    start: Start, wire: Any, broker: str, properties: dict[str, Any]
) -> None:
    start(billing(dead_letter=True))
    wire.publish("orders.events", "placed", b"1", content_type="application/json", **properties)
    assert take(wire).properties["delivery_mode"] == 2


def test_the_message_is_off_its_queue_then(start: Start, dispatch: Any, wire: Any, broker: str) -> None:
    runner = start(billing(dead_letter=True))
    dispatch("orders", "placed", 1)
    take(wire)
    wait_until(lambda: not runner.service_map["billing"].pool.running)
    runner.stop()
    assert count(wire, BILL_QUEUE) == 0
    assert count(wire, f"{BILL_QUEUE}.dead") == 0


def test_a_policy_may_do_without(start: Start, dispatch: Any, wire: Any) -> None:
    service: Any = billing(retry=QUICK, dead_letter=False)
    start(service)
    dispatch("orders", "placed", 1)
    wait_until(lambda: service.payloads == [1, 1])
    with pytest.raises(Exception, match="404"):
        count(wire, f"{BILL_QUEUE}.dead")


def test_reject_is_for_the_dead_letters_at_once(start: Start, dispatch: Any, wire: Any, broker: str) -> None:
    start(billing(Reject("no such order"), retry=Retry(initial=60)))
    dispatch("orders", "placed", 1)
    assert take(wire).headers["rpcservice-error"] == "Reject: no such order"


def test_reject_without_dead_letters_is_the_end(start: Start, dispatch: Any, broker: str) -> None:
    service: Any = billing(Reject("no such order"), requeue_on_error=True)
    start(service)
    dispatch("orders", "placed", 1)
    dispatch("orders", "placed", 2)
    wait_until(lambda: service.payloads == [1, 2])


def test_what_cannot_be_decoded_is_kept(start: Start, wire: Any, link_kind: str) -> None:
    start(billing(dead_letter=True))
    wire.publish("orders.events", "placed", b"{not json", message_id="m-1", **JSON)
    letter = take(wire)
    assert letter.body == b"{not json"
    assert letter.properties["message_id"] == "m-1"
    assert letter.headers["rpcservice-error"].startswith("MalformedRequest: ")


def test_a_content_type_that_is_not_accepted_is_kept(start: Start, wire: Any, broker: str) -> None:
    start(billing(dead_letter=True))
    wire.publish("orders.events", "placed", b"\x80\x04N.", content_type="application/x-python-serialize")
    letter = take(wire)
    assert "application/x-python-serialize" in letter.headers["rpcservice-error"]


def test_many_that_cannot_be_decoded_are_all_kept(start: Start, wire: Any, broker: str) -> None:
    start(billing(dead_letter=True), max_workers=2)
    for number in range(50):
        wire.publish("orders.events", "placed", b"{%d" % number, **JSON)
    wait_until(lambda: count(wire, f"{BILL_QUEUE}.dead") == 50)


def test_headers_too_large_for_a_frame_give_way(start: Start, wire: Any, broker: str) -> None:
    start(billing(dead_letter=True))
    headers = {"large": "x" * 125_000, "small": "y"}
    wire.publish("orders.events", "placed", b"1", headers=headers, **JSON)
    letter = take(wire)
    assert letter.headers["rpcservice-error"] == "ConnectionError: no bank"
    assert letter.body == b"1"


def test_at_last_a_letter_fits_into_the_smallest_frame_of_amqp() -> None:
    longest = "n" * 255
    texts = ("app_id", "content_encoding", "content_type", "correlation_id", "message_id", "reply_to", "type")
    properties = {**dict.fromkeys(texts, longest), "headers": {"some": longest}, "priority": 1, "timestamp": 1}
    channel: Any = None
    delivery = Delivery(channel, "tag", 1, False, longest, longest, b"body", properties)
    error = ValueError("\N{PILE OF POO}" * 5000)
    letter = dead_letter(delivery, longest, Route(longest, longest), 1, error, longest * 2, longest * 2)
    *_, last = lighter(letter)
    assert len(encode_properties(last.properties)) <= 4096 - 8 - 12
    assert last.properties["message_id"] == longest
    came = Delivery(channel, "tag", 1, False, last.exchange, last.routing_key, last.body, last.properties)
    message = revived(came)
    assert message is not None
    assert (message.exchange, message.routing_key, message.body) == (longest, longest, b"body")


def test_what_fits_into_no_frame_stays_unacknowledged(
    start: Start, dispatch: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Put back it would come again at once, and without end."""

    def refuse(*args: Any) -> None:
        raise MessageTooLarge("headers", 9000, 4088)

    service = billing(dead_letter=True)
    start(service)
    monkeypatch.setattr(ConfirmedSender, "hand_over", refuse)
    for number in range(3):
        dispatch("orders", "placed", number)
        wait_until(lambda number=number: caplog.text.count("its message stays unacknowledged until") == number + 1)
    assert service.payloads == [0, 1, 2]  # type: ignore[attr-defined]


def test_a_long_error_is_cut(start: Start, dispatch: Any, wire: Any) -> None:
    start(billing(ValueError("x" * 200_000), dead_letter=True))
    dispatch("orders", "placed", 1)
    headers = take(wire).headers
    assert len(headers["rpcservice-error"]) == 2000
    assert len(headers["rpcservice-traceback"]) == 16_000


def test_a_queue_of_dead_letters_that_was_deleted_is_declared_again(
    start: Start, dispatch: Any, wire: Any, broker: str
) -> None:
    start(billing(dead_letter=True))
    wire.channel.delete_queue(f"{BILL_QUEUE}.dead")
    dispatch("orders", "placed", 1)
    wait_until(lambda: runner_has(wire, f"{BILL_QUEUE}.dead"))
    assert take(wire).body == b"1"


def test_of_a_message_that_two_handlers_fail_with_both_letters_are_kept(
    start: Start, dispatch: Any, wire: Any, broker: str
) -> None:
    other = type("Other", (billing(dead_letter=True),), {"name": "other"})
    start(billing(dead_letter=True), other)
    queues = [f"{BILL_QUEUE}.dead", "evt-orders-placed--other.bill.dead"]
    for queue in queues:
        wire.channel.delete_queue(queue)
        dispatch("orders", "placed", queue)
        for kept in queues:
            wait_until(lambda kept=kept: runner_has(wire, kept))
            assert json.loads(take(wire, kept).body) == queue


def runner_has(wire: Any, queue: str) -> bool:
    channel = wire.link.channel()
    try:
        return bool(channel.declare_queue(queue, passive=True))
    except Exception:
        return False


def test_a_letter_revived_is_as_it_was_published(start: Start, wire: Any, broker: str) -> None:
    start(billing(dead_letter=True))
    given = {"message_id": "m-1", "priority": 3, "headers": {"nameko.language": "de", "own": 1}, **JSON}
    wire.publish("orders.events", "placed", b"1", **given)
    message = revived(take(wire))
    assert message is not None
    assert (message.exchange, message.routing_key) == ("", BILL_QUEUE)
    assert (message.body, message.properties["message_id"], message.properties["priority"]) == (b"1", "m-1", 3)
    headers = {name: value for name, value in message.headers.items() if not name.startswith("rpcservice-")}
    assert headers == {"nameko.language": "de", "own": 1}
    assert "rpcservice-attempts" not in message.headers


def test_a_consumer_of_any_queue_may_keep_dead_letters(start: Start, wire: Any, broker: str) -> None:
    class Jobs:
        name = "jobs"

        @consume("jobs", dead_letter=True)
        def work(self, payload: Any) -> None:
            raise ValueError("no")

    start(Jobs)
    wire.publish("", "jobs", b'"job"', **JSON)
    assert take(wire, "jobs.dead").headers["rpcservice-routing-key"] == "jobs"


class Payments:
    name = "payments"

    @rpc_method(retry=QUICK, dead_letter=True)
    def charge(self, amount: int) -> None:
        raise ConnectionError("no bank")

    @rpc_method
    def refund(self, amount: int) -> None:
        raise ConnectionError("no bank")


def test_a_request_is_kept_and_answered(start: Start, rpc: Any, wire: Any, link_kind: str) -> None:
    start(Payments)
    with pytest.raises(RemoteError, match="no bank"):
        rpc.payments.charge(5)
    letter = take(wire, "rpc-payments.dead")
    assert letter.headers["rpcservice-return"] == {"exchange": "nameko-rpc", "routing_key": "payments.charge"}
    assert letter.headers["rpcservice-attempts"] == {"rpc-payments": 2}


def test_a_request_that_cannot_be_decoded_is_kept_and_answered(start: Start, wire: Any, broker: str) -> None:
    start(Payments)
    reply = wire.request("payments.charge", b"{not json")
    assert json.loads(reply.body)["error"]["exc_type"] == "MalformedRequest"
    assert take(wire, "rpc-payments.dead").body == b"{not json"


def test_other_methods_keep_none(start: Start, rpc: Any, wire: Any, broker: str) -> None:
    start(Payments)
    with pytest.raises(RemoteError, match="no bank"):
        rpc.payments.refund(5)
    with pytest.raises(RemoteError, match="no bank"):
        rpc.payments.charge(5)
    assert take(wire, "rpc-payments.dead").headers["rpcservice-method"] == "charge"
    assert count(wire, "rpc-payments.dead") == 0


def test_a_broadcast_handler_has_no_place_for_them(start: Start) -> None:
    class Cache:
        name = "cache"

        @event_handler("orders", "placed", handler_type=BROADCAST, reliable_delivery=False, dead_letter=True)
        def forget(self, payload: Any) -> None:
            raise AssertionError

    with pytest.raises(DeclarationError, match=r"cache\.forget: a BROADCAST handler has no dead letters"):
        start(Cache)
