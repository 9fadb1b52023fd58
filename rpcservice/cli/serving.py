"""Runs a ServiceRunner until it ends or a signal ends it."""

from collections.abc import Callable

from rpcservice.cli.signals import LAST_RESORT, Signals
from rpcservice.core.runner import ServiceRunner


class Serving:
    """Starts a runner and waits; the first SIGTERM or Ctrl-C stops it in order, the second kills it.

    Args:
        runner: What to run, its services added.
        on_started: Called when they are up.
        on_serving: Called before they start, with what stops them as signals do.
        on_stopping: Called when they are up, and about to be stopped by a signal.
    """

    def __init__(
        self,
        runner: ServiceRunner,
        on_started: Callable[[], object],
        on_serving: Callable[[Signals], object] = lambda signals: None,
        on_stopping: Callable[[], object] = lambda: None,
    ) -> None:
        self._runner = runner
        self._on_started = on_started
        self._on_serving = on_serving
        self._on_stopping = on_stopping
        self._is_up = False
        self._error: BaseException | None = None

    def run(self) -> bool:
        """Serve to the end; gives False when it was a kill.

        Raises:
            BrokerUnavailable: The broker could not be reached in time.
            Exception: What ended a service.
        """
        with Signals(self._runner.backend, self._runner.config.shutdown_timeout + LAST_RESORT) as signals:
            self._on_serving(signals)
            signals.spawn(self._serve)
            if not signals.ends_before(1):
                if not self._is_up:
                    # There is nothing to finish yet.
                    self._runner.kill()
                    return True
                self._on_stopping()
                stopping = self._runner.backend.spawn(self._runner.stop)
                if not signals.ends_before(2):
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
