"""Waits for what a test cannot be told of: a call of any object, or the end of a failure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from unittest.mock import patch

from rpcservice.concurrency import green
from rpcservice.testing.calls import ExcInfo, WaitResult

CallCallback = Callable[[tuple[Any, ...], dict[str, Any], Any, ExcInfo | None], object]


@contextmanager
def wait_for_call(
    target: Any, attribute: str, callback: CallCallback | None = None, timeout: float | None = 30
) -> Iterator[WaitResult]:
    """Give a block at whose end a method has been called; the method itself runs as ever.

    It gives a :class:`WaitResult`. When the block raises, nothing is waited for.

    Args:
        target: The object, class or module that has the method.
        attribute: The method's name.
        callback: Called with (args, kwargs, result, exc_info) after each call; the one it says true to is waited
            for. Without it the first one is.
        timeout: Seconds to wait at the end of the block; None waits for ever.

    Raises:
        TimeoutError: It was not called in time.
    """
    backend = green()
    called = backend.event()
    outcome = WaitResult()
    original = getattr(target, attribute)

    def note(args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, error: Exception | None) -> None:
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        if callback is None or callback(args, kwargs, result, exc_info):
            outcome.send(result, error)
            # The call may have come in another thread.
            backend.post(called.set)

    def watched(*args: Any, **kwargs: Any) -> Any:
        try:
            result = original(*args, **kwargs)
        except Exception as exc:
            note(args, kwargs, None, exc)
            raise
        note(args, kwargs, result, None)
        return result

    with patch.object(target, attribute, new=watched):
        yield outcome
        if not called.wait(timeout):
            raise TimeoutError(f"{target!r}.{attribute} was not called within {timeout:g} s")


def assert_stops_raising(
    function: Callable[[], object],
    exception_type: type[Exception] | tuple[type[Exception], ...] = Exception,
    timeout: float | None = 10,
    interval: float = 0.1,
) -> None:
    """Call a function again and again until it raises no more; services run meanwhile.

    Args:
        function: Called without arguments.
        exception_type: What it may raise until then; all else is raised at once.
        timeout: Seconds after which the last exception is raised; None goes on for ever.
        interval: Seconds from one call to the next.
    """
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        try:
            function()
        except exception_type:
            if deadline is not None and monotonic() >= deadline:
                raise
        else:
            return
        green().sleep(interval)
