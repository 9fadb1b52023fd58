"""Watchdog, a real thread that tells what keeps the event loop from turning."""

import contextvars
import logging
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from rpcservice.concurrency.native import native
from rpcservice.concurrency.urgentlog import UrgentLog

PAUSE = 0.25
"""Seconds from one look at the loop to the next."""
LOST = 0.5
"""By so many seconds this thread may come late on a busy machine."""
BUSY = 0.1
"""A process that ran meanwhile has used this share of the time at least, however busy the machine."""
GROWTH = 4
"""Each report of one blockade comes after so many times the time of the one before."""
FRAMES = 60
"""The innermost calls that a report shows."""
DEBUGGERS = frozenset(("bdb", "pdb", "ipdb", "pudb", "pydevd", "debugpy"))

Look = Callable[[Sequence[FrameType]], tuple[str, contextvars.Context]]
"""Says what runs in a stack, the innermost frame first, and with which context variables it is to be logged."""

_log = logging.getLogger(__name__)


class Watchdog:
    """Looks whether a loop turns, as long as somebody asks for it, and logs the stack of what blocks it.

    A loop that waits for work is seen by its stack and left alone, so that watching costs it nothing; a busy one is
    asked for a sign of life.

    Args:
        home: The ident of the loop's thread.
        post: Runs a function in the loop; may be called from any thread.
        deliver: Runs a function in a greenlet of its own; may be called from any thread.
        is_loop: Whether a frame is the loop's own.
        look: Says what runs in a stack.
    """

    def __init__(
        self,
        home: int,
        post: Callable[[Callable[[], object]], object],
        deliver: Callable[[Callable[[], object]], object],
        is_loop: Callable[[FrameType], bool],
        look: Look,
    ) -> None:
        self._home = home
        self._post = post
        self._is_loop = is_loop
        self._look = look
        self._threading = native("threading")
        self._log = UrgentLog(_log, deliver)
        self._limits: list[float] = []
        self._thread: Any = None
        self._late = 0.0

    def watch(self, seconds: float) -> Callable[[], None]:
        """Watch, until what this gives is called.

        Args:
            seconds: A loop that did not turn for so long is reported; of several the least.
        """
        self._limits.append(seconds)
        if self._thread is None:
            self._begin()

        def leave() -> None:
            if seconds in self._limits:
                self._limits.remove(seconds)
                if not self._limits:
                    self._end()

        return leave

    def _begin(self) -> None:
        self._ended, self._turned = self._threading.Event(), self._threading.Event()
        self._thread = self._threading.Thread(target=self._run, name="rpcservice-watchdog", daemon=True)
        self._thread.start()

    def _end(self) -> None:
        self._ended.set()
        self._turned.set()
        # It is at an end at once, unless it writes to a pipe that nobody reads.
        self._thread.join(1)
        self._thread = None

    def _run(self) -> None:
        ended = self._ended
        while not (has_ended := self._wait(ended, PAUSE)):
            if has_ended is None:
                continue
            stack = self._stack()
            if self._late >= min(self._limits, default=PAUSE):
                self._report_late(stack)
            elif stack and not self._is_loop(stack[0]):
                self._wait_for_a_turn()

    def _wait_for_a_turn(self) -> None:
        """Have the loop give a sign, and report what it does until it has."""
        turned = self._turned
        turned.clear()
        if self._ended.is_set():
            return
        self._post(turned.set)
        begin, reports, due = time.monotonic(), 0, min(self._limits, default=PAUSE)
        while not (has_turned := self._wait(turned, begin + due - time.monotonic())):
            if has_turned is None or not self._report(time.monotonic() - begin):
                begin = time.monotonic()  # all of the process stood still, or somebody looks at it step by step
            else:
                reports += 1
                due *= GROWTH
        if reports and not self._ended.is_set():
            seconds = time.monotonic() - begin
            self._log.warn(f"the event loop turns again, after at least {seconds:.1f} s", contextvars.Context())

    def _wait(self, event: Any, seconds: float) -> bool | None:
        """Wait for an event; None when this thread was kept from running too, and that was not the loop's work.

        A process that is stopped, or a machine that sleeps, blocks nothing. Code in C that keeps the interpreter to
        itself does, and uses the processor.
        """
        begin, used = time.monotonic(), time.process_time()
        if event.wait(max(0, seconds)):
            return True
        self._late = time.monotonic() - begin - max(0, seconds)
        return None if self._late > LOST and time.process_time() - used < self._late * BUSY else False

    def _report(self, seconds: float) -> bool:
        """Log what blocks the loop; False when it is a debugger."""
        stack = self._stack()
        if not stack or self._is_loop(stack[0]):
            return True  # it has begun to turn by now
        if any(str(frame.f_globals.get("__name__", "")).partition(".")[0] in DEBUGGERS for frame in stack):
            return False
        who, context = self._look(stack)
        self._log.warn(
            f"the event loop has not turned for {seconds:.1f} s: {who} keeps it, and nothing else runs, not even "
            f"heartbeats; give such work to an Offload dependency. It is at:\n{_format(stack)}",
            context,
        )
        return True

    def _report_late(self, stack: list[FrameType]) -> None:
        """Log that this thread could not run either, and where the loop's thread is now that it can."""
        who, context = self._look(stack)
        self._log.warn(
            f"the event loop has not turned for {self._late:.1f} s, nor did any other thread run: code in C kept the "
            "interpreter to itself, or the machine is overloaded; give such code to an Offload dependency with "
            f"processes. By now {who} is at:\n{_format(stack)}",
            context,
        )

    def _stack(self) -> list[FrameType]:
        """Give the frames of what runs in the loop's thread, the innermost first."""
        frame, stack = sys._current_frames().get(self._home), []
        while frame is not None:
            stack.append(frame)
            frame = frame.f_back
        return stack


def _format(stack: list[FrameType]) -> str:
    lines = traceback.StackSummary.extract(((frame, frame.f_lineno) for frame in stack), limit=FRAMES)
    lines.reverse()
    return "".join(lines.format()).rstrip()
