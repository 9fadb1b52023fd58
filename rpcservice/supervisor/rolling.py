"""A rolling restart: one worker after the other gives its place to a new one, which is up before the old one stops."""

import logging
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

from rpcservice.supervisor.slot import Slot
from rpcservice.supervisor.worker import Worker

_log = logging.getLogger("rpcservice.supervisor")


def roll(
    slots: Sequence[Slot], start: Callable[[int], Worker], start_limit: float | None, is_outdated: Callable[[], bool]
) -> Iterator[None]:
    """Replace all workers in turn; yields whenever there is something to wait for.

    It ends early, with the old workers in their places, when a new one does not come up, or another restart is wanted.

    Args:
        slots: The places.
        start: Starts the worker of a number.
        start_limit: Seconds that a new worker may take to be up; None for as long as it takes.
        is_outdated: Says whether another restart is wanted.
    """
    _log.info("restarting all workers in turn")
    for slot in slots:
        try:
            successor = slot.successor = start(slot.number)
        except OSError as exc:
            _log.error("the restart is broken off, for another worker %d cannot be started: %s", slot.number, exc)
            return
        successor.due_at = None if start_limit is None else monotonic() + start_limit
        while not successor.is_ready or successor.has_ended:
            if _is_given_up(successor, start_limit, is_outdated):
                slot.successor = None
                return
            yield
        # Who is there now: another one than at first, where that has died meanwhile, or nobody yet.
        old = slot.worker
        slot.promote()
        if old is not None:
            old.stop(others_serve_on=True)
        while old is not None and not old.has_ended:
            yield
        if is_outdated():
            return
    _log.info("all workers are restarted")


def _is_given_up(successor: Worker, start_limit: float | None, is_outdated: Callable[[], bool]) -> bool:
    """Say whether nobody waits for a new worker any more, which is stopped then, and why."""
    if successor.has_ended:
        end = successor.end_in_words()
        _log.error("the restart is broken off, and old workers go on: the new %s %s", successor, end)
        return True
    if is_outdated():
        _log.warning("the restart begins anew; the new %s (pid %d) was not up yet", successor, successor.pid)
    elif successor.due_at is not None and successor.due_at <= monotonic():
        _log.error(
            "the restart is broken off, and old workers go on: the new %s (pid %d) was not up within %g s, and is "
            "stopped; see what its start waits for, or raise startup_timeout",
            successor,
            successor.pid,
            start_limit,
        )
    else:
        return False
    successor.stop(others_serve_on=True)
    return True
