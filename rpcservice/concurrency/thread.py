"""The thread backend."""

import contextvars
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import count
from operator import methodcaller
from time import monotonic
from typing import Any

from rpcservice.concurrency.base import Event, Lock, Task, Timer, Watch
from rpcservice.concurrency.watchdog import Look

FEW_TIMERS = 100
"""So many timers are never looked through for those that have been called off."""

_log = logging.getLogger(__name__)

_release = methodcaller("release")
_exhaust = deque[object](maxlen=0).extend


class ThreadEvent:
    """An event that an exception of a signal handler cannot break: a KeyboardInterrupt, a worker's time-out.

    ``threading.Event`` has its flag under a lock that is taken and given back in Python: such an exception, in the
    main thread, may come between the two, and whoever sets or waits after that hangs. Here each who waits has a lock
    that nobody else needs, and the steps that belong together are one call of C, within which no handler runs.

    Args:
        make_lock: Makes what a thread waits with.
    """

    __slots__ = ("_is_set", "_make_lock", "_waiting")

    def __init__(self, make_lock: Callable[[], Any]) -> None:
        self._make_lock = make_lock
        self._is_set = False
        self._waiting: deque[Any] = deque()

    def is_set(self) -> bool:
        """Say whether the flag is up."""
        return self._is_set

    def set(self) -> None:
        """Raise the flag and wake all who wait."""
        # Each lock is taken out by one thread alone, which releases it; IndexError when there are no more.
        waking = map(_release, iter(self._waiting.popleft, None))
        self._is_set = True
        if self._waiting:
            try:
                _exhaust(waking)
            except IndexError:
                return

    set_in_turn = set
    """Threads know no turns."""

    def clear(self) -> None:
        """Lower the flag."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, at most ``timeout`` seconds; False when the time ran out."""
        if self._is_set:
            return True
        lock = self._make_lock()
        lock.acquire()
        self._waiting.append(lock)
        is_woken: bool = False
        try:
            # Looked at again, for who has set it meanwhile may not have seen this lock.
            if self.is_set():
                return True
            if timeout is None:
                is_woken = lock.acquire()
            else:
                is_woken = lock.acquire(True, timeout) if timeout > 0 else lock.acquire(False)
            return is_woken
        finally:
            if not is_woken:
                self._leave(lock)

    def _leave(self, lock: Any) -> None:
        try:
            self._waiting.remove(lock)
        except ValueError:
            # Somebody has just taken it, to wake who does not wait any more.
            return


def make_queue() -> Any:
    """Give a queue between threads whose ``put`` is one call of C; in a process that eventlet has patched, any queue.

    ``queue.SimpleQueue`` is none of what eventlet patches: there it would stop every greenlet.
    """
    is_patched = type(threading.Lock()).__module__ != "_thread"
    return queue.Queue() if is_patched else queue.SimpleQueue()


class ThreadTask:
    """A function in a daemon thread, as a :class:`Task`."""

    def __init__(self, function: Callable[[], object], ended: Event) -> None:
        # Not the thread's own join: with a time-out it raises in a process that eventlet has patched, from 3.13 on.
        self._ended = ended
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

    __slots__ = ("_clock", "call", "due")

    def __init__(self, clock: "Clock", due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call: Callable[[], object] | None = call
        self._clock = clock

    def cancel(self) -> None:
        """Call it off; without effect once it ran."""
        self._clock.cancel(self)


class Clock:
    """Makes planned calls, all in one daemon thread, which is there as long as there are any."""

    def __init__(self, changed: Event) -> None:
        self._guard = threading.RLock()
        self._changed = changed
        # By time and number, which C compares: no signal handler comes into the midst of a heap's steps.
        self._timers: list[tuple[float, int, ThreadTimer]] = []
        self._numbers = count()
        self._cancelled = 0
        self._looks_at = 0.0
        self._is_running = False

    def plan(self, seconds: float, call: Callable[[], object]) -> ThreadTimer:
        """Have a call made after so many seconds."""
        with self._guard:
            timer = ThreadTimer(self, monotonic() + seconds, call)
            heappush(self._timers, (timer.due, next(self._numbers), timer))
            if not self._is_running:
                threading.Thread(target=self._run, name="rpcservice-clock", daemon=True).start()
                # Only now: where the start is broken off, the next call that is planned tries again.
                self._is_running = True
            elif timer.due < self._looks_at:
                self._changed.set()
        return timer

    def cancel(self, timer: ThreadTimer) -> None:
        """Call one off; most time-outs are, long before they are due, so they must not be kept until then."""
        with self._guard:
            if timer.call is None:
                return
            timer.call = None
            self._cancelled += 1
            if self._cancelled > FEW_TIMERS and 2 * self._cancelled > len(self._timers):
                self._timers = [entry for entry in self._timers if entry[2].call is not None]
                heapify(self._timers)
                self._cancelled = 0
                self._changed.set()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:
                _log.exception("a planned call failed")

    def _next(self) -> Callable[[], object] | None:
        """Wait for the next call that is due and give it; None when there are no more."""
        while True:
            with self._guard:
                self._changed.clear()
                timer = self._first()
                if timer is None:
                    self._is_running = False
                    return None
                remaining = timer.due - monotonic()
                if remaining <= 0:
                    heappop(self._timers)
                    call, timer.call = timer.call, None
                    return call
                self._looks_at = timer.due
            self._changed.wait(remaining)

    def _first(self) -> ThreadTimer | None:
        """Give the next timer that has not been called off."""
        while self._timers and self._timers[0][2].call is None:
            heappop(self._timers)
            self._cancelled -= 1
        return self._timers[0][2] if self._timers else None


class ThreadBackend:
    """Operating system threads, for clients outside services."""

    name = "threads"

    def __init__(self) -> None:
        # Those of today: where eventlet patches the process later, what has been begun goes on in threads, for which
        # its locks are no locks. Where it has been patched already, threads are greenlets, and so must the locks be.
        self._make_lock: Callable[[], Any] = threading.Lock
        self._clock = Clock(self.event())

    def event(self) -> Event:
        """Make an event for threads."""
        return ThreadEvent(self._make_lock)

    def lock(self) -> Lock:
        """Make a lock for threads."""
        made: Lock = self._make_lock()
        return made

    def guard(self) -> Lock:
        """Make a lock that its owner may take again."""
        return threading.RLock()

    def spawn(self, function: Callable[..., object], *args: object) -> Task:
        """Start a daemon thread in a copy of the caller's context variables."""
        return ThreadTask(partial(contextvars.copy_context().run, function, *args), self.event())

    def sleep(self, seconds: float) -> None:
        """Wait on an event that nobody sets."""
        self.event().wait(seconds)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Timer:
        """Plan a call in the one thread for such calls."""
        return self._clock.plan(seconds, partial(function, *args))

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run the call at once, in the calling thread."""
        function(*args)

    def post_last(self, function: Callable[[], object]) -> None:
        """Run the call at once, in the calling thread."""
        function()

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
