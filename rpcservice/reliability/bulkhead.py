"""Bulkhead: bounds how many calls of one service are under way, so that a slow one cannot take all workers."""

from rpcservice.concurrency import Lock
from rpcservice.errors import TooManyCalls


class Bulkhead:
    """Counts the calls of one service that are under way.

    Args:
        service_name: The service.
        guard: A lock, of the backend that the client runs on.
    """

    def __init__(self, service_name: str, guard: Lock) -> None:
        self.service_name = service_name
        self.in_flight = 0
        self._guard = guard

    def enter(self, limit: int) -> None:
        """Count one more.

        Raises:
            TooManyCalls: There are as many already as there may be.
        """
        with self._guard:
            if self.in_flight >= limit:
                raise TooManyCalls(self.service_name, limit)
            self.in_flight += 1

    def leave(self) -> None:
        """Count one less."""
        with self._guard:
            self.in_flight -= 1
