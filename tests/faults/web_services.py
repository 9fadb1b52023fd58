"""A web service before the one of counted_services.py, in the same process."""

from typing import Any

import eventlet
from counted_services import LEDGER, Counted

from rpcservice import ServiceRpc, http

__all__ = ["Counted", "Web"]

WORK = 0.02


class Web:
    name = "web"
    counted = ServiceRpc("counted", timeout=30)

    @http("POST", "/counts/<number>")
    def count(self, request: Any, number: str) -> str:
        """Answer a request with what another service says, from whichever process."""
        LEDGER.note("served", number)
        eventlet.sleep(WORK)
        return str(self.counted.call(number))
