"""The service under test, for ``rpcservice run``: notes what it does in the ledger that LEDGER names."""

import os
from typing import Any

import eventlet
from ledger import Ledger

from rpcservice import BROADCAST, DependencyProvider, Retry, WorkerContext, event_handler, rpc

LEDGER = Ledger(os.environ["LEDGER"])
PAUSE = float(os.environ.get("PAUSE", "0"))


LONG = 8.0
"""Seconds that some events take."""


class Message(DependencyProvider):
    """Gives a method the message that it handles."""

    def get_dependency(self, ctx: WorkerContext) -> Any:
        """Give it."""
        return ctx.message


class Counted:
    name = "counted"
    message = Message()

    @event_handler("source", "happened")
    def handle(self, number: str) -> None:
        """Handle an event."""
        LEDGER.note("begun", number)
        if PAUSE:
            eventlet.sleep(PAUSE)
        LEDGER.note("handled", number)

    @event_handler("source", "failed", retry=Retry(max_attempts=4, initial=0.5, factor=2, jitter=0.1))
    def handle_at_last(self, number: str) -> None:
        """Handle an event with the third attempt, whichever process made the others."""
        LEDGER.note("attempted", number)
        if LEDGER.read("attempted")[number] < 3:
            raise ConnectionError("not yet")
        LEDGER.note("handled", number)

    @event_handler("source", "announced", handler_type=BROADCAST, reliable_delivery=False)
    def hear(self, number: str) -> None:
        """Hear of what every instance is told."""
        LEDGER.note("heard", number)

    @event_handler("source", "lasted")
    def handle_long(self, number: str) -> None:
        """Handle an event, slowly."""
        LEDGER.note("long-begun", number)
        eventlet.sleep(LONG)
        LEDGER.note("long-done", number)

    @event_handler("source", "doubled")
    def acknowledge_twice(self, number: str) -> None:
        """Handle an event and acknowledge it, which is about to be done once more."""
        self.message.ack()
        # What is acknowledged twice in one turn is acknowledged once.
        eventlet.sleep(0)
        LEDGER.note("doubled", number)

    @rpc
    def call(self, number: str) -> Any:
        """Answer a call."""
        LEDGER.note("called", number)
        if PAUSE:
            eventlet.sleep(PAUSE)
        LEDGER.note("returned", number)
        return number
