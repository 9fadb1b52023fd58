"""Slot, the place of one worker: who fills it, and when it is filled again."""

from dataclasses import dataclass

from rpcservice.supervisor.worker import Worker

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds before a worker is started again: the first, then twice as many each time, up to the last."""
RAN_WELL = 60.0
"""After so many seconds of service the next pause is the first one again."""


@dataclass
class Slot:
    """One of as many places as there are to be workers.

    Attributes:
        number: The number of its workers.
        worker: Who fills it; None while it is empty.
        successor: Who is being started to take the place of the worker.
        failures: How many workers in a row have ended too soon.
        restart_at: When it is filled again, on the monotonic clock.
    """

    number: int
    worker: Worker | None = None
    successor: Worker | None = None
    failures: int = 0
    restart_at: float | None = None

    def fill(self, worker: Worker) -> None:
        """Have a worker in this place."""
        self.worker, self.restart_at = worker, None

    def promote(self) -> None:
        """Put the successor in the place of the worker."""
        assert self.successor is not None
        self.fill(self.successor)
        self.successor = None

    def empty(self, ended: Worker | None, now: float) -> float:
        """Note that the worker has ended, or could not be started; gives the seconds until it is started again."""
        ran = 0.0 if ended is None or ended.ready_at is None else now - ended.ready_at
        if ran >= RAN_WELL:
            self.failures = 0
        self.worker = None
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self.failures, 30))
        self.failures += 1
        self.restart_at = now + pause
        return pause
