"""A program of threads that sends events and makes calls until SIGTERM, and notes in a ledger what was acknowledged.

``python load.py URI LEDGER EVENTS_A_SECOND CALLERS EVENT_TYPE SETTINGS``, the settings as JSON; it ends when all that
it has begun has ended.
"""

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from itertools import count
from random import random
from time import monotonic
from typing import Any

from ledger import Ledger

from rpcservice import ClusterRpcClient, event_dispatcher

SENDERS = 50
CALL_PAUSE = 0.05
"""Seconds from one call of a caller to the next."""
MADE_UP = 1.0
"""Seconds of an outage that are made up for afterwards."""


class Load:
    def __init__(
        self, uri: str, ledger: Ledger, rate: float, callers: int, event_type: str, settings: dict[str, Any]
    ) -> None:
        config = {"AMQP_URI": uri, "HEARTBEAT": 5, "rpc_timeout": 20, **settings}
        # Mandatory: an event that no queue takes is not acknowledged to its sender.
        self.dispatch = event_dispatcher(config, mandatory=True)
        self.client = ClusterRpcClient(config)
        self.ledger = ledger
        self.event_type = event_type
        self.stopped = threading.Event()
        self.numbers = count(1)
        self.threads = [
            threading.Thread(target=self.send, args=(SENDERS / rate,)) for _ in range(SENDERS if rate else 0)
        ]
        self.threads += [threading.Thread(target=self.call) for _ in range(callers)]

    def turns(self, pause: float) -> Iterator[None]:
        """Give the turns of a thread until SIGTERM: so many a second, however long each takes."""
        due = monotonic() + pause * random()
        while not self.stopped.wait(max(0, due - monotonic())):
            due = max(due + pause, monotonic() - MADE_UP)
            yield

    def send(self, pause: float) -> None:
        """Send events, one after the other."""
        for _ in self.turns(pause):
            number = f"e{next(self.numbers)}"
            self.ledger.note("sent", number)
            try:
                self.dispatch("source", self.event_type, number)
            except Exception as exc:
                self.ledger.note("unsent", f"{number} {type(exc).__name__}")
            else:
                self.ledger.note("acknowledged", number)

    def call(self) -> None:
        """Make calls, one after the other."""
        for _ in self.turns(CALL_PAUSE):
            number = f"c{next(self.numbers)}"
            self.ledger.note("asked", number)
            try:
                answer = self.client.counted.call(number)
            except Exception as exc:
                self.ledger.note("ended", f"{number} {type(exc).__name__}")
            else:
                self.ledger.note("answered", answer)

    def run(self) -> None:
        """Go on until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *args: self.stopped.set())
        self.client.start()
        self.dispatch.start()
        for thread in self.threads:
            thread.start()
        print("running", flush=True)
        self.stopped.wait()
        for thread in self.threads:
            thread.join()
        self.client.stop()
        self.dispatch.close()
        print("all has ended", flush=True)


if __name__ == "__main__":
    logging.basicConfig()
    Load(
        sys.argv[1], Ledger(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]), sys.argv[5], json.loads(sys.argv[6])
    ).run()
