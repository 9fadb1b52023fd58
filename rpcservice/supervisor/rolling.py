"""A rolling restart: one worker after the other gives its place to a new one, which is up before the old one stops."""

import logging
from collections.abc import Callable, Iterator, Sequence

from rpcservice.supervisor.slot import Slot
from rpcservice.supervisor.worker import Worker

_log = logging.getLogger("rpcservice.supervisor")


def roll(slots: Sequence[Slot], start: Callable[[int], Worker], stop_limit: float) -> Iterator[None]:
    """Replace all workers in turn; yields whenever there is something to wait for.

    It ends early, with the old workers in their places, when a new one does not come up.

    Args:
        slots: The places.
        start: Starts the worker of a number.
        stop_limit: Seconds that an old worker may take to stop.
    """
    _log.info("restarting all workers in turn")
    for slot in slots:
        try:
            successor = slot.successor = start(slot.number)
        except OSError as exc:
            _log.error("the restart is broken off, for another worker %d cannot be started: %s", slot.number, exc)
            return
        while not successor.is_ready:
            if successor.has_ended:
                end = successor.end_in_words()
                _log.error("the restart is broken off, and old workers go on: the new %s %s", successor, end)
                return
            yield
        old = slot.worker
        slot.promote()
        if old is not None:
            old.stop(stop_limit, others_serve_on=True)
        while old is not None and not old.has_ended:
            yield
    _log.info("all workers are restarted")
