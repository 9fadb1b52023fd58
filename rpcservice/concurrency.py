"""The one door to eventlet, and the same few names on threads; imports neither before use.

A :class:`Backend` belongs to whoever waits: containers run on greenlets (:func:`green`), clients outside
services on threads (:func:`threads`). One program may hold both.
"""

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Event(Protocol):
    """A flag that can be waited for; once set it stays set until it is cleared."""

    def is_set(self) -> bool:
        """Say whether the flag is up."""
        ...

    def set(self) -> None:
        """Raise the flag and wake all who wait."""
        ...

    def clear(self) -> None:
        """Lower the flag."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, at most ``timeout`` seconds; False when the time ran out."""
        ...


class Lock(Protocol):
    """Mutual exclusion, used with ``with``."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc_info: Any) -> Any: ...


class Timer(Protocol):
    """A call that is planned and can be called off."""

    def cancel(self) -> None:
        """Call it off; without effect once it ran."""
        ...


class Task(Protocol):
    """A function that runs beside the caller."""

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it ends, at most ``timeout`` seconds; False when the time ran out."""
        ...

    def kill(self) -> None:
        """End it where it stands. Threads cannot be killed: there this does nothing."""
        ...


class Backend(Protocol):
    """What the rest of the package needs of a way to run things side by side."""

    name: str

    def event(self) -> Event:
        """Make an event."""
        ...

    def lock(self) -> Lock:
        """Make a lock."""
        ...

    def spawn(self, function: Callable[..., object], *args: object) -> Task:
        """Run ``function`` beside the caller, in a copy of the caller's context variables."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let others run for that long."""
        ...

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Timer:
        """Plan a short call that never waits for anything."""
        ...

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run a short call that never waits, soon, where this backend lives; may be called from any thread."""
        ...

    def start(self, function: Callable[..., object], *args: object) -> None:
        """Run ``function`` beside the caller with empty context variables, at the least cost; it must not raise."""
        ...

    def wake_for(self, function: Callable[..., object], *args: object) -> None:
        """Like :meth:`post`, for signal handlers: it wakes a backend that waits for nothing but its sockets."""
        ...

    def can_use_sockets(self) -> bool:
        """Say whether waiting on an ordinary socket lets others run."""
        ...

    def current(self) -> Any:
        """Give a handle on the caller itself, for :meth:`kill`."""
        ...

    def kill(self, handle: Any) -> None:
        """End what :meth:`current` gave, where it stands. Threads cannot be killed: there this does nothing."""
        ...


_green_backends = threading.local()


def green() -> "GreenBackend":
    """Give the greenlet backend of the calling thread's eventlet hub."""
    backend: GreenBackend | None = getattr(_green_backends, "backend", None)
    if backend is None:
        backend = _green_backends.backend = GreenBackend()
    return backend


def threads() -> "ThreadBackend":
    """Give the backend on operating system threads."""
    return ThreadBackend()


class GreenEvent:
    """An event for greenlets of one hub; its wait costs one switch and, with a time-out, one hub timer."""

    __slots__ = ("_flag", "_getcurrent", "_hub", "_waiters")

    def __init__(self, hub: Any, getcurrent: Callable[[], Any]) -> None:
        self._hub = hub
        self._getcurrent = getcurrent
        self._flag = False
        self._waiters: list[_Waiter] = []

    def is_set(self) -> bool:
        """Say whether the flag is up."""
        return self._flag

    def set(self) -> None:
        """Raise the flag; who waits goes on in the hub's next turn."""
        self._flag = True
        if self._waiters:
            self._hub.schedule_call_global(0, self._wake)

    def clear(self) -> None:
        """Lower the flag."""
        self._flag = False

    def _wake(self) -> None:
        # A new list first: who is woken may wait here again at once, and is not to be woken twice.
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            greenlet = waiter.greenlet
            if greenlet is not None:
                waiter.is_woken = True
                greenlet.switch()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, at most ``timeout`` seconds; False when the time ran out."""
        if self._flag:
            return True
        current = self._getcurrent()
        waiter = _Waiter(current)
        timer = None if timeout is None else self._hub.schedule_call_global(timeout, current.switch)
        self._waiters.append(waiter)
        try:
            self._hub.switch()
        finally:
            waiter.greenlet = None
            if timer is not None:
                timer.cancel()
            if not waiter.is_woken:
                self._waiters = [other for other in self._waiters if other is not waiter]
        return waiter.is_woken


class _Waiter:
    __slots__ = ("greenlet", "is_woken")

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet
        self.is_woken = False


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
        except self._backend.greenlet_exit:
            return
        finally:
            self._done.set()

    def is_alive(self) -> bool:
        """Say whether the greenlet still runs or is about to."""
        return not self._greenlet.dead

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the greenlet ends, at most ``timeout`` seconds."""
        return self._done.wait(timeout)

    def kill(self) -> None:
        """Raise ``GreenletExit`` where the greenlet waits, and go on when it has ended or waits again."""
        self._backend.kill(self._greenlet)
        if self._greenlet.dead:
            self._done.set()


class GreenBackend:
    """Greenlets on the eventlet hub of the thread that made it."""

    name = "eventlet"

    def __init__(self) -> None:
        import eventlet.greenthread
        import eventlet.hubs
        import eventlet.patcher
        import eventlet.semaphore
        import greenlet

        self._hub = eventlet.hubs.get_hub()
        self._hubs = eventlet.hubs
        self._semaphore = eventlet.semaphore.Semaphore
        self._is_patched = eventlet.patcher.is_monkey_patched
        self._eventlet_kill = eventlet.greenthread.kill
        self._eventlet_sleep = eventlet.greenthread.sleep
        self._greenlet = greenlet.greenlet
        self._getcurrent = greenlet.getcurrent
        self.greenlet_exit = greenlet.GreenletExit
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
        self.spawn(self._run_posted)

    def event(self) -> Event:
        """Make an event for greenlets of this hub."""
        return GreenEvent(self._hub, self._getcurrent)

    def lock(self) -> Lock:
        """Make a lock for greenlets of this hub."""
        lock: Lock = self._semaphore(1)
        return lock

    def start(self, function: Callable[..., object], *args: object) -> Any:
        """Start a greenlet below the hub, in the hub's next turn."""
        greenlet = self._greenlet(function, self._hub.greenlet)
        self._hub.schedule_call_global(0, greenlet.switch, *args)
        return greenlet

    def spawn(self, function: Callable[..., object], *args: object) -> Task:
        """Start a greenlet in a copy of the caller's context variables."""
        # A new greenlet has an empty context: logging and tracing would lose the worker they belong to.
        context = contextvars.copy_context()
        return GreenTask(self, lambda: context.run(function, *args))

    def sleep(self, seconds: float) -> None:
        """Let other greenlets run for that long."""
        self._eventlet_sleep(seconds)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Timer:
        """Plan a call in the hub itself."""
        timer: Timer = self._hub.schedule_call_global(seconds, function, *args)
        return timer

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run a call in the hub's next turn; from another thread, by way of a pipe that wakes the hub."""
        if self._get_ident() == self._home:
            self._hub.schedule_call_global(0, function, *args)
        else:
            self.wake_for(function, *args)

    def wake_for(self, function: Callable[..., object], *args: object) -> None:
        """Run a call in the hub's next turn, by way of the pipe: a hub that polls does not look at its timers."""
        self._posted.append((function, args))
        try:
            self._write(self._write_end, b"x")
        except BlockingIOError:
            return  # the pipe is full of wake-ups already

    def _run_posted(self) -> None:
        while True:
            self._hubs.trampoline(self._read_end, read=True)
            self._read(self._read_end, 4096)
            while self._posted:
                function, args = self._posted.popleft()
                self._hub.schedule_call_global(0, function, *args)

    def can_use_sockets(self) -> bool:
        """Say whether the process is monkey-patched."""
        return bool(self._is_patched("socket"))

    def current(self) -> Any:
        """Give the greenlet that calls."""
        return self._getcurrent()

    def kill(self, handle: Any) -> None:
        """Raise ``GreenletExit`` in a greenlet of this hub."""
        self._eventlet_kill(handle)


class ThreadTask:
    """A daemon thread as a :class:`Task`."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def is_alive(self) -> bool:
        """Say whether the thread runs."""
        return self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the thread ends, at most ``timeout`` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """Do nothing: a thread ends by itself, when what it waits for is closed."""


class ThreadBackend:
    """Operating system threads, for clients outside services."""

    name = "threads"

    def event(self) -> Event:
        """Make an event for threads."""
        return threading.Event()

    def lock(self) -> Lock:
        """Make a lock for threads."""
        return threading.Lock()

    def spawn(self, function: Callable[..., object], *args: object) -> Task:
        """Start a daemon thread in a copy of the caller's context variables."""
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(function, *args), daemon=True)
        thread.start()
        return ThreadTask(thread)

    def sleep(self, seconds: float) -> None:
        """Wait on an event that nobody sets."""
        threading.Event().wait(seconds)

    def call_later(self, seconds: float, function: Callable[..., object], *args: object) -> Timer:
        """Plan a call in a thread of its own."""
        timer = threading.Timer(seconds, function, args)
        timer.daemon = True
        timer.start()
        return timer

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Run the call at once, in the calling thread."""
        function(*args)

    def start(self, function: Callable[..., object], *args: object) -> None:
        """Start a daemon thread."""
        threading.Thread(target=function, args=args, daemon=True).start()

    def wake_for(self, function: Callable[..., object], *args: object) -> None:
        """Run the call at once."""
        function(*args)

    def can_use_sockets(self) -> bool:
        """Say yes."""
        return True

    def current(self) -> Any:
        """Give the calling thread."""
        return threading.current_thread()

    def kill(self, handle: Any) -> None:
        """Do nothing: a thread ends by itself, when what it waits for is closed."""
