"""A service for ``rpcservice run`` with a handler that runs once for each event, however often that comes."""

import os

from ledger import Ledger

from rpcservice import event_handler

LEDGER = Ledger(os.environ["LEDGER"])


class Once:
    name = "once"

    @event_handler("source", "happened", idempotent=True)
    def handle(self, number: str) -> None:
        """Handle an event."""
        LEDGER.note("handled", number)

    @event_handler("source", "happened")
    def see(self, number: str) -> None:
        """Note how often it comes."""
        LEDGER.note("seen", number)
