"""The service under test, for ``rpcservice run``: notes what it does in the ledger that LEDGER names."""

import os
from typing import Any

import eventlet
from ledger import Ledger

from rpcservice import Retry, event_handler, rpc

LEDGER = Ledger(os.environ["LEDGER"])
PAUSE = float(os.environ.get("PAUSE", "0"))


class Counted:
    name = "counted"

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

    @rpc
    def call(self, number: str) -> Any:
        """Answer a call."""
        LEDGER.note("called", number)
        if PAUSE:
            eventlet.sleep(PAUSE)
        LEDGER.note("returned", number)
        return number
