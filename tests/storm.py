"""A storm of signals, whose handler raises wherever the main thread happens to be; run as a script, one on events."""

import signal
from collections.abc import Callable

INTERVAL = 0.001
"""Seconds from one signal to the next."""


class Blow(BaseException):
    """Raised by the handler, once in each turn."""


class Storm:
    """Has a function of the main thread interrupted again and again."""

    def __init__(self) -> None:
        self.blows = self.turns = 0
        self._is_open = False

    def _strike(self, *_: object) -> None:
        if self._is_open:
            self._is_open = False
            raise Blow

    def rage(self, turn: Callable[[], object], blows: int) -> None:
        """Call a function until it has been interrupted so many times."""
        signal.signal(signal.SIGALRM, self._strike)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
        while self.blows < blows:
            try:
                self._is_open = True
                turn()
                self._is_open = False
                self.turns += 1
            except Blow:
                self.blows += 1
        signal.setitimer(signal.ITIMER_REAL, 0)


def storm_on_events() -> None:
    """Use an event and the clock in a storm, and see who can use them after it."""
    from rpcservice.concurrency import threads

    backend = threads()
    event, other = backend.event(), backend.event()

    def turn() -> None:
        event.set()
        event.clear()
        event.wait(0.0001)
        backend.call_later(60, len, ()).cancel()
        backend.call_later(0.0001, other.set)

    storm = Storm()
    storm.rage(turn, 3000)
    other.clear()
    waiting = [backend.spawn(event.wait) for _ in range(3)]
    backend.call_later(0.1, event.set)
    print(storm.turns > 0, [task.wait(5) for task in waiting])


if __name__ == "__main__":
    storm_on_events()
