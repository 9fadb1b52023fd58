"""Logging from a real thread while the thread of the hub is blocked, and may hold logging's own locks."""

import contextvars
import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence

from rpcservice.concurrency.native import native

STDERR = 2


class UrgentLog:
    """Writes warnings at once where that takes no lock; every handler gets each of them, once.

    In a process that eventlet has patched logging's locks belong to greenlets: a real thread that waited for one would
    never be woken. So the formatted text is written to the files behind handlers of the ``logging`` package without
    them. Other handlers get the record when the loop turns again; where there are only such, the text goes to standard
    error besides, for the loop may never turn again.

    Args:
        logger: What the warnings are from.
        deliver: Runs a function in a greenlet of its own, when the loop turns; may be called from any thread.
    """

    def __init__(self, logger: logging.Logger, deliver: Callable[[Callable[[], object]], object]) -> None:
        self._logger = logger
        self._deliver = deliver
        self._write = native("os").write
        # A new record would ask which thread it is made in, and patched threading would take this one for a greenlet.
        self._blank = logger.makeRecord(logger.name, logging.WARNING, __file__, 0, "", (), None)

    def warn(self, text: str, context: contextvars.Context) -> None:
        """Write a warning; never waits for anything but the file.

        Args:
            text: The message.
            context: The context variables with which filters and formatters are to see it.
        """
        if not self._is_enabled():
            return
        record = self._make_record(text)
        handlers = list(_handlers_of(self._logger))
        missed = [handler for handler in handlers if not context.copy().run(self._write_to, handler, record)]
        if len(missed) == len(handlers):
            self._write_all(STDERR, f"{record.levelname} {record.name}: {text}\n".encode(errors="backslashreplace"))
        if missed:
            self._deliver(lambda: context.copy().run(_hand_to, missed, record))

    def _is_enabled(self) -> bool:
        # Not isEnabledFor, which may take the lock of all loggers.
        level = max(self._logger.getEffectiveLevel(), self._logger.manager.disable + 1)
        return level <= logging.WARNING and not self._logger.disabled

    def _make_record(self, text: str) -> logging.LogRecord:
        record = copy.copy(self._blank)
        record.msg = text
        now = time.time()
        record.relativeCreated += (now - record.created) * 1000
        record.created, record.msecs = now, float(int(now % 1 * 1000))
        return record

    def _write_to(self, handler: logging.Handler, record: logging.LogRecord) -> bool:
        """Write a record to a handler's file, if there is a plain one; gives whether the handler is done with it."""
        if record.levelno < handler.level:
            return True
        if not isinstance(handler, logging.StreamHandler) or not type(handler).emit.__module__.startswith("logging"):
            return False
        try:
            fileno = handler.stream.fileno()
            passed = handler.filter(record)
            if not passed:
                return True
            record = passed if isinstance(passed, logging.LogRecord) else record
            line = handler.format(record) + handler.terminator
            self._write_all(
                fileno, line.encode(getattr(handler.stream, "encoding", None) or "utf-8", "backslashreplace")
            )
        except Exception:
            # No file behind it, or a formatter that does not bear another thread: it is told when the loop turns.
            return False
        return True

    def _write_all(self, fileno: int, data: bytes) -> None:
        while data:
            data = data[self._write(fileno, data) :]


def _handlers_of(logger: logging.Logger) -> Iterator[logging.Handler]:
    found = False
    node: logging.Logger | None = logger
    while node is not None:
        for handler in node.handlers:
            found = True
            yield handler
        node = node.parent if node.propagate else None
    if not found and logging.lastResort is not None:
        yield logging.lastResort


def _hand_to(handlers: Sequence[logging.Handler], record: logging.LogRecord) -> None:
    for handler in handlers:
        handler.handle(record)
