"""Breaker and Circuit, by a clock that the tests turn."""

import logging
from typing import Any

import pytest

from rpcservice import Breaker, CircuitOpen
from rpcservice.concurrency import threads
from rpcservice.reliability.breaker import Circuit


class Clock:
    """Gives the time that a test has set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, **settings: Any) -> Circuit:
    breaker = Breaker(**{"min_calls": 4, "window": 60, "cooldown": 10, **settings})
    return Circuit(breaker, "payments", threads().guard(), clock)


def go_through(circuit: Circuit, outcomes: str) -> None:
    """Make calls one after another: ``+`` is answered, ``-`` is not, ``o`` is given up."""
    for outcome in outcomes:
        circuit.leave(circuit.enter(), {"+": False, "-": True, "o": None}[outcome])


@pytest.mark.parametrize("outcomes", ["++--", "--++", "+-+-", "----"])
def test_it_opens_when_the_share_of_failures_is_reached(clock: Clock, outcomes: str) -> None:
    """Whether it is reached by a failure or, with the least number of calls, by an answer."""
    circuit = make(clock)
    go_through(circuit, outcomes)
    assert circuit.state == "open"


@pytest.mark.parametrize("outcomes", ["---", "+++-", "++++--+", "---oooo"])
def test_it_stays_closed_with_fewer_calls_or_failures(clock: Clock, outcomes: str) -> None:
    circuit = make(clock)
    go_through(circuit, outcomes)
    assert circuit.state == "closed"


def test_a_ratio_of_zero_opens_at_the_first_failure_only(clock: Clock) -> None:
    circuit = make(clock, failure_ratio=0, min_calls=1)
    go_through(circuit, "++++")
    assert circuit.state == "closed"
    go_through(circuit, "-")
    assert circuit.state == "open"


def test_failures_older_than_the_window_do_not_count(clock: Clock) -> None:
    circuit = make(clock)
    go_through(circuit, "---")
    clock.now += 61
    go_through(circuit, "+")
    assert (circuit.state, circuit.calls, circuit.failures) == ("closed", 1, 0)


def test_failures_within_the_window_add_up(clock: Clock) -> None:
    """Though they are years apart in calls of other services."""
    circuit = make(clock)
    for _ in range(4):
        go_through(circuit, "-")
        clock.now += 12
    assert circuit.state == "open"


def test_the_window_does_not_grow_with_the_number_of_calls(clock: Clock) -> None:
    circuit = make(clock)
    for _ in range(1000):
        go_through(circuit, "+++++")
        clock.now += 0.5
    assert len(circuit._window._shares) <= 10
    assert circuit.calls == pytest.approx(600, abs=60)


def test_an_open_one_refuses_and_says_when_it_tries_again(clock: Clock) -> None:
    circuit = make(clock)
    go_through(circuit, "----")
    clock.now += 4
    with pytest.raises(CircuitOpen, match="payments has not answered of late; try again in 6 s") as caught:
        circuit.enter()
    error = caught.value
    assert (error.service_name, error.retry_in, error.since) == ("payments", 6.0, circuit.since)
    assert error.maybe_executed is False


def test_after_the_cooldown_one_call_is_let_through(clock: Clock) -> None:
    circuit = make(clock)
    go_through(circuit, "----")
    clock.now += 10
    trial = circuit.enter()
    assert circuit.state == "half-open"
    with pytest.raises(CircuitOpen):
        circuit.enter()
    circuit.leave(trial, False)
    assert circuit.state == "closed"
    go_through(circuit, "---")
    assert circuit.state == "closed"


def test_a_trial_without_an_answer_opens_it_again(clock: Clock) -> None:
    circuit = make(clock)
    go_through(circuit, "----")
    clock.now += 10
    go_through(circuit, "-")
    assert circuit.state == "open"
    clock.now += 9.9
    with pytest.raises(CircuitOpen) as caught:
        circuit.enter()
    assert caught.value.since < circuit.since
    clock.now += 0.1
    go_through(circuit, "+")
    assert circuit.state == "closed"


def test_several_trials_must_all_be_answered(clock: Clock) -> None:
    circuit = make(clock, trial_calls=3)
    go_through(circuit, "----")
    clock.now += 10
    trials = [circuit.enter() for _ in range(3)]
    with pytest.raises(CircuitOpen):
        circuit.enter()
    circuit.leave(trials[0], False)
    circuit.leave(trials[1], False)
    assert circuit.state == "half-open"
    circuit.leave(trials[2], False)
    assert circuit.state == "closed"


def test_a_trial_that_is_given_up_makes_room_for_another(clock: Clock) -> None:
    circuit = make(clock)
    go_through(circuit, "----")
    clock.now += 10
    go_through(circuit, "oo+")
    assert circuit.state == "closed"


def test_a_trial_that_never_ends_does_not_keep_it_half_open_for_ever(clock: Clock) -> None:
    circuit = make(clock)
    go_through(circuit, "----")
    clock.now += 10
    circuit.enter()
    clock.now += 10
    go_through(circuit, "+")
    assert circuit.state == "closed"


def test_what_began_before_it_opened_does_not_count_as_a_trial(clock: Clock) -> None:
    """An answer that is a minute late says nothing of the service as it is now, nor does a time-out."""
    circuit = make(clock)
    early = [circuit.enter() for _ in range(2)]
    go_through(circuit, "----")
    clock.now += 10
    trial = circuit.enter()
    circuit.leave(early[0], False)
    circuit.leave(early[1], True)
    assert circuit.state == "half-open"
    circuit.leave(trial, False)
    assert circuit.state == "closed"


def test_each_change_of_state_is_logged_with_its_cause(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rpcservice.reliability")
    circuit = make(clock)
    go_through(circuit, "+---")
    clock.now += 10
    go_through(circuit, "-")
    clock.now += 10
    go_through(circuit, "+")
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "payments is not called for 10 s: 3 of 4 calls within 60 s got no answer"),
        ("INFO", "calls of payments are tried again"),
        ("WARNING", "payments is not called for 10 s: a trial call got no answer"),
        ("INFO", "calls of payments are tried again"),
        ("WARNING", "payments answers again, so it is called again"),
    ]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"failure_ratio": 1.1}, "failure_ratio=1.1: give a number from 0 to 1"),
        ({"window": 0}, "window=0: give a number from 0.001 on"),
        ({"min_calls": 0}, "min_calls=0: give a whole number from 1 on"),
        ({"min_calls": 2.5}, "min_calls=2.5: give a whole number"),
        ({"cooldown": -1}, "cooldown=-1"),
        ({"cooldown": "soon"}, "cooldown='soon'"),
        ({"trial_calls": True}, "trial_calls=True"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Breaker(**settings)


def test_many_threads_get_no_more_trials_than_there_may_be(clock: Clock) -> None:
    circuit = make(clock, trial_calls=2)
    go_through(circuit, "----")
    clock.now += 10
    let_through: list[int] = []

    def enter() -> None:
        try:
            let_through.append(circuit.enter())
        except CircuitOpen:
            return

    tasks = [threads().spawn(enter) for _ in range(50)]
    assert all(task.wait(10) for task in tasks)
    assert len(let_through) == 2
