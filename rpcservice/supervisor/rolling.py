"""A rolling restart: one worker after the other gives its place to a new one, which is up before the old one stops."""

import logging
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from rpcservice.supervisor.slot import Slot
from rpcservice.supervisor.worker import Worker

_log = logging.getLogger("rpcservice.supervisor")

PATIENCE = 5.0
"""Seconds that a new worker has to be up when another restart is wanted meanwhile; twice as many the next time."""


def roll(
    slots: Sequence[Slot], start: Callable[[int], Worker], start_limit: float | None, newest: Callable[[], int]
) -> Iterator[None]:
    """Replace all workers that are not of the newest generation; yields whenever there is something to wait for.

    A restart that is wanted meanwhile goes on where this one is: the oldest worker is always the next, so that all of
    them are replaced however often that is wanted, and none is that has been started since. It ends early, with the old
    workers in their places, when a new one of the newest generation does not come up.

    Args:
        slots: The places.
        start: Starts the worker of a number, of the newest generation.
        start_limit: Seconds that a new worker may take to be up; None for as long as it takes.
        newest: Gives the newest generation, a number that grows with each restart that is wanted.
    """
    _log.info("restarting all workers in turn")
    generation, patience = newest(), PATIENCE
    while (slot := _next(slots, newest())) is not None:
        if newest() != generation:
            generation = newest()
            _log.info("restarting all workers in turn once more, for another SIGHUP")
        try:
            successor = slot.successor = start(slot.number)
        except OSError as exc:
            _log.error("the restart is broken off, for another worker %d cannot be started: %s", slot.number, exc)
            return
        yield from _wait_for(successor, start_limit, patience, newest)
        if successor.is_ready and not successor.has_ended:
            patience = PATIENCE
            yield from _exchange(slot)
            continue
        slot.successor = None
        if generation == newest():
            return
        if not successor.has_ended:
            # It may be one that takes longer, and has to be up once, however often a restart is wanted.
            patience *= 2
    _log.info("all workers are restarted")


def _next(slots: Sequence[Slot], newest: int) -> Slot | None:
    """Give the place whose worker is the oldest, if that is to be replaced; nobody there is older than anybody."""
    oldest = min(slots, key=_generation)
    return None if _generation(oldest) == newest else oldest


def _generation(slot: Slot) -> int:
    return -1 if slot.worker is None else slot.worker.generation


def _exchange(slot: Slot) -> Iterator[None]:
    """Have the successor in the place of who is there now, and wait for that one's end."""
    # Another one than at first, where that has died meanwhile, or nobody yet.
    old = slot.worker
    slot.promote()
    if old is not None:
        old.stop(others_serve_on=True)
    while old is not None and not old.has_ended:
        yield


def _wait_for(
    successor: Worker, start_limit: float | None, patience: float, newest: Callable[[], int]
) -> Iterator[None]:
    """Wait until a new worker is up, has ended, or is not worth waiting for any more and stopped; tells why."""
    started = monotonic()
    successor.due_at = None if start_limit is None else started + start_limit
    while not successor.is_ready and not successor.has_ended:
        is_outdated = newest() != successor.generation
        if is_outdated:
            successor.due_at = started + (patience if start_limit is None else min(patience, start_limit))
        if successor.due_at is not None and successor.due_at <= monotonic():
            _give_up(successor, start_limit, is_outdated)
            return
        yield
    if successor.has_ended:
        what_follows = "is broken off, and old workers go on" if newest() == successor.generation else "begins anew"
        _log.error("the restart %s: the new %s %s", what_follows, successor, successor.end_in_words())


def _give_up(successor: Worker, start_limit: float | None, is_outdated: bool) -> None:
    if is_outdated:
        _log.warning("the restart begins anew; the new %s (pid %d) was not up yet", successor, successor.pid)
    else:
        _log.error(
            "the restart is broken off, and old workers go on: the new %s (pid %d) was not up within %g s, and is "
            "stopped; see what its start waits for, or raise startup_timeout",
            successor,
            successor.pid,
            start_limit,
        )
    successor.stop(others_serve_on=True)
