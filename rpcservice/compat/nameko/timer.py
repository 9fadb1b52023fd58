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


timer = Timer.decorator
