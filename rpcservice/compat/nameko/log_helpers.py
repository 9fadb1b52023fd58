"""nameko's helper that logs how long something took."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ("make_timing_logger",)


def make_timing_logger(
    logger: logging.Logger, precision: int = 3, level: int = logging.DEBUG
) -> Callable[..., AbstractContextManager[None]]:
    """Give what logs a message with the time that a block took: ``with log_time("read %s", name): ...``.

    Args:
        logger: Where it is logged.
        precision: Digits of the seconds behind the point.
        level: The level of the message.
    """

    @contextmanager
    def log_time(msg: str, *args: Any) -> Iterator[None]:
        began = time.time()
        try:
            yield
        finally:
            logger.log(level, f"{msg} in %0.{precision}fs", *args, time.time() - began)

    return log_time
