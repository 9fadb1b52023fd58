"""A service for ``rpcservice run`` whose handlers have their effect, a row in a database, once for each event."""

import os
from typing import Any

import eventlet
from ledger import Ledger
from sqlalchemy import text

from rpcservice import Database, Retry, event_handler

LEDGER = Ledger(os.environ["LEDGER"])
PAUSE = float(os.environ.get("PAUSE", "0"))
INSERT = text("INSERT INTO effects VALUES (:number)")


class Effects:
    name = "effects"
    database = Database()

    @event_handler("source", "happened", idempotent=True)
    def handle(self, number: str) -> None:
        """Have the effect, in the transaction that notes that it is there."""
        LEDGER.note("effect-begun", number)
        if PAUSE:
            eventlet.sleep(PAUSE)
        self._insert(number)

    @event_handler("source", "failed", idempotent=True, retry=Retry(max_attempts=4, initial=0.5, factor=2, jitter=0.1))
    def handle_at_last(self, number: str) -> None:
        """Have the effect with the third attempt; what the others write is taken back."""
        LEDGER.note("effect-begun", number)
        self._insert(number)
        if LEDGER.read("effect-begun")[number] < 3:
            raise ConnectionError("not yet")

    def _insert(self, number: Any) -> None:
        self.database.execute(INSERT, {"number": number})
