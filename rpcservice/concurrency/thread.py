"""The thread backend."""

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rpcservice.concurrency.base import Event, Lock, Task, Timer, Watch


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
        return ThreadTask(partial(contextvars.copy_context().run, function, *args))

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

    def watch(self, fileno: int) -> Watch | None:
        """Give nothing: a thread waits in the socket itself."""
        return None

    def can_use_sockets(self) -> bool:
        """Say yes."""
        return True

    def current(self) -> Any:
        """Give the calling thread."""
        return threading.current_thread()

    def kill(self, handle: Any) -> None:
        """Do nothing: a thread ends by itself, when what it waits for is closed."""
