"""nameko's timer."""

from typing import Any

from rpcservice import timers
from rpcservice.compat.nameko.extensions import Entrypoint

__all__ = (
    "Timer",
    "timer",
)


class Timer(Entrypoint, timers.Timer):
    """Fires its method every ``interval`` seconds.

    Args:
        interval: Seconds from one call to the next.
        eager: Fire at the start too.
        options: As for every entrypoint.
    """

    def __init__(self, interval: float, eager: bool = False, **options: Any) -> None:
        super().__init__(interval=interval, eager=eager, **options)
        # Here, for a module that only declares timers is to load no eventlet.
        from rpcservice.compat.nameko._threads import Event

        self.worker_complete = Event()

    @property
    def gt(self) -> Any:
        """The thread that waits for the next tick."""
        return self._thread

    def _run_once(self) -> None:
        self.handle_timer_tick()
        self.worker_complete.wait()
        self.worker_complete.reset()

    def handle_timer_tick(self) -> None:
        """Called at each tick: have a worker run the method. The next one waits until ``worker_complete`` is sent."""
        self.container.spawn_worker(self, (), {}, handle_result=self.handle_result)

    def handle_result(self, worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Called when the method has ended; gives the result and the error that dependencies are to see."""
        self._complete()
        return result, exc_info

    def handle_result_failed(self, worker_ctx: Any, error: BaseException) -> None:
        """Go on after a ``handle_result`` that broke down."""
        self._complete()

    def give_back(self, ctx: Any) -> None:
        """Go on after a worker that was killed."""
        self._complete()

    def _complete(self) -> None:
        if not self.worker_complete.ready():
            self.worker_complete.send()


timer = Timer.decorator
