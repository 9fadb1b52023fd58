"""Wakeups, what a supervisor waits for: signals, and what its workers say."""

import selectors
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Any, Self

from rpcservice.supervisor.worker import Worker

_AT_A_TIME = 4096


class Wakeups:
    """Takes signals over for a ``with`` block; none of them interrupts anything.

    Args:
        signals: Which.
    """

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self._signals = signals
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        self._received, self._noted = socket.socketpair()
        for sock in (self._received, self._noted):
            sock.setblocking(False)
        self._selector.register(self._received, selectors.EVENT_READ)
        # Python writes the number of each signal there; the handlers are only there to be no default.
        self._fd_before = signal.set_wakeup_fd(self._noted.fileno(), warn_on_full_buffer=False)
        self._handlers: dict[signal.Signals, Any] = {one: signal.signal(one, _note) for one in self._signals}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._selector.close()
        self._received.close()
        self._noted.close()

    def was_ignored(self, number: signal.Signals) -> bool:
        """Say whether a signal was ignored before."""
        return bool(self._handlers[number] == signal.SIG_IGN)

    def add(self, worker: Worker) -> None:
        """Wait for what a worker says, too."""
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def remove(self, worker: Worker) -> None:
        """Wait for a worker no more, which may have been removed before."""
        if worker.channel.fileno() in self._selector.get_map():
            self._selector.unregister(worker.channel)

    def wait(self, timeout: float | None) -> tuple[list[int], list[Worker]]:
        """Wait at most for so many seconds; gives the signals that came, and the workers that have said something."""
        signals: list[int] = []
        workers: list[Worker] = []
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                signals.extend(self._received.recv(_AT_A_TIME))
            else:
                workers.append(key.data)
        return signals, workers


def _note(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wakeup descriptor has the number already."""
