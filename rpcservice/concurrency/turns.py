"""What runs in the next turn of an eventlet hub, and what waits there until some time: with one timer for all.

eventlet's own timer costs more than what most of ours do: one for each message would be a tenth of a call.
"""

import sys
from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from time import monotonic
from typing import Any, Protocol

_STALE = 1000
"""So many entries of waits that have ended are kept before anybody looks whether they are too many."""


def _pass_over(hub: Any, error: BaseException) -> None:
    """Tell of an error as the hub does, which ends for Ctrl-C and SystemExit alone, and not for a Timeout."""
    if isinstance(error, hub.SYSTEM_EXCEPTIONS):
        raise error
    hub.squelch_timer_exception(None, sys.exc_info())


class Turns:
    """Runs calls in the hub, in the order in which they were left, each once.

    Args:
        hub: The eventlet hub.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._ready: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._last: deque[Callable[[], object]] = deque()
        self._is_due = False
        self._is_running = False

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run a call in the hub's next turn."""
        self._ready.append((function, args))
        if not self._is_due:
            self._schedule()

    def post_last(self, function: Callable[[], object]) -> None:
        """Run a call when the others of this turn have run; in the next one where none runs now."""
        self._last.append(function)
        if not (self._is_running or self._is_due):
            self._schedule()

    def _schedule(self) -> None:
        # In this order: Ctrl-C may come in between.
        self._hub.schedule_call_global(0, self._run)
        self._is_due = True

    def _run(self) -> None:
        # What is left from here on is for the next turn, so that sockets have theirs.
        self._is_due, self._is_running = False, True
        ready, last = self._ready, self._last
        try:
            for _ in range(len(ready)):
                function, args = ready.popleft()
                try:
                    function(*args)
                except BaseException as exc:
                    _pass_over(self._hub, exc)
            while last:
                try:
                    last.popleft()()
                except BaseException as exc:
                    _pass_over(self._hub, exc)
        finally:
            # Ctrl-C ends the hub in the middle of a turn, and the next one goes on.
            self._is_running = False
            if (ready or last) and not self._is_due:
                self._schedule()


class Sleeper(Protocol):
    """Who waits until some time.

    Attributes:
        greenlet: What waits; None when it does no longer.
        is_overdue: Set when the time has come first.
    """

    greenlet: Any
    is_overdue: bool


class Deadlines:
    """Goes on with greenlets whose time has come.

    Args:
        hub: The eventlet hub.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._number = count().__next__
        self._stale = 0
        self._timer: Any = None
        self._is_due_at = inf

    def add(self, seconds: float, sleeper: Sleeper) -> None:
        """Go on with a greenlet after that time, unless it waits no longer."""
        due_at = monotonic() + seconds
        heappush(self._heap, (due_at, self._number(), sleeper))
        if due_at < self._is_due_at:
            self._schedule(due_at, seconds)

    def _schedule(self, due_at: float, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        # In this order: Ctrl-C may come in between.
        self._timer = self._hub.schedule_call_global(seconds, self._run)
        self._is_due_at = due_at

    def note_stale(self) -> None:
        """Count a greenlet that waits no longer; its entry stays until there are more of these than of others."""
        self._stale += 1
        if self._stale > _STALE and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].greenlet is not None]
            heapify(self._heap)
            self._stale = 0

    def _run(self) -> None:
        self._timer, self._is_due_at = None, inf
        try:
            self._wake(monotonic())
        finally:
            # Who was woken may have begun another wait, and have set the timer for that.
            if self._heap and (due_at := self._heap[0][0]) < self._is_due_at:
                self._schedule(due_at, max(0, due_at - monotonic()))

    def _wake(self, now: float) -> None:
        # Looked at anew each time: who is woken may wait again, and the heap may have been made anew.
        while self._heap and (self._heap[0][0] <= now or self._heap[0][2].greenlet is None):
            sleeper = heappop(self._heap)[2]
            if sleeper.greenlet is None:
                self._stale -= 1
                continue
            sleeper.is_overdue = True
            try:
                sleeper.greenlet.switch()
            except BaseException as exc:
                _pass_over(self._hub, exc)
