"""What the rest of the package needs of a way to run things side by side."""

from collections.abc import Callable
from typing import Any, Protocol

from rpcservice.concurrency.watchdog import Look


class Event(Protocol):
    """A flag that can be waited for; once set it stays set until it is cleared."""

    def is_set(self) -> bool:
        """Say whether the flag is up."""
        ...

    def set(self) -> None:
        """Raise the flag and wake all who wait."""
        ...

    def set_in_turn(self) -> None:
        """Raise the flag, and let who waits go on before sockets have their turn.

        For who knows that those who wait cannot go on like that for ever, but will soon wait for another turn.
        """
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


class Watch(Protocol):
    """Watches one socket for its one reader."""

    def wait(self) -> None:
        """Wait until there is something to read."""
        ...

    def wake(self) -> None:
        """Have who waits go on, as if there were something to read."""
        ...

    def close(self) -> None:
        """Stop to watch."""
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

    def guard(self) -> Lock:
        """Make a lock for steps that never wait and belong together; greenlets, which switch nowhere else, need none.

        Its owner may take it again.
        """
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

    def post_last(self, function: Callable[[], object]) -> None:
        """Run a short call where this backend lives, after all that is to run now; for callers who live there."""
        ...

    def start(self, function: Callable[..., object], *args: object) -> None:
        """Run ``function`` beside the caller with empty context variables, at the least cost; it must not raise."""
        ...

    def wake_for(self, function: Callable[..., object], *args: object) -> None:
        """Like :meth:`post`, for signal handlers: it wakes a backend that waits for nothing but its sockets."""
        ...

    def watch(self, fileno: int) -> Watch | None:
        """Give a watch on a socket that does not block; None where reading from sockets that do is as good."""
        ...

    def can_use_sockets(self) -> bool:
        """Say whether waiting on an ordinary socket lets others run."""
        ...

    def is_home(self) -> bool:
        """Say whether the calling thread may wait for what belongs to this backend."""
        ...

    def current(self) -> Any:
        """Give a handle on the caller itself, for :meth:`kill`."""
        ...

    def kill(self, handle: Any) -> None:
        """End what :meth:`current` gave, where it stands. Threads cannot be killed: there this does nothing."""
        ...

    def throw(self, handle: Any, error: BaseException) -> None:
        """Raise an error in what :meth:`current` gave, where it waits; for calls of :meth:`call_later`.

        Threads cannot be told: there this does nothing.
        """
        ...

    def watch_loop(self, seconds: float, look: Look) -> Callable[[], None]:
        """Log what keeps this backend's loop from turning for so long; gives what ends that.

        Args:
            seconds: So long the loop may stand still.
            look: Says what runs in a stack.
        """
        ...
