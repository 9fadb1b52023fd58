"""The thread backend."""

import contextvars
import logging
import threading
from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic
from typing import Any

from rpcservice.concurrency.base import Event, Lock, Task, Timer, Watch

FEW_TIMERS = 100
"""So many timers are never looked through for those that have been called off."""
from rpcservice.concurrency.watchdog import Look

_log = logging.getLogger(__name__)


class ThreadTask:
    """A function in a daemon thread, as a :class:`Task`."""

    def __init__(self, function: Callable[[], object]) -> None:
        # Not the thread's own join: with a time-out it raises in a process that eventlet has patched, from 3.13 on.
        self._ended = threading.Event()
        threading.Thread(target=self._run, args=(function,), daemon=True).start()

    def _run(self, function: Callable[[], object]) -> None:
        try:
            function()
        finally:
            self._ended.set()

    def is_alive(self) -> bool:
        """Say whether the function runs."""
        return not self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the function ends, at most ``timeout`` seconds."""
        return self._ended.wait(timeout)

    def kill(self) -> None:
        """Do nothing: a thread ends by itself, when what it waits for is closed."""


class ThreadTimer:
    """One call of a :class:`Clock`."""

    __slots__ = ("_clock", "call", "due", "number")

    def __init__(self, clock: "Clock", due: float, number: int, call: Callable[[], object]) -> None:
        self.due = due
        self.number = number
        self.call: Callable[[], object] | None = call
        self._clock = clock

    def __lt__(self, other: "ThreadTimer") -> bool:
        return (self.due, self.number) < (other.due, other.number)

    def cancel(self) -> None:
        """Call it off; without effect once it ran."""
        self._clock.cancel(self)


class Clock:
    """Makes planned calls, all in one daemon thread, which is there as long as there are any."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._timers: list[ThreadTimer] = []
        self._numbers = count()
        self._cancelled = 0
        self._is_running = False

    def plan(self, seconds: float, call: Callable[[], object]) -> ThreadTimer:
        """Have a call made after so many seconds."""
        with self._changed:
            timer = ThreadTimer(self, monotonic() + seconds, next(self._numbers), call)
            heappush(self._timers, timer)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="rpcservice-clock", daemon=True).start()
            elif self._timers[0] is timer:
                self._changed.notify()
        return timer

    def cancel(self, timer: ThreadTimer) -> None:
        """Call one off; most time-outs are, long before they are due, so they must not be kept until then."""
        with self._changed:
            if timer.call is None:
                return
            timer.call = None
            self._cancelled += 1
            if self._cancelled > FEW_TIMERS and 2 * self._cancelled > len(self._timers):
                self._timers = [other for other in self._timers if other.call is not None]
                heapify(self._timers)
                self._cancelled = 0
                self._changed.notify()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:
                _log.exception("a planned call failed")

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next call that is due and give it; None when there are no more."""
        with self._changed:
            while self._timers:
                timer = self._timers[0]
                remaining = 0 if timer.call is None else timer.due - monotonic()
                if remaining > 0:
                    self._changed.wait(remaining)
                    continue
                heappop(self._timers)
                call, timer.call = timer.call, None
                if call is not None:
                    return call
                self._cancelled -= 1
            self._is_running = False
            return None


class ThreadBackend:
    """Operating system threads, for clients outside services."""

    name = "threads"

    def __init__(self) -> None:
        self._clock = Clock()

    def event(self) -> Event:
        """Make an event for threads."""
        return threading.Event()

    def lock(self) -> Lock:
        """Make a lock for threads."""
        return threading.Lock()

    def guard(self) -> Lock:
        """Make a lock that its owner may take again."""
        return threading.RLock()

    def spawn(self, function: Callable[..., object], *args: object) -> Task:
        """Start a daemon thread in a copy of the caller's context variables."""
        return ThreadTask(partial(contextvars.copy_context().run, function, *args))

    def sleep(self, seconds: float) -> None:
        """Wait on an event that nobody sets."""
        threading.Event().wait(seconds)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Timer:
        """Plan a call in the one thread for such calls."""
        return self._clock.plan(seconds, partial(function, *args))

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run the call at once, in the calling thread."""
        function(*args)

    def start(self, function: Callable[..., object], *args: object) -> None:
        """Start a daemon thread."""
        threading.Thread(target=function, args=args, daemon=True).start()

    def wake_for(self, function: Callable[..., object], *args: object) -> None:
        """Run the call at once."""
        function(*args)

    def watch(self, fileno: int) -> Watch | None:
        """Give nothing: a thread waits in the socket itself."""
        return None

    def can_use_sockets(self) -> bool:
        """Say yes."""
        return True

    def is_home(self) -> bool:
        """Say yes."""
        return True

    def current(self) -> Any:
        """Give the calling thread."""
        return threading.current_thread()

    def kill(self, handle: Any) -> None:
        """Do nothing: a thread ends by itself, when what it waits for is closed."""

    def throw(self, handle: Any, error: BaseException) -> None:
        """Do nothing: nobody can raise in a thread that waits."""

    def watch_loop(self, seconds: float, look: Look) -> Callable[[], None]:
        """Watch nothing: threads do not wait for each other's turns."""
        return lambda: None
