"""Turns SIGTERM and Ctrl-C into something that a program on greenlets can wait for."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from rpcservice.concurrency import Backend

LAST_RESORT = 3
"""Seconds after a second signal in which the process ends by itself; then the system ends it."""


class Signals:
    """Takes SIGTERM and Ctrl-C over for a ``with`` block, so that neither raises in whatever happens to run.

    Args:
        backend: Where :meth:`ends_before` waits.
        patience: Seconds in which somebody has to act on the first signal; then the system ends the process. None
            leaves that to the second one.
    """

    def __init__(self, backend: Backend, patience: float | None = None) -> None:
        self._backend = backend
        self._patience = patience
        self._changed = backend.event()
        self._received = 0
        self._demanded = 0
        self._has_ended = False

    def __enter__(self) -> Self:
        self._handlers: dict[signal.Signals, Any] = {
            number: signal.signal(number, self._receive) for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received += 1
        self._backend.wake_for(self._changed.set)
        # Code that never gives control back keeps the hub from running, and whoever waits here from acting.
        if self._received == 2:
            _end_after(LAST_RESORT)
        elif self._received == 1 and self._patience is not None:
            _end_after(self._patience)

    def demand(self, count: int) -> None:
        """Act as after so many signals, which are not counted on top of those that come; from any thread."""
        self._demanded = max(self._demanded, count)
        self._backend.post(self._changed.set)

    def spawn(self, function: Callable[[], object]) -> None:
        """Run beside the caller what :meth:`ends_before` waits for; it must not raise."""

        def run() -> None:
            try:
                function()
            finally:
                self._has_ended = True
                self._changed.set()

        self._backend.spawn(run)

    def ends_before(self, count: int) -> bool:
        """Wait until what was spawned has ended, or so many signals have come; False for the latter."""
        while not self._has_ended:
            if max(self._received, self._demanded) >= count:
                if self._received == 1:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                return False
            self._changed.clear()
            self._changed.wait()
        return True


def _end_after(seconds: float) -> None:
    """Have the system end the process, whatever it is doing then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
