"""@timer, the entrypoint that fires at intervals; the shortest worked example of an extension."""

from math import ceil, inf
from time import monotonic
from typing import Any

from rpcservice.concurrency import Task
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.process import Process
from rpcservice.errors import ContainerBeingKilled


class Timer(Entrypoint):
    """Fires its method every ``interval`` seconds, never twice at the same time.

    A method that takes longer than the interval delays the next call; the one after that keeps to the schedule
    of the start, so calls do not drift. Every instance of the service has its own timer, unless ``per_host`` is set.

    Args:
        interval: Seconds from one call to the next.
        eager: Fire at the start too, instead of after one interval.
        per_host: Fire in one worker alone of ``rpcservice run --workers``; when that ends, in another.
        options: As for every entrypoint: ``expected_exceptions``, ``sensitive_arguments``, ``time_limit``.
    """

    def __init__(self, interval: float, eager: bool = False, *, per_host: bool = False, **options: Any) -> None:
        super().__init__(**options)
        if isinstance(interval, bool) or not isinstance(interval, int | float) or not 0 < interval < inf:
            raise ValueError(f"@timer(interval={interval!r}): give a number of seconds above 0")
        self.interval = interval
        self.eager = eager
        self.per_host = per_host
        self._thread: Task | None = None
        self._is_stopped = False
        self._process: Process | None = None

    def setup(self) -> None:
        """Ask which of several processes this one is, if it matters."""
        super().setup()
        self._process = self.bound_to.resource(Process) if self.per_host else None

    def start(self) -> None:
        """Start the schedule, in one process alone if asked for that."""
        self._stopped = self.bound_to.backend.event()
        self._begin = monotonic()
        if self._process is None:
            self._start_calls()
        else:
            self._process.when_leading(self._start_calls)

    def _start_calls(self) -> None:
        if self._is_stopped:
            return  # this process has begun to stop before its turn came
        self._thread = self.bound_to.spawn_managed_thread(self._run, f"timer of {self.method_name}")

    def stop(self) -> None:
        """Fire no more; a call that runs may finish."""
        self._is_stopped = True
        if self._thread is not None:
            self._stopped.set()

    kill = stop

    def _run(self) -> None:
        begin, calls = self._begin, 0
        if self.eager:
            begin = monotonic()
        else:
            # Of a process whose turn came later, the next tick of the schedule that it had from the start.
            calls = max(1, ceil((monotonic() - begin) / self.interval))
        while not self._stopped.wait(max(0, begin + calls * self.interval - monotonic())):
            try:
                self._run_once()
            except ContainerBeingKilled:
                return
            calls += 1
            # After a long call the ticks that passed meanwhile are one late tick, at once; then the old schedule.
            calls = max(calls, int((monotonic() - begin) / self.interval))

    def _run_once(self) -> None:
        self.bound_to.run_worker(self)

    def settle(self, ctx: Any) -> None:
        """Nobody waits for the outcome; errors are in the log."""

    def describe(self) -> str:
        """Say how often the method fires."""
        where = ", in one worker" if self.per_host else ""
        return f"timer {self.method_name}, every {self.interval:g} s{where}"


timer = Timer.decorator
