"""Breaker: stops to call a service that does not answer. Circuit is what it knows of one service."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, time
from typing import Literal

from rpcservice.concurrency import Lock
from rpcservice.core.retry import check_number
from rpcservice.errors import CircuitOpen

State = Literal["closed", "open", "half-open"]

SHARES = 10
"""In so many shares a window moves on, so that it does not have to keep each single call."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """When a client stops to call a service, and when it tries again: ``breaker=Breaker(failure_ratio=0.5)``.

    It opens when so large a share of the calls of the last ``window`` seconds got no answer. Then calls fail at once,
    with :class:`~rpcservice.CircuitOpen`. After ``cooldown`` seconds ``trial_calls`` calls are let through: if all are
    answered it closes, if one is not it opens again. An error that the remote method raises is an answer.

    Args:
        failure_ratio: The share of calls without an answer at which it opens, from 0 to 1.
        window: How far it looks back, in seconds.
        min_calls: With fewer calls in the window it does not open.
        cooldown: Seconds for which it stays open.
        trial_calls: How many calls in a row must be answered before it closes.

    Raises:
        ValueError: A number is out of its range.
    """

    failure_ratio: float = 0.5
    window: float = 60.0
    min_calls: int = 10
    cooldown: float = 10.0
    trial_calls: int = 1

    def __post_init__(self) -> None:
        check_number("failure_ratio", self.failure_ratio, 0, 1)
        check_number("window", self.window, 0.001)
        check_number("min_calls", self.min_calls, 1, kind=int)
        check_number("cooldown", self.cooldown, 0)
        check_number("trial_calls", self.trial_calls, 1, kind=int)


class Window:
    """How many calls there were in the last so many seconds, and how many of them failed."""

    def __init__(self, seconds: float) -> None:
        self._share = seconds / SHARES
        self._shares: deque[list[int]] = deque()
        self.calls = 0
        self.failures = 0

    def add(self, now: float, has_failed: bool) -> None:
        """Count a call; forgets those that are too old."""
        number = int(now / self._share)
        while self._shares and self._shares[0][0] <= number - SHARES:
            _, calls, failures = self._shares.popleft()
            self.calls -= calls
            self.failures -= failures
        if not self._shares or self._shares[-1][0] != number:
            self._shares.append([number, 0, 0])
        self._shares[-1][1] += 1
        self._shares[-1][2] += has_failed
        self.calls += 1
        self.failures += has_failed


class Circuit:
    """What a breaker knows of one service; may be used from any thread.

    Args:
        breaker: When it opens and closes.
        service_name: The service.
        guard: A lock, of the backend that the client runs on.
        clock: Gives the time, in seconds.

    Attributes:
        service_name: The service.
        breaker: When it opens and closes.
        state: "closed": calls go through; "open": they fail at once; "half-open": it is tried whether they would.
        since: Since when it is in this state, in seconds since 1970.
    """

    def __init__(
        self, breaker: Breaker, service_name: str, guard: Lock, clock: Callable[[], float] = monotonic
    ) -> None:
        self.breaker = breaker
        self.service_name = service_name
        self.state: State = "closed"
        self.since = time()
        self._guard = guard
        self._clock = clock
        self._window = Window(breaker.window)
        # Changes with the state: what began in another one does not count any more.
        self._era = 0
        self._opened = self.since
        self._closed_until = 0.0
        self._trials = 0
        self._passed = 0

    @property
    def calls(self) -> int:
        """How many calls have been counted in the window."""
        return self._window.calls

    @property
    def failures(self) -> int:
        """How many of them got no answer."""
        return self._window.failures

    def enter(self) -> int:
        """Let a call through; gives what :meth:`leave` takes at its end.

        Raises:
            CircuitOpen: It is not to be made.
        """
        with self._guard:
            if self.state != "closed":
                self._try()
            return self._era

    def _try(self) -> None:
        """Let a call through as a trial, when it is time for one."""
        now = self._clock()
        has_cooled_down = now >= self._closed_until
        if self.state == "open" and has_cooled_down:
            self._trials = self._passed = 0
            self._change("half-open", logging.INFO, "calls of %s are tried again", self.service_name)
        elif self.state == "half-open" and has_cooled_down:
            # Trials that have not ended in all that time may never end.
            self._trials = self._passed
        if self.state == "open" or self._trials >= self.breaker.trial_calls:
            raise CircuitOpen(self.service_name, self._opened, max(0.0, self._closed_until - now))
        self._trials += 1
        self._closed_until = now + self.breaker.cooldown

    def leave(self, era: int, has_failed: bool | None) -> None:
        """Note the end of a call.

        Args:
            era: What :meth:`enter` gave.
            has_failed: Whether it got no answer; None where it was given up, which says nothing of the service.
        """
        with self._guard:
            if era != self._era:
                return
            if self.state == "closed":
                if has_failed is not None:
                    self._count(has_failed)
            elif has_failed is None:
                self._trials -= 1
            elif has_failed:
                self._open("a trial call got no answer")
            else:
                self._passed += 1
                if self._passed >= self.breaker.trial_calls:
                    self._window = Window(self.breaker.window)
                    self._change(
                        "closed", logging.WARNING, "%s answers again, so it is called again", self.service_name
                    )

    def _count(self, has_failed: bool) -> None:
        window, breaker = self._window, self.breaker
        window.add(self._clock(), has_failed)
        is_enough = window.calls >= breaker.min_calls and window.failures >= breaker.failure_ratio * window.calls
        if is_enough and window.failures:
            self._open(f"{window.failures} of {window.calls} calls within {breaker.window:g} s got no answer")

    def _open(self, reason: str) -> None:
        cooldown = self.breaker.cooldown
        self._closed_until = self._clock() + cooldown
        text = "%s is not called for %g s: %s"
        self._change("open", logging.WARNING, text, self.service_name, cooldown, reason)

    def _change(self, state: State, level: int, text: str, *args: object) -> None:
        self._era += 1
        self.since = time()
        if self.state == "closed":
            self._opened = self.since
        self.state = state
        _log.log(level, text, *args)

    def __repr__(self) -> str:
        return f"<Circuit {self.service_name!r} {self.state}>"
