"""Worker, one process that a supervisor has started, as the supervisor sees it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from time import monotonic
from typing import Any, Self

from rpcservice.supervisor.channel import Channel, Failure
from rpcservice.supervisor.handover import Handover

LATE = 60.0
"""Seconds after which a worker that is not up yet is told of."""
LAST_RESORT = 3.0
"""Seconds after a kill in which a worker ends by itself; then the system ends it."""


class Worker:
    """A process of services that runs, is about to, or is about to end.

    Attributes:
        number: The number that it shares with those whose place it takes.
        generation: How many rolling restarts had been wanted when it started.
        ready_at: When its services were up, on the monotonic clock; None before.
        late_at: When it is told that its services are not up yet; None once they are, or that was told.
        due_at: When nobody waits for its services any more; None for never, and once they are up.
        kill_at: When it is ended if it has not ended by itself; None for never.
        is_stopping: Whether it was told to stop.
        leads: Whether it was told to do what only one worker does.
        stop_limit: Seconds that it may take to stop; those of its own configuration, once it is up.
        was_killed: Whether it was made to end without finishing its work.
        has_ended: Whether it was seen to have ended.
        failure: What it said of its end.
        lines: What it said of its services.
        listeners: The names of the listening sockets that it uses.
    """

    def __init__(
        self, number: int, generation: int, stop_limit: float, process: subprocess.Popen[bytes], channel: Channel
    ) -> None:
        self.number = number
        self.generation = generation
        self.stop_limit = stop_limit
        self.channel = channel
        self.ready_at: float | None = None
        self.late_at: float | None = monotonic() + LATE
        self.due_at: float | None = None
        self.kill_at: float | None = None
        self.is_stopping = False
        self.leads = False
        self.was_killed = False
        self.has_ended = False
        self.failure: Failure | None = None
        self.lines: list[str] = []
        self.listeners: list[str] = []
        self._process = process

    @classmethod
    def start(cls, number: int, count: int, generation: int, stop_limit: float, listeners: Mapping[str, int]) -> Self:
        """Start this command line once more, as a worker.

        Args:
            number: Its number.
            count: How many workers there are to be.
            generation: How many rolling restarts have been wanted.
            stop_limit: Seconds that it may take to stop, as long as it has not told of its own.
            listeners: Descriptors of the listening sockets, by name.

        Raises:
            OSError: The system starts no process.
        """
        own, others = socket.socketpair()
        with others:
            own.setblocking(False)
            handover = Handover(number, others.fileno(), listeners, count)
            try:
                process = subprocess.Popen(
                    # As it was called: with the options of the interpreter, and by -m or a script.
                    [sys.executable, *sys.orig_argv[1:]],
                    env={**os.environ, **handover.environment()},
                    stdin=subprocess.DEVNULL,
                    pass_fds=handover.descriptors,
                    # Ctrl-C of a terminal is for the supervisor, who tells the workers.
                    process_group=0,
                )
            except BaseException:
                own.close()
                raise
        return cls(number, generation, stop_limit, process, Channel(own))

    def __str__(self) -> str:
        return f"worker {self.number}"

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether its services are up."""
        return self.ready_at is not None

    def look(self) -> bool:
        """See whether the process has ended."""
        return self._process.poll() is not None

    def tell(self, kind: str, value: Any = True, *, descriptor: int | None = None) -> bool:
        """Send the worker a message; gives False when it cannot get it: it is about to end, or listens no more."""
        try:
            self.channel.send(kind, value, descriptor=descriptor)
        except OSError:
            return False
        return True

    def note_ready(self, lines: list[str], listeners: list[str], stop_limit: float) -> None:
        """Note what it has said of its services, which are up."""
        self.ready_at, self.late_at, self.due_at = monotonic(), None, None
        self.lines, self.listeners, self.stop_limit = lines, listeners, stop_limit

    def note_stopping(self) -> None:
        """Note that it stops, and is ended if it takes too long."""
        self.is_stopping, self.late_at, self.due_at = True, None, None
        self.kill_at = self.kill_at or monotonic() + self.stop_limit

    def lead(self) -> bool:
        """Have it do what only one worker is to do; gives False when it cannot be told."""
        self.leads = self.tell("lead")
        return self.leads

    def stop(self, *, others_serve_on: bool) -> None:
        """Have it stop in order.

        Args:
            others_serve_on: Whether other workers take what comes to its addresses.
        """
        self.note_stopping()
        if not self.tell("stop", others_serve_on) or not self.is_ready:
            # It may not listen yet, and has nothing to finish; or it listens no more, and still has.
            self._process.terminate()

    def kill(self) -> None:
        """Have it end without finishing anything."""
        self.is_stopping = self.was_killed = True
        self.late_at, self.due_at, self.kill_at = None, None, monotonic() + LAST_RESORT
        if not self.tell("kill") or not self.is_ready:
            self._process.kill()

    def end(self) -> None:
        """Have the system end the process."""
        self.kill_at, self.was_killed = None, True
        self._process.kill()

    def leave(self) -> None:
        """Leave it to itself: it stops in order, as it hears of nobody any more."""
        self.channel.close()

    @property
    def exit_code(self) -> int:
        """The exit code of a process that has ended; below 0 the number of the signal that ended it."""
        return self._process.returncode

    @property
    def was_cut_short(self) -> bool:
        """Whether it has ended before it had stopped in order, and nobody here wanted it to."""
        # It has no handler for SIGTERM before there is something to finish.
        return not self.was_killed and self.exit_code not in (0, -signal.SIGTERM)

    def end_in_words(self) -> str:
        """Say how a process has ended."""
        if self.failure is not None:
            return f"failed: {self.failure['message']}"
        if self.exit_code < 0:
            return f"was ended by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}"
