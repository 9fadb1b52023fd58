"""Which worker a message that has come again is given to."""

from types import SimpleNamespace
from typing import Any

import pytest

from rpcservice.amqp.deadletters import ORIGIN_EXCHANGE, ORIGIN_KEY, restore_origin
from rpcservice.amqp.link import Delivery
from rpcservice.amqp.longwork import take_over

PROPERTIES = {"message_id": "m-1", "correlation_id": "c-1", "reply_to": "caller"}


def delivery(is_open: bool, properties: Any = PROPERTIES, body: bytes = b"body", key: str = "key") -> Delivery:
    channel: Any = SimpleNamespace(is_open=is_open)
    return Delivery(channel, "tag", 1, is_open, "exchange", key, body, dict(properties))


def worker(message: Delivery | None, settled: bool = False) -> Any:
    return SimpleNamespace(message=message, settled=settled, call_id="service.method.1")


def give(came_again: Delivery, *workers: Any) -> bool:
    entrypoint: Any = SimpleNamespace(bound_to=SimpleNamespace(unfinished=lambda entrypoint: workers))
    return take_over(entrypoint, came_again)


def test_the_same_message_is_given_to_who_has_it() -> None:
    others = [worker(None), worker(delivery(False, {**PROPERTIES, "message_id": "m-2"}))]
    has_it, came_again = worker(delivery(False)), delivery(True)
    assert give(came_again, *others, has_it)
    assert has_it.message is came_again
    assert all(other.message is not came_again for other in others)


@pytest.mark.parametrize(
    "other",
    [
        {"properties": {**PROPERTIES, "message_id": "m-2"}},
        {"properties": {**PROPERTIES, "correlation_id": "c-2"}},
        {"properties": {**PROPERTIES, "reply_to": "another caller"}},
        {"properties": {"message_id": "m-1"}},
        {"body": b"another body"},
        {"key": "another key"},
    ],
    ids=["message id", "correlation id", "caller", "properties", "body", "routing key"],
)
def test_what_differs_in_anything_is_another_message(other: dict[str, Any]) -> None:
    has_another = worker(held := delivery(False, **other))
    assert not give(delivery(True), has_another)
    assert has_another.message is held


@pytest.mark.parametrize("name", ["message_id", "correlation_id"])
def test_one_id_is_enough(name: str) -> None:
    properties = {name: "1"}
    assert give(delivery(True, properties), worker(delivery(False, properties)))


def test_without_an_id_no_message_is_known() -> None:
    assert not give(delivery(True, {"reply_to": "caller"}), worker(delivery(False, {"reply_to": "caller"})))


def test_who_has_it_by_a_channel_that_is_open_has_another_of_the_same_id() -> None:
    assert not give(delivery(True), worker(delivery(True)))


def test_who_has_settled_it_can_do_nothing_more_for_it() -> None:
    assert not give(delivery(True), worker(delivery(False), settled=True))


def test_of_equal_messages_each_worker_is_given_one() -> None:
    workers = [worker(delivery(False)) for _ in range(2)]
    again = [delivery(True) for _ in range(2)]
    assert all(give(one, *workers) for one in again)
    assert not give(delivery(True), *workers)
    assert {id(one.message) for one in workers} == {id(one) for one in again}


def test_a_retried_event_is_known_although_it_says_where_it_was_published_first() -> None:
    properties = {**PROPERTIES, "headers": {ORIGIN_EXCHANGE: "orders.events", ORIGIN_KEY: "placed"}}
    restore_origin(held := delivery(False, properties, key="queue"))
    assert held.routing_key == "placed"
    assert give(delivery(True, properties, key="queue"), worker(held))
