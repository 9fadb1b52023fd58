"""A service whose calls wait for each other: that they end shows that they were in flight together."""

from threading import Barrier, Lock

from rpcservice import rpc

_barriers: dict[int, Barrier] = {}
_lock = Lock()


class Meeting:
    name = "meeting"

    @rpc
    def meet(self, count: int, name: str) -> str:
        """Give the name back when so many calls are here."""
        with _lock:
            barrier = _barriers.setdefault(count, Barrier(count))
        barrier.wait(20)
        return name
