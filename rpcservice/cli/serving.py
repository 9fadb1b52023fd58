"""Runs a ServiceRunner until it ends or a signal ends it."""

import signal
from collections.abc import Callable
from types import FrameType

from rpcservice.core.runner import ServiceRunner

LAST_RESORT = 3
"""Seconds after a second signal in which the process ends by itself; then the system ends it."""


class Serving:
    """Starts a runner and waits; the first SIGTERM or Ctrl-C stops it in order, the second kills it.

    Args:
        runner: What to run, its services added.
        on_started: Called when they are up.
    """

    def __init__(self, runner: ServiceRunner, on_started: Callable[[], object]) -> None:
        self._runner = runner
        self._on_started = on_started
        self._changed = runner.backend.event()
        self._signals = 0
        self._is_up = False
        self._has_ended = False
        self._error: BaseException | None = None

    def run(self) -> bool:
        """Serve to the end; gives False when it was a kill.

        Raises:
            BrokerUnavailable: The broker could not be reached in time.
            Exception: What ended a service.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        self._runner.backend.spawn(self._serve)
        if not self._ends_before(signals=1):
            if not self._is_up:
                # There is nothing to finish yet.
                self._runner.kill()
                return True
            stopping = self._runner.backend.spawn(self._runner.stop)
            if not self._ends_before(signals=2):
                self._runner.kill()
                return False
            stopping.wait()
        if self._error is not None:
            raise self._error
        return True

    def _serve(self) -> None:
        try:
            self._runner.start()
            self._is_up = True
            self._on_started()
            self._runner.wait()
        except BaseException as exc:  # a sys.exit() in a service too: the main greenlet is who ends the process
            self._error = exc
        self._has_ended = True
        self._changed.set()

    def _ends_before(self, signals: int) -> bool:
        """Wait until all has ended, or so many signals have come; False for the latter."""
        while not self._has_ended:
            if self._signals >= signals:
                return False
            self._changed.clear()
            self._changed.wait()
        return True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the main greenlet does what it asks for."""
        self._signals += 1
        self._runner.backend.wake_for(self._changed.set)
        if self._signals == 2:
            # A service that never gives control back keeps the hub from running, and a kill from happening.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LAST_RESORT)
