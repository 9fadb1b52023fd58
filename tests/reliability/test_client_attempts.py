"""What follows an attempt without an answer, and how a call ends: without a broker."""

import logging
from typing import Any

import pytest

from rpcservice import (
    BrokerUnavailable,
    CircuitOpen,
    ConnectionLost,
    DeadlineExceeded,
    Retry,
    RpcTimeout,
    TooManyCalls,
    UnknownService,
)
from rpcservice.concurrency import threads
from rpcservice.reliability.client import Attempts, ClientPolicy, Policies
from rpcservice.reliability.pauses import Pauses

NOT_SENT = ConnectionLost("nothing was sent")
LOST = ConnectionLost(maybe_executed=True)
TIMEOUT = RpcTimeout("payments", "charge", 2)


class Request:
    """One that is sent by nobody."""

    service_name = "payments"
    method_name = "charge"
    service = None
    args, kwargs = (1,), {"currency": "EUR"}
    was_answered = False

    def __init__(self, outcomes: tuple[Any, ...] = (), *, left: float | None = None, can_be_sent: bool = True) -> None:
        self.backend = threads()
        self.outcomes = list(outcomes)
        self.pauses: list[float] = []
        self.can_be_sent = can_be_sent
        self._left = left

    def time_left(self) -> float | None:
        return self._left

    def send(self) -> "Request":
        return self

    def result(self) -> Any:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)


def policy(**options: Any) -> ClientPolicy:
    return Policies(threads()).make(options)


@pytest.mark.parametrize("error", [NOT_SENT, BrokerUnavailable("no broker"), UnknownService("payments")])
def test_what_was_not_carried_out_is_always_tried_again(error: Exception) -> None:
    assert Attempts(policy(retry=Retry(jitter=0)), Request()).pause_after(error) == 1


@pytest.mark.parametrize("error", [LOST, TIMEOUT])
@pytest.mark.parametrize("idempotent", [False, True])
def test_what_may_have_been_carried_out_is_tried_again_if_idempotent(error: Exception, idempotent: bool) -> None:
    pause = Attempts(policy(retry=Retry(jitter=0, idempotent=idempotent)), Request()).pause_after(error)
    assert pause == (1 if idempotent else None)


@pytest.mark.parametrize("error", [CircuitOpen("payments"), TooManyCalls("payments", 50), DeadlineExceeded()])
def test_what_the_client_itself_refuses_is_not_tried_again(error: Exception) -> None:
    assert Attempts(policy(retry=Retry(jitter=0)), Request()).pause_after(error) is None


@pytest.mark.parametrize(
    ("retry", "request_"),
    [
        (Retry(no_retry=UnknownService), Request()),
        (Retry(max_attempts=1), Request()),
        (Retry(initial=3, jitter=0), Request(left=3)),
        (Retry(), Request(can_be_sent=False)),
    ],
    ids=["no_retry", "max_attempts", "deadline", "stopped client"],
)
def test_there_is_no_attempt_that_may_not_or_cannot_be(retry: Retry, request_: Any) -> None:
    assert Attempts(policy(retry=retry), request_).pause_after(UnknownService("payments")) is None


def test_pauses_grow_up_to_their_limit() -> None:
    request = Request((NOT_SENT,) * 6 + ("done",))
    retry = Retry(max_attempts=9, initial=0.5, factor=3, max_interval=20, jitter=0)
    assert policy(retry=retry).call(request) == "done"
    assert request.pauses == [0.5, 1.5, 4.5, 13.5, 20, 20]


def test_chance_has_its_share_of_a_pause() -> None:
    pauses = Pauses(Retry(initial=10, jitter=0.2))
    drawn = [pauses(1) for _ in range(300)]
    assert 8 <= min(drawn) < 8.5
    assert 11.5 < max(drawn) <= 12


@pytest.mark.parametrize("last", [NOT_SENT, UnknownService("payments"), CircuitOpen("payments"), DeadlineExceeded()])
def test_a_call_that_may_have_been_carried_out_does_not_end_as_if_it_was_not(last: Exception) -> None:
    """Whatever the last attempt says: it speaks for itself."""
    first = RpcTimeout("payments", "charge", 2)
    with pytest.raises(RpcTimeout) as caught:
        policy(retry=Retry(max_attempts=2, idempotent=True)).call(Request((first, last)))
    assert caught.value is first
    assert str(last) in first.__notes__[0]


def test_the_last_error_is_raised_where_nothing_was_carried_out() -> None:
    last = UnknownService("payments")
    with pytest.raises(UnknownService) as caught:
        policy(retry=Retry(max_attempts=2)).call(Request((ConnectionLost("nothing was sent"), last)))
    assert caught.value is last
    assert last.__notes__ == ["payments was tried 2 times"]


def test_a_fallback_is_given_the_error_and_the_arguments() -> None:
    given: list[Any] = []

    def fall_back(error: Exception, amount: int, currency: str) -> str:
        given.append((error, amount, currency))
        return "later"

    assert policy(fallback=fall_back).call(Request((NOT_SENT,))) == "later"
    assert given == [(NOT_SENT, 1, "EUR")]


def test_a_request_that_is_too_late_has_no_fallback() -> None:
    """Nobody waits for what it gives."""
    with pytest.raises(DeadlineExceeded):
        policy(fallback=lambda error, amount, currency: 1).call(Request((DeadlineExceeded(),)))


def test_each_attempt_is_logged_with_the_pause(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rpcservice.reliability")
    policy(retry=Retry(jitter=0, max_attempts=3)).call(Request((NOT_SENT, "done")))
    assert [record.message for record in caplog.records] == [
        "payments.charge: attempt 1 of 3 got no answer, the next one follows in 1 s: nothing was sent"
    ]
