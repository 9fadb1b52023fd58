"""The greenlet backend: with the web server and the command line, the only place that knows eventlet."""

import contextvars
import logging
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import eventlet.greenthread
import eventlet.hubs
import eventlet.patcher
import eventlet.semaphore
import greenlet

from rpcservice.concurrency.base import Event, Lock, Task, Timer, Watch
from rpcservice.concurrency.greenevents import GreenEvent
from rpcservice.concurrency.turns import Deadlines, Turns
from rpcservice.concurrency.watchdog import Look, Watchdog

IDLE_GREENLETS = 256
"""So many greenlets are kept for the next call: making one costs more than the dispatch of a message, for Python maps
memory for its frames and unmaps it when it ends."""

_log = logging.getLogger(__name__)
_getcurrent = greenlet.getcurrent
# In a patched process threading's own has something else for each greenlet.
_backends = eventlet.patcher.original("threading").local()


def has_backend() -> bool:
    """Say whether somebody has asked for greenlets in the calling thread."""
    return hasattr(_backends, "backend")


def is_patched() -> bool:
    """Say whether sockets and threads of this process are greenlets'."""
    is_monkey_patched = eventlet.patcher.is_monkey_patched
    return bool(is_monkey_patched("socket") and is_monkey_patched("thread"))


def backend() -> "GreenBackend":
    """Give the backend of the calling thread's eventlet hub."""
    known: GreenBackend | None = getattr(_backends, "backend", None)
    if known is None or known.hub is not eventlet.hubs.get_hub():
        known = _backends.backend = GreenBackend()
    return known


class GreenTask:
    """A greenlet as a :class:`Task`."""

    __slots__ = ("_backend", "_done", "_function", "_greenlet")

    def __init__(self, backend: "GreenBackend", function: Callable[[], object]) -> None:
        self._backend = backend
        self._done = backend.event()
        self._function = function
        self._greenlet = backend.start(self._run)

    def _run(self) -> None:
        try:
            self._function()
        except greenlet.GreenletExit:
            return
        finally:
            self._done.set()

    def is_alive(self) -> bool:
        """Say whether the greenlet still runs or is about to."""
        return not self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the greenlet ends, at most ``timeout`` seconds."""
        return self._done.wait(timeout)

    def kill(self) -> None:
        """Raise ``GreenletExit`` where the greenlet waits, and go on when it has ended or waits again."""
        # One that has ended may be at work for somebody else.
        if not self._done.is_set():
            try:
                self._backend.kill(self._greenlet)
            finally:
                if self._greenlet.dead:
                    self._done.set()


class GreenWatch:
    """A listener that stays with the hub from one wait to the next: two system calls less for each."""

    def __init__(self, hub: Any, fileno: int) -> None:
        self._hub = hub
        self._fileno = fileno
        self._reader: Any = None
        self._listener: Any = None

    def wait(self) -> None:
        """Wait until there is something to read, at least until the hub's next turn."""
        if self._listener is None:
            self._listener = self._hub.add(
                self._hub.READ, self._fileno, self._on_readable, self._on_obsolete, self._forget
            )
        self._reader = _getcurrent()
        try:
            self._hub.switch()
        finally:
            self._reader = None

    def _on_readable(self, fileno: int) -> None:
        if self._reader is not None:
            self._reader.switch()
        else:
            # Nobody reads now, and the hub would call again and again.
            self.close()

    def _on_obsolete(self, *exc_info: Any) -> None:
        if self._reader is not None:
            self._reader.throw(*exc_info)

    def _forget(self) -> None:
        # The hub has found the socket closed, and let go of the listener itself.
        self._listener = None

    def wake(self) -> None:
        """Have who waits go on, in the hub's next turn."""
        self._hub.schedule_call_global(0, self._wake_reader)

    def _wake_reader(self) -> None:
        # Looked at only now: meanwhile bytes may have come, and the greenlet may wait for something else.
        if self._reader is not None:
            self._reader.switch()

    def close(self) -> None:
        """Stop to watch, until the next wait."""
        if self._listener is not None:
            self._hub.remove(self._listener)
            self._listener = None


class _Runner(greenlet.greenlet):  # type: ignore[misc]  # greenlet's types are not looked at
    """A greenlet that runs one function after the other.

    Attributes:
        number: That of the function which it runs now.
    """

    number = 0

    @property
    def throw(self) -> Callable[..., Any]:
        """Raise an error in the function that runs when this is looked up, as long as that does.

        A time-out of eventlet's that a call has left behind looks it up when it is set, and must not end another call.
        """
        return partial(self._throw, super().throw, self.number)

    def _throw(self, throw: Callable[..., Any], number: int, *error: Any) -> Any:
        if number == self.number:
            return throw(*error)
        _log.warning("a time-out came too late: what had set it has ended without cancelling it")
        return None


class _NoLock:
    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc_info: Any) -> None:
        return None


_NO_LOCK = _NoLock()


class GreenBackend:
    """Greenlets on the eventlet hub of the thread that made it."""

    name = "eventlet"

    def __init__(self) -> None:
        self.hub = eventlet.hubs.get_hub()
        self.turns = Turns(self.hub)
        self.deadlines = Deadlines(self.hub)
        self._idle: list[Any] = []
        # In a patched process threading.get_ident names greenlets, and a greenlet is no thread.
        self._get_ident: Callable[[], int] = eventlet.patcher.original("threading").get_ident
        self._home = self._get_ident()
        self._posted: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        # The unpatched functions: eventlet's own would wait for the pipe, which a signal handler must not.
        plain_os = eventlet.patcher.original("os")
        self._read, self._write = plain_os.read, plain_os.write
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._watchdog: Watchdog | None = None
        self.spawn(self._run_posted)

    def event(self) -> Event:
        """Make an event for greenlets of this hub."""
        return GreenEvent(self)

    def lock(self) -> Lock:
        """Make a lock for greenlets of this hub."""
        lock: Lock = eventlet.semaphore.Semaphore(1)
        return lock

    def guard(self) -> Lock:
        """Give what locks nothing."""
        return _NO_LOCK

    def start(self, function: Callable[..., object], *args: object) -> Any:
        """Have a greenlet below the hub run a function in the hub's next turn; gives the greenlet."""
        runner = self._idle.pop() if self._idle else _Runner(self._serve, self.hub.greenlet)
        self.turns.post(runner.switch, function, args)
        return runner

    def _serve(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        """Run one function after the other, each with context variables of its own."""
        me = greenlet.getcurrent()
        while True:
            contextvars.Context().run(function, *args)
            me.number += 1
            if len(self._idle) >= IDLE_GREENLETS:
                return
            self._idle.append(me)
            try:
                while not (given := self.hub.switch()):
                    continue  # meant for the work before
                function, args = given
            except BaseException:
                # Who is killed while it has nothing to do must not be given anything any more.
                if me in self._idle:
                    self._idle.remove(me)
                raise

    def spawn(self, function: Callable[..., object], *args: object) -> Task:
        """Start a greenlet in a copy of the caller's context variables."""
        # A new greenlet has an empty context: logging and tracing would lose the worker they belong to.
        context = contextvars.copy_context()
        return GreenTask(self, lambda: context.run(function, *args))

    def sleep(self, seconds: float) -> None:
        """Let other greenlets run for that long."""
        eventlet.greenthread.sleep(seconds)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Timer:
        """Plan a call in the hub itself."""
        timer: Timer = self.hub.schedule_call_global(seconds, function, *args)
        return timer

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run a call in the hub's next turn; from another thread, by way of a pipe that wakes the hub."""
        if self._get_ident() == self._home:
            self.turns.post(function, *args)
        else:
            self.wake_for(function, *args)

    def post_last(self, function: Callable[[], object]) -> None:
        """Run a call when the others of the hub's turn have run."""
        self.turns.post_last(function)

    def wake_for(self, function: Callable[..., object], *args: object) -> None:
        """Run a call in the hub's next turn, by way of the pipe: a hub that polls does not look at its timers."""
        self._posted.append((function, args))
        try:
            self._write(self._write_end, b"x")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _run_posted(self) -> None:
        while True:
            eventlet.hubs.trampoline(self._read_end, read=True)
            self._read(self._read_end, 4096)
            while self._posted:
                function, args = self._posted.popleft()
                self.turns.post(function, *args)

    def watch(self, fileno: int) -> Watch:
        """Give a watch on a socket that does not block."""
        return GreenWatch(self.hub, fileno)

    def can_use_sockets(self) -> bool:
        """Say whether the process is monkey-patched."""
        return bool(eventlet.patcher.is_monkey_patched("socket"))

    def is_home(self) -> bool:
        """Say whether this is the thread of the hub."""
        return bool(self._get_ident() == self._home)

    def current(self) -> Any:
        """Give the greenlet that calls."""
        return greenlet.getcurrent()

    def kill(self, handle: Any) -> None:
        """Raise ``GreenletExit`` in a greenlet of this hub, and go on when it has ended or waits again."""
        if handle.dead:
            return
        current, timer = _getcurrent(), None
        if current is not handle and current is not self.hub.greenlet:
            self.hub.ensure_greenlet()
            timer = self.hub.schedule_call_global(0, current.switch)
        try:
            handle.throw()
        finally:
            # eventlet's own function leaves it there: who is ended in here, or runs out of time, would be woken later,
            # wherever it waits by then.
            if timer is not None:
                timer.cancel()

    def throw(self, handle: Any, error: BaseException) -> None:
        """Raise an error in a greenlet that waits, and go on when it has ended or waits again; in the hub alone."""
        handle.throw(error)

    def watch_loop(self, seconds: float, look: Look) -> Callable[[], None]:
        """Have a real thread log what keeps the hub from turning; one for all who ask. Gives what ends that."""
        if self._watchdog is None:
            self._watchdog = Watchdog(self._home, self.post, self._post_greenlet, _is_hub, look)
        return self._watchdog.watch(seconds)

    def _post_greenlet(self, function: Callable[[], object]) -> None:
        self.post(self.spawn, function)


def _is_hub(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("eventlet.hubs.")
