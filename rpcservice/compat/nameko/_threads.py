"""What nameko's extensions get in their hands of running work: eventlet's green threads, and workers like them."""

import contextvars
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from eventlet import hubs
from eventlet.event import Event as Event
from eventlet.greenthread import GreenThread, kill
from eventlet.support.greenlets import GreenletExit as GreenletExit

from rpcservice.core.context import WorkerContext
from rpcservice.core.pool import WorkerPool


class ManagedThread(GreenThread):  # type: ignore[misc]  # eventlet has no types
    """A green thread of eventlet's, and a :class:`~rpcservice.concurrency.Task` of ours."""

    def main(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run the function; its error is for who waits or is linked, and not for the hub too."""
        error: list[Exception] = []

        def run() -> object:
            try:
                return function(*args, **kwargs)
            except Exception as exc:
                error.append(exc)
                raise

        try:
            super().main(run, (), {})
        except Exception as exc:
            # What else comes is the error of a link, which has nobody to be told to.
            if exc not in error:
                raise

    def is_alive(self) -> bool:
        """Say whether it still runs, or is about to."""
        return not self._exit_event.ready()

    def wait(self, timeout: float | None = None) -> Any:
        """Give what the function has returned, or raise its error.

        Args:
            timeout: Seconds; with it, it is only said whether the function has ended in time.
        """
        if timeout is None:
            return super().wait()
        with suppress(Exception, GreenletExit):  # what it ended with is not asked for
            self._exit_event.wait(timeout)
        return self._exit_event.ready()


def spawn_thread(function: Callable[[], object]) -> ManagedThread:
    """Run a function in a green thread, in a copy of the caller's context variables."""
    hub = hubs.get_hub()
    thread = ManagedThread(hub.greenlet)
    hub.schedule_call_global(0, thread.switch, contextvars.copy_context().run, (function,), {})
    return thread


class WorkerThread:
    """A worker as nameko's extensions know it, a green thread: ours works for one call after the other.

    Args:
        pool: The pool that runs it.
        ctx: The call.
    """

    def __init__(self, pool: WorkerPool, ctx: WorkerContext) -> None:
        self._pool = pool
        self._ctx = ctx

    @property
    def dead(self) -> bool:
        """Whether the call has ended."""
        return self._ctx not in self._pool.running

    def __bool__(self) -> bool:
        return not self.dead

    def kill(self, *throw_args: Any) -> None:
        """End the call where it stands; its message, unless it is answered, goes back to its queue.

        Args:
            throw_args: What is raised there instead of ``GreenletExit``; no ``Exception``, which a call may catch.
        """
        if not self.dead:
            self._ctx.is_killed = True
            if self._ctx.handle is not None:
                kill(self._ctx.handle, *throw_args)
