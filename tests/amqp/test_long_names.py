"""Names of over 255 bytes, which AMQP has no room for, are named as such before a broker is asked."""

from collections.abc import Callable
from typing import Any

import pytest
from kombu import Exchange

from rpcservice import NameTooLong, Publisher, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.core.runner import ServiceRunner

Start = Callable[..., ServiceRunner]

LONG_EXCHANGE = "y" * 240
"""As long as it may be, but not with what a wait queue has before it."""


class Sender:
    name = "sender"
    publish = Publisher()

    @rpc_method
    def later(self) -> None:
        self.publish(1, exchange=LONG_EXCHANGE, routing_key="k", delay=1, declare=[Exchange(LONG_EXCHANGE, "topic")])

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


def test_a_message_cannot_wait_in_such_a_queue(start: Start, rpc: Any, link_kind: str) -> None:
    """The error reaches the caller as what it is, and the service goes on."""
    start(Sender)
    with pytest.raises(NameTooLong, match=r"^the queue 'rpcservice\.wait\..*'\.\.\. has 2\d\d bytes, at most 255"):
        rpc.sender.later()
    assert rpc.sender.ping() == "pong"
