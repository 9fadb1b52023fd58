"""The thread backend."""

import contextvars
import threading
from collections.abc import Callable
from typing import Any

from rpcservice.concurrency.base import Event, Lock, Task, Timer, Watch


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
