"""What runs in the hub's next turn, and what waits there until some time."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import eventlet
import eventlet.hubs.hub
import pytest

from rpcservice.concurrency import green
from rpcservice.concurrency.turns import Deadlines, Turns


class HandHub:
    """Timers go off by hand."""

    SYSTEM_EXCEPTIONS = eventlet.hubs.hub.BaseHub.SYSTEM_EXCEPTIONS

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], object]]] = []
        self.told: list[Any] = []

    def schedule_call_global(self, seconds: float, function: Callable[[], object]) -> Any:
        entry = (seconds, function)
        self.timers.append(entry)
        hub = self

        class Timer:
            def cancel(self) -> None:
                hub.timers.remove(entry)

        return Timer()

    def turn(self) -> None:
        timers, self.timers = self.timers, []
        for _, function in timers:
            function()

    def squelch_timer_exception(self, timer: object, exc_info: Any) -> None:
        self.told.append(exc_info[1])


class Sleeping:
    def __init__(self, wakes: list["Sleeping"]) -> None:
        self.is_overdue = False
        self.greenlet: Any = self
        self._wakes = wakes

    def switch(self) -> None:
        self._wakes.append(self)
        self.greenlet = None


@pytest.fixture
def hub() -> HandHub:
    return HandHub()


@pytest.fixture
def turns(hub: HandHub) -> Turns:
    return Turns(hub)


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def loud_hub() -> Iterator[None]:
    hub = eventlet.hubs.get_hub()
    hub.debug_exceptions, before = True, hub.debug_exceptions
    yield
    hub.debug_exceptions = before


def test_calls_of_one_turn_run_in_their_order_with_one_timer(hub: HandHub, turns: Turns, calls: list[str]) -> None:
    for name in "abc":
        turns.post(calls.append, name)
    assert len(hub.timers) == 1
    hub.turn()
    assert calls == ["a", "b", "c"]
    assert hub.timers == []


def test_what_a_call_leaves_runs_in_the_next_turn(hub: HandHub, turns: Turns, calls: list[str]) -> None:
    turns.post(turns.post, calls.append, "later")
    hub.turn()
    assert calls == []
    hub.turn()
    assert calls == ["later"]


def test_the_last_call_of_a_turn_runs_in_the_same_one(hub: HandHub, turns: Turns, calls: list[str]) -> None:
    turns.post(turns.post_last, lambda: calls.append("last"))
    turns.post(calls.append, "first")
    hub.turn()
    assert calls == ["first", "last"]
    assert hub.timers == []


def test_a_last_call_from_outside_of_a_turn_has_one_of_its_own(hub: HandHub, turns: Turns, calls: list[str]) -> None:
    turns.post_last(lambda: calls.append("last"))
    hub.turn()
    assert calls == ["last"]


@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("error", [ValueError("this one"), eventlet.Timeout(None)])
def test_a_call_that_raises_is_told_of_and_holds_up_none(
    hub: HandHub, turns: Turns, calls: list[str], is_last: bool, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    (turns.post_last if is_last else turns.post)(fail)
    turns.post(calls.append, "b")
    turns.post_last(lambda: calls.append("last"))
    hub.turn()
    assert calls == ["b", "last"]
    assert hub.told == [error]


def test_ctrl_c_ends_the_turn_and_the_rest_has_another(hub: HandHub, turns: Turns, calls: list[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    turns.post(interrupt)
    turns.post(calls.append, "b")
    turns.post_last(lambda: calls.append("last"))
    with pytest.raises(KeyboardInterrupt):
        hub.turn()
    assert calls == []
    hub.turn()
    assert calls == ["b", "last"]


def test_a_greenlet_that_dies_of_an_error_holds_up_no_other(
    loud_hub: None, capfd: pytest.CaptureFixture[str], calls: list[str]
) -> None:
    def fail() -> None:
        raise ValueError("this one")

    green().start(fail)
    green().start(calls.append, "b")
    green().sleep(0)
    green().sleep(0)
    assert calls == ["b"]
    assert "ValueError: this one" in capfd.readouterr().err


def test_many_waits_have_one_timer_which_is_for_the_first(hub: HandHub) -> None:
    deadlines, wakes = Deadlines(hub), list[Sleeping]()
    for seconds in (5, 9, 3, 7):
        deadlines.add(seconds, Sleeping(wakes))
    assert [seconds for seconds, _ in hub.timers] == [3]


def test_who_is_overdue_goes_on_and_the_timer_is_set_for_the_next(hub: HandHub) -> None:
    deadlines, wakes = Deadlines(hub), list[Sleeping]()
    first, second = Sleeping(wakes), Sleeping(wakes)
    deadlines.add(0, first)
    deadlines.add(60, second)
    hub.turn()
    assert wakes == [first]
    assert first.is_overdue
    assert not second.is_overdue
    assert [round(seconds) for seconds, _ in hub.timers] == [60]


def test_a_wait_that_follows_at_once_does_not_take_the_timer_of_an_earlier_one(hub: HandHub) -> None:
    deadlines, wakes = Deadlines(hub), list[Sleeping]()

    class Again(Sleeping):
        def switch(self) -> None:
            super().switch()
            deadlines.add(60, Sleeping(wakes))

    deadlines.add(0, Again(wakes))
    deadlines.add(30, Sleeping(wakes))
    hub.turn()
    assert [round(seconds) for seconds, _ in hub.timers] == [30]


def test_who_waits_no_longer_is_not_woken(hub: HandHub) -> None:
    deadlines, wakes = Deadlines(hub), list[Sleeping]()
    sleeper = Sleeping(wakes)
    deadlines.add(0, sleeper)
    sleeper.greenlet = None
    deadlines.note_stale()
    hub.turn()
    assert (wakes, hub.timers) == ([], [])


def test_waits_that_have_ended_do_not_pile_up(hub: HandHub) -> None:
    deadlines, wakes = Deadlines(hub), list[Sleeping]()
    waiting = Sleeping(wakes)
    deadlines.add(60, waiting)
    for _ in range(100_000):
        sleeper = Sleeping(wakes)
        deadlines.add(60, sleeper)
        sleeper.greenlet = None
        deadlines.note_stale()
    assert len(deadlines._heap) < 3000
    assert waiting in [sleeper for _, _, sleeper in deadlines._heap]


def test_an_error_of_who_is_woken_is_told_of_and_the_others_go_on(hub: HandHub) -> None:
    deadlines, wakes = Deadlines(hub), list[Sleeping]()

    class Failing(Sleeping):
        def switch(self) -> None:
            super().switch()
            raise ValueError("this one")

    deadlines.add(0, Failing(wakes))
    deadlines.add(0, Sleeping(wakes))
    hub.turn()
    assert len(wakes) == 2
    assert [str(error) for error in hub.told] == ["this one"]


def test_waits_of_many_lengths_end_when_their_time_has_come() -> None:
    ended: dict[float, float] = {}
    begin = monotonic()

    def wait(seconds: float) -> None:
        assert not green().event().wait(seconds)
        ended[seconds] = monotonic() - begin

    lengths = [0.2, 0.05, 0.1, 0.15, 0.0]
    tasks = [green().spawn(wait, seconds) for seconds in lengths]
    assert all(task.wait(5) for task in tasks)
    assert list(ended) == sorted(lengths)
    assert all(took >= seconds for seconds, took in ended.items())
