"""Ends methods that run for longer than their entrypoint's ``time_limit``."""

from collections.abc import Callable
from typing import Any

from rpcservice.concurrency import Timer
from rpcservice.core.context import WorkerContext
from rpcservice.errors import WorkerTimeout

AGAIN = 10.0
"""So many seconds a method has to tidy up, once it is told that its time is over; then it is told again."""


class TimeIsOver(BaseException):
    """Raised in a method, where it waits, when its time is over.

    It is no Exception, so that ``except Exception`` in the method does not keep it from ending, and so that database
    libraries close the connection on which an answer is still to come.
    """


class _Limit:
    """The time of one call; nothing is switched between its end and the ``finally`` that calls the timer off."""

    def __init__(self, ctx: WorkerContext, seconds: float) -> None:
        self.is_over = False
        self._backend = ctx.container.backend
        self._worker = self._backend.current()
        self._timer: Timer = self._backend.call_later(seconds, self._end)

    def _end(self) -> None:
        self.is_over = True
        self._timer = self._backend.call_later(AGAIN, self._end)
        self._backend.throw(self._worker, TimeIsOver())

    def cancel(self) -> None:
        """Let the worker go on."""
        self._timer.cancel()


def call_within(ctx: WorkerContext, seconds: float, method: Callable[..., Any]) -> Any:
    """Call a method with the arguments of a worker and give its result.

    Raises:
        WorkerTimeout: It was still running after so many seconds. Whatever the method made of that does not count.
    """
    limit = _Limit(ctx, seconds)
    try:
        result = method(*ctx.args, **ctx.kwargs)
    except BaseException as exc:
        if not limit.is_over or ctx.is_killed or isinstance(exc, KeyboardInterrupt):
            raise
        raise _timeout(ctx, seconds) from exc
    finally:
        limit.cancel()
    if limit.is_over:
        raise _timeout(ctx, seconds)
    return result


def _timeout(ctx: WorkerContext, seconds: float) -> WorkerTimeout:
    return WorkerTimeout(ctx.service_name, ctx.entrypoint.method_name, seconds)
