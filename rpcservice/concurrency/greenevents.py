"""Events for greenlets of one eventlet hub."""

from typing import TYPE_CHECKING, Any

import greenlet

if TYPE_CHECKING:
    from rpcservice.concurrency.greenlets import GreenBackend

_getcurrent = greenlet.getcurrent


class GreenEvent:
    """An event for greenlets of one hub; its wait costs one switch, and a time-out a place among the deadlines.

    Nearly all events have one wait in their life. Who waits first stands in the event itself, which then is what the
    deadlines know; later ones, and others at the same time, get an object each.
    """

    __slots__ = ("_backend", "_flag", "_has_waited", "_others", "greenlet", "is_overdue")

    def __init__(self, backend: "GreenBackend") -> None:
        self._backend = backend
        self._flag = False
        self._has_waited = False
        self._others: list[_Waiter] | None = None
        self.greenlet: Any = None
        self.is_overdue = False

    def is_set(self) -> bool:
        """Say whether the flag is up."""
        return self._flag

    def set(self) -> None:
        """Raise the flag; who waits goes on in the hub's next turn."""
        self._flag = True
        if self.greenlet is not None or self._others:
            self._backend.turns.post(self._wake)

    def set_in_turn(self) -> None:
        """Raise the flag; who waits goes on at the end of this turn of the hub."""
        self._flag = True
        if self.greenlet is not None or self._others:
            self._backend.turns.post_last(self._wake)

    def clear(self) -> None:
        """Lower the flag."""
        self._flag = False

    def _wake(self) -> None:
        first, self.greenlet = self.greenlet, None
        if self._others:
            # None are left first: who is woken may wait here again at once, and is not to be woken twice.
            others, self._others = self._others, None
            for waiter in others:
                # What one of them raises is not for the others.
                self._backend.turns.post(waiter.wake)
        if first is not None:
            first.switch()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is up, at most ``timeout`` seconds; False when the time ran out."""
        if self._flag:
            return True
        if self._has_waited:
            return self._wait_again(timeout)
        self._has_waited = True
        backend = self._backend
        try:
            # In here too: whoever gets no further, be it Ctrl-C or a wrong time, must not be woken wherever it is then.
            self.greenlet = _getcurrent()
            if timeout is not None:
                backend.deadlines.add(timeout, self)
            hub = backend.hub.greenlet
            if self.greenlet.parent is hub and not hub.dead:
                # What eventlet's own would do then, which costs as much as all the rest of a wait.
                hub.switch()
            else:
                backend.hub.switch()
            while self.greenlet is not None and not self.is_overdue:
                # Meant for an earlier wait: eventlet's kill leaves that behind when it is broken off.
                backend.hub.switch()
        finally:
            is_woken = self.greenlet is None
            self.greenlet = None
            if timeout is not None and not self.is_overdue:
                backend.deadlines.note_stale()
        return is_woken

    def _wait_again(self, timeout: float | None) -> bool:
        backend = self._backend
        waiter = _Waiter(_getcurrent())
        if self._others is None:
            self._others = []
        try:
            if timeout is not None:
                backend.deadlines.add(timeout, waiter)
            self._others.append(waiter)
            while not (waiter.is_woken or waiter.is_overdue):
                backend.hub.switch()
        finally:
            waiter.greenlet = None
            if timeout is not None and not waiter.is_overdue:
                backend.deadlines.note_stale()
            if not waiter.is_woken and self._others:
                self._others = [other for other in self._others if other is not waiter]
        return waiter.is_woken


class _Waiter:
    __slots__ = ("greenlet", "is_overdue", "is_woken")

    def __init__(self, greenlet: Any) -> None:
        self.greenlet = greenlet
        self.is_overdue = False
        self.is_woken = False

    def wake(self) -> None:
        if self.greenlet is not None:
            self.is_woken = True
            self.greenlet.switch()
