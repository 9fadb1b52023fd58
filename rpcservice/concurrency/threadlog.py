"""Has what real threads log handled by the loop's thread, in a process that eventlet has patched.

logging's locks belong to greenlets there: a real thread that had to wait for one would never be woken, or would break
the loop. Handlers of others may hold green sockets and queues as well.
"""

import logging
import sys
import threading
from collections.abc import Callable
from functools import wraps
from time import time
from typing import Any

from rpcservice.concurrency.native import native

Deliver = Callable[[Callable[[], object]], object]
"""Runs a function in a greenlet of its own, in the loop's thread and the caller's context; from any thread."""


class ThreadLog:
    """Has what real threads log handled by the loop's thread, if it has to be; made in the loop's thread."""

    def __init__(self) -> None:
        is_patched = type(threading.Lock()).__module__ != "_thread"
        self._here = _installed() if is_patched else None

    def begin(self, deliver: Deliver) -> None:
        """Called in a real thread: from now on all that it logs goes this way."""
        if self._here is not None:
            self._here.deliver = deliver
            self._here.name = native("threading").current_thread().name


def _installed() -> Any:
    """Extend ``logging.Logger``, once for the process; gives the variables of threads that it looks at."""
    here = getattr(logging.Logger._log, "here", None)
    return _install(native("threading").local()) if here is None else here


def _install(here: Any) -> Any:
    is_enabled, log = logging.Logger.isEnabledFor, logging.Logger._log

    @wraps(is_enabled)
    def is_enabled_for(self: logging.Logger, level: int) -> bool:
        if not hasattr(here, "deliver"):
            return is_enabled(self, level)
        # The same without the cache, for which there is a lock.
        return not self.disabled and self.manager.disable < level and level >= self.getEffectiveLevel()

    @wraps(log)
    def _log(self: logging.Logger, level: int, *args: Any, **options: Any) -> None:
        if not hasattr(here, "deliver"):
            # One for this function.
            options["stacklevel"] = options.get("stacklevel", 1) + 1
            log(self, level, *args, **options)
        else:
            _log_in_loop(here, self, level, *args, **options)

    _log.here = here  # type: ignore[attr-defined]  # where it is found again
    logging.Logger.isEnabledFor = is_enabled_for  # type: ignore[method-assign]  # as documented above
    logging.Logger._log = _log  # type: ignore[method-assign]
    return here


def _log_in_loop(
    here: Any,
    logger: logging.Logger,
    level: int,
    msg: object,
    args: Any,
    exc_info: Any = None,
    extra: Any = None,
    stack_info: bool = False,
    stacklevel: int = 1,
) -> None:
    """Do what ``Logger._log`` does: here what must be done here, the rest in the loop's thread."""
    created, thread = time(), here.name
    path, line, function, stack = logger.findCaller(stack_info, stacklevel + 2)
    if exc_info and not isinstance(exc_info, tuple):
        is_error = isinstance(exc_info, BaseException)
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__) if is_error else sys.exc_info()

    def handle() -> None:
        # Made here too, for a record asks patched threading in which thread it is made.
        record = logger.makeRecord(logger.name, level, path, line, msg, args, exc_info, function, extra, stack)
        record.threadName = thread
        record.relativeCreated += (created - record.created) * 1000
        record.created, record.msecs = created, float(int(created % 1 * 1000))
        logger.handle(record)

    here.deliver(handle)
