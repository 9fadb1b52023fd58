"""Names of over 255 bytes, which AMQP has no room for, are named as such before a broker is asked."""

from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import MessageTooLarge, NameTooLong, Publisher, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.core.runner import ServiceRunner

Start = Callable[..., ServiceRunner]

LONG_EXCHANGE = "y" * 255
"""As long as it may be, but not with what a wait queue has before it."""


class Sender:
    name = "sender"
    publish = Publisher()

    @rpc_method
    def later(self, exchange: str, routing_key: str) -> None:
        self.publish(1, exchange=exchange, routing_key=routing_key, delay=0.1)

    @rpc_method
    def ping(self) -> str:
        return "pong"


def test_a_service_with_such_a_queue_does_not_start(start: Start, link_kind: str) -> None:
    class Billing:
        name = "billing"

        @event_handler("orders", "e" * 240)
        def bill(self, payload: Any) -> None:
            raise AssertionError

    with pytest.raises(NameTooLong, match=r"^the queue 'evt-orders-e+'\.\.\. has 265 bytes, at most 255 are allowed"):
        start(Billing)


def test_a_service_whose_dead_letters_have_such_a_queue_does_not_start(start: Start, broker: str) -> None:
    class Billing:
        name = "billing"

        @event_handler("orders", "e" * 228, dead_letter=True)
        def bill(self, payload: Any) -> None:
            raise AssertionError

    with pytest.raises(NameTooLong, match="has 258 bytes"):
        start(Billing)


def test_a_message_may_wait_for_an_exchange_of_the_longest_name(
    start: Start, rpc: Any, wire: Any, link_kind: str
) -> None:
    start(Sender)
    wire.channel.declare_exchange(LONG_EXCHANGE, "topic")
    messages = wire.tap(LONG_EXCHANGE, "k")
    rpc.sender.later(LONG_EXCHANGE, "k")
    assert messages.take().body == b"1"


@pytest.mark.parametrize(("exchange", "key"), [("y" * 256, "k"), ("", "q" * 256)], ids=["exchange", "key"])
def test_a_message_cannot_wait_for_what_has_such_a_name(
    start: Start, rpc: Any, link_kind: str, exchange: str, key: str
) -> None:
    """The error reaches the caller as what it is, and the service goes on."""
    start(Sender)
    with pytest.raises(MessageTooLarge, match="256 bytes"):
        rpc.sender.later(exchange, key)
    assert rpc.sender.ping() == "pong"
