"""Retry: how often something that failed is tried again, and how long it waits in between."""

import random
from dataclasses import dataclass
from typing import Any

from rpcservice.core.entrypoint import ExceptionTypes, exception_classes
from rpcservice.errors import (
    LONGEST_PAUSE,
    BadRequest,
    MalformedRequest,
    MessageTooLarge,
    MissingKey,
    Reject,
    UnserializableValueError,
)

HOPELESS = (MalformedRequest, MessageTooLarge, MissingKey, Reject, UnserializableValueError)
"""What fails the same way each time: the message or the result is at fault."""
HOPELESS_CALLS = (*HOPELESS, BadRequest)
"""The same for a call. A method that makes one is another matter: what it calls may be there a little later."""


def check_number(name: str, value: Any, least: float, most: float | None = None, *, kind: type = float) -> None:
    """Look at a number that a user has given.

    Args:
        name: What it is given as.
        value: The number.
        least: It may not be less.
        most: It may not be more; None is without bound.
        kind: int for a whole number.

    Raises:
        ValueError: It is no number, or out of its range.
    """
    is_number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if not (is_number and least <= value and (most is None or value <= most)):
        limits = f"from {least} on" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r}: give a {'whole number' if kind is int else 'number'} {limits}")


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often something is tried again, with growing pauses.

    The pauses are ``initial``, ``initial * factor``, ``initial * factor ** 2`` ... seconds, at most ``max_interval``,
    each longer or shorter by up to the share ``jitter``, so that what failed together does not come back together.

    Args:
        max_attempts: How many times it is tried altogether.
        initial: Seconds before the second attempt.
        factor: By how much each pause is longer than the one before.
        max_interval: The longest pause, in seconds.
        jitter: The share of a pause that is left to chance, from 0 to 1.
        no_retry: Exception classes after which there is no other attempt. None is made after an error that would be
            the same each time: MessageTooLarge, UnserializableValueError, Reject, and for calls BadRequest.
        idempotent: For calls: they may be sent again although they may have been carried out already.

    Raises:
        ValueError: A number is out of its range.
        TypeError: ``no_retry`` holds something else than exception classes.
    """

    max_attempts: int = 5
    initial: float = 1.0
    factor: float = 2.0
    max_interval: float = 60.0
    jitter: float = 0.1
    no_retry: ExceptionTypes = ()
    idempotent: bool = False

    def __post_init__(self) -> None:
        check_number("max_attempts", self.max_attempts, 1, kind=int)
        check_number("initial", self.initial, 0, LONGEST_PAUSE)
        check_number("factor", self.factor, 1)
        check_number("max_interval", self.max_interval, 0, LONGEST_PAUSE)
        check_number("jitter", self.jitter, 0, 1)
        object.__setattr__(self, "no_retry", exception_classes("no_retry", self.no_retry))

    def allows(self, error: BaseException, attempts: int, hopeless: tuple[type[BaseException], ...] = HOPELESS) -> bool:
        """Say whether there is another attempt after so many, of which the last one ended with ``error``."""
        no_retry: Any = self.no_retry
        return attempts < self.max_attempts and not isinstance(error, (*hopeless, *no_retry))

    def interval(self, attempts: int) -> float:
        """Give the pause after so many attempts, in seconds, before chance has its share."""
        try:
            pause = self.initial * self.factor ** (attempts - 1)
        except OverflowError:
            return self.max_interval
        return min(pause, self.max_interval)

    def pause(self, attempts: int) -> float:
        """Give the pause after so many attempts, in seconds; chance chooses between three, since each has a queue."""
        return min(self.interval(attempts) * (1 + self.jitter * random.choice((-1, 0, 1))), LONGEST_PAUSE)


def as_retry(value: Any) -> Retry | None:
    """Give the policy that an option ``retry=`` stands for: True is the usual one, False and None are none.

    Raises:
        TypeError: It is something else.
    """
    if value is None or value is False:
        return None
    if value is True:
        return Retry()
    if not isinstance(value, Retry):
        raise TypeError(f"retry={value!r}: give Retry(...), or True for the usual one")
    return value
