"""Terminal, which tells the hang-up of a terminal that was closed from one that somebody has sent."""

import os

_PLACE = "/dev/tty"


class Terminal:
    """The terminal that this process belongs to, if any, as long as it is there."""

    def __init__(self) -> None:
        self._was_there = _is_there()

    def was_closed(self) -> bool:
        """Say whether the terminal has been closed since the last time, or the beginning."""
        before, self._was_there = self._was_there, _is_there()
        return before and not self._was_there


def _is_there() -> bool:
    try:
        os.close(os.open(_PLACE, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
