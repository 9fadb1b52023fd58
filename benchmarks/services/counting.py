"""Counts handled events and reports how long they took. Standard library alone."""

import json
import time
from typing import Any


class EventCount:
    """Counts the events of one flood; each payload says how many there are.

    The first tenth is not measured: it holds the wake-up of the process.
    """

    def __init__(self) -> None:
        self._handled = 0
        self._cpu = self._start = 0.0

    def add(self, payload: dict[str, Any]) -> None:
        """Count one event; after the last, report."""
        self._handled += 1
        expected = payload["of"]
        if self._handled == expected // 10:
            self._start = time.perf_counter()
            self._cpu = time.process_time()
        elif self._handled == expected:
            seconds = time.perf_counter() - self._start
            cpu = time.process_time() - self._cpu
            count = expected - expected // 10
            print(json.dumps({"mark": "events", "count": count, "seconds": seconds, "cpu": cpu}), flush=True)
            self._handled = 0
