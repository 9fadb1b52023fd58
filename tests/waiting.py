"""Waits for what a test cannot be told of, with a limit."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

_PAUSE = 0.02


def wait_until(holds: Callable[[], T], what: str = "", timeout: float = 15) -> T:
    """Ask again and again until the answer is true; gives the answer, and fails when it stays false too long."""
    deadline = monotonic() + timeout
    pause = Event()
    while not (answer := holds()):
        assert monotonic() < deadline, f"{what or 'it'} did not come within {timeout:g} s; last answer: {answer!r}"
        pause.wait(_PAUSE)
    return answer
