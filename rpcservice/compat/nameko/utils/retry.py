"""nameko's decorator that tries again."""

from collections.abc import Callable
from functools import partial, wraps
from itertools import count
from time import sleep
from typing import Any

__all__ = (
    "RetryDelay",
    "retry",
)


class RetryDelay:
    """The pauses between attempts, each longer than the one before by a factor.

    Args:
        delay: Seconds, before the first factor.
        backoff: The factor; already the first pause has it.
        max_delay: The longest pause, in seconds; None for no limit.
    """

    def __init__(self, delay: float, backoff: float, max_delay: float | None) -> None:
        self.delay = delay
        self.backoff = backoff
        self.max_delay = max_delay

    def next(self) -> float:
        """Give the next pause, in seconds."""
        if self.backoff:
            self.delay *= self.backoff
        return min(self.delay, self.max_delay) if self.max_delay else self.delay


def retry(
    wrapped: Callable[..., Any] | None = None,
    for_exceptions: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    max_attempts: float | None = 3,
    delay: float = 1,
    backoff: float = 1,
    max_delay: float | None = None,
) -> Any:
    """Decorate a function, bare or called: while it raises, it is called again.

    Args:
        wrapped: The function.
        for_exceptions: What it may raise.
        max_attempts: How often it is called again; None for no end.
        delay: Seconds before it is called again.
        backoff: The factor from each pause to the next.
        max_delay: The longest pause, in seconds.
    """
    decorate = partial(
        retry,
        for_exceptions=for_exceptions,
        max_attempts=max_attempts,
        delay=delay,
        backoff=backoff,
        max_delay=max_delay,
    )
    if wrapped is None:
        return decorate
    if isinstance(wrapped, staticmethod | classmethod):
        return type(wrapped)(decorate(wrapped.__func__))

    @wraps(wrapped)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        # A series of its own for each call: nameko shares one, whose pauses grow from call to call.
        delays = RetryDelay(delay, backoff, max_delay)
        attempts = count()
        while True:
            try:
                return wrapped(*args, **kwargs)
            except for_exceptions:
                if next(attempts) == max_attempts:
                    raise
            sleep(delays.next())

    return wrapper
