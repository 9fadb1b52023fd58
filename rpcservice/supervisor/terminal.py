"""Terminal, which tells the hang-up of a terminal that was closed from one that somebody has sent."""

import os
from collections.abc import Callable
from time import monotonic

_PLACE = "/dev/tty"
LOOK_EVERY = 2.0
"""Seconds after which a supervisor looks whether its terminal is still there."""
ECHO = 5.0
"""Seconds in which a hang-up may still be that of a terminal that has gone: the system's, and then the shell's."""


class Terminal:
    """The terminal that this process belongs to, if any, as long as it is there.

    Args:
        place: What can be opened as long as there is one.
        clock: Gives seconds.
    """

    def __init__(self, place: str = _PLACE, clock: Callable[[], float] = monotonic) -> None:
        self._place = place
        self._clock = clock
        self._gone_at: float | None = None
        self._is_there = self._can_be_opened()

    @property
    def look_again_after(self) -> float | None:
        """Seconds after which to :meth:`look` again; None where there is no terminal to lose."""
        return LOOK_EVERY if self._is_there else None

    def look(self) -> None:
        """See whether the terminal is still there."""
        if self._is_there and not self._can_be_opened():
            self._is_there, self._gone_at = False, self._clock()

    def has_just_gone(self) -> bool:
        """Say whether a hang-up that comes now is one of the terminal's end."""
        self.look()
        return self._gone_at is not None and self._clock() - self._gone_at < ECHO

    def _can_be_opened(self) -> bool:
        try:
            os.close(os.open(self._place, os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True
