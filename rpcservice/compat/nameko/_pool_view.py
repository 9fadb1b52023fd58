"""What instrumentation reads of nameko's worker pool."""

from time import monotonic

from rpcservice.core.pool import WorkerPool

LONG = 3600.0
"""For how many seconds to wait at a time, where it is for ever."""


class PoolView:
    """What eventlet's pools tell of themselves, of ours.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    @property
    def size(self) -> int:
        """How many may run at a time."""
        return self._pool.size

    def running(self) -> int:
        """Give how many run now."""
        return len(self._pool.running)

    def free(self) -> int:
        """Give how many more may run now."""
        return self._pool.size - len(self._pool.running)

    def waiting(self) -> int:
        """Give how many wait for their turn."""
        return len(self._pool.waiting)

    def waitall(self) -> None:
        """Wait until all have ended."""
        while not self._pool.wait_for(None, monotonic() + LONG):
            continue
