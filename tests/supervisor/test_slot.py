"""Slot: when the place of a worker is filled again."""

from dataclasses import dataclass
from typing import Any

import pytest

from rpcservice.supervisor.slot import LONGEST_PAUSE, RAN_WELL, Slot


@dataclass
class Ended:
    """A worker that has ended; ``ready_at`` is when it was up."""

    ready_at: float | None = None


@pytest.fixture
def slot() -> Slot:
    return Slot(1)


def test_pauses_grow_up_to_a_limit(slot: Slot) -> None:
    worker: Any = Ended()
    assert [slot.empty(worker, 0) for _ in range(7)] == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]


def test_pauses_stay_at_the_limit_however_long_it_goes_on(slot: Slot) -> None:
    slot.failures = 10_000
    assert slot.empty(None, 0) == LONGEST_PAUSE


def test_a_worker_that_ran_well_has_the_first_pause_again(slot: Slot) -> None:
    for _ in range(5):
        slot.empty(None, 0)
    worker: Any = Ended(ready_at=100)
    assert slot.empty(worker, 100 + RAN_WELL) == 1


def test_a_worker_that_ran_for_a_moment_does_not_count_as_well(slot: Slot) -> None:
    slot.empty(None, 0)
    worker: Any = Ended(ready_at=100)
    assert slot.empty(worker, 100 + RAN_WELL - 1) == 2


def test_an_empty_place_is_filled_after_the_pause(slot: Slot) -> None:
    slot.empty(None, 50)
    assert (slot.worker, slot.restart_at) == (None, 51)


def test_a_place_that_is_filled_waits_for_nobody(slot: Slot) -> None:
    slot.empty(None, 50)
    worker: Any = Ended()
    slot.fill(worker)
    assert (slot.worker, slot.restart_at) == (worker, None)


def test_a_successor_takes_the_place(slot: Slot) -> None:
    successor: Any = Ended()
    slot.successor = successor
    slot.promote()
    assert (slot.worker, slot.successor) == (successor, None)
