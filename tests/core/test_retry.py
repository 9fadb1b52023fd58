"""Retry: whether there is another attempt, and after which pause."""

import pytest

from rpcservice import (
    IncorrectSignature,
    MalformedRequest,
    MessageTooLarge,
    Reject,
    Requeue,
    Retry,
    UnserializableValueError,
)
from rpcservice.core.retry import HOPELESS_CALLS, as_retry
from rpcservice.errors import LONGEST_PAUSE


def test_pauses_grow_by_the_factor_up_to_the_longest():
    retry = Retry(initial=1, factor=2, max_interval=60)

    assert [retry.interval(attempts) for attempts in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_pause_beyond_what_floats_hold_is_the_longest():
    assert Retry(factor=10, max_interval=60).interval(10_000) == 60


def test_chance_chooses_between_three_pauses():
    retry = Retry(initial=10, factor=1, jitter=0.1)

    assert {round(retry.pause(1), 6) for _ in range(200)} == {9, 10, 11}


def test_without_jitter_a_pause_is_what_it_says():
    assert {Retry(initial=3, jitter=0).pause(1) for _ in range(50)} == {3}


def test_there_are_as_many_attempts_as_it_says():
    retry = Retry(max_attempts=3)

    assert [retry.allows(KeyError(), attempts) for attempts in (1, 2, 3, 4)] == [True, True, False, False]


def test_after_what_no_retry_names_there_is_no_other_attempt():
    retry = Retry(no_retry=(LookupError,))

    assert not retry.allows(KeyError(), 1)
    assert retry.allows(ValueError(), 1)


def test_one_class_alone_may_be_given():
    assert not Retry(no_retry=ValueError).allows(ValueError(), 1)


@pytest.mark.parametrize(
    "error",
    [MalformedRequest("no"), MessageTooLarge("body", 2, 1), UnserializableValueError(object()), Reject("no")],
    ids=lambda error: type(error).__name__,
)
def test_what_fails_the_same_way_each_time_is_not_tried_again(error):
    assert not Retry().allows(error, 1)


def test_a_call_that_does_not_fit_is_hopeless_and_a_method_that_makes_one_is_not():
    assert not Retry().allows(IncorrectSignature("no"), 1, HOPELESS_CALLS)
    assert Retry().allows(IncorrectSignature("no"), 1)


def test_no_pause_is_longer_than_a_broker_can_wait():
    retry = Retry(initial=LONGEST_PAUSE, max_interval=LONGEST_PAUSE, jitter=1)

    assert max(retry.pause(1) for _ in range(100)) == LONGEST_PAUSE


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": 1.5},
        {"max_attempts": True},
        {"initial": -1},
        {"initial": "1"},
        {"initial": float("nan")},
        {"factor": 0.5},
        {"max_interval": -1},
        {"initial": float("inf")},
        {"max_interval": float("inf")},
        {"max_interval": 2_000_001},
        {"jitter": 1.1},
        {"jitter": True},
    ],
    ids=str,
)
def test_a_number_out_of_its_range_is_refused_by_name(options):
    (name,) = options

    with pytest.raises(ValueError, match=rf"^{name}=.*: give "):
        Retry(**options)


def test_no_retry_takes_exception_classes_alone():
    with pytest.raises(TypeError, match=r"no_retry=\('ValueError',\): give an exception class"):
        Retry(no_retry=("ValueError",))


def test_an_option_retry_takes_a_policy_or_yes_or_no():
    policy = Retry(max_attempts=2)

    assert as_retry(policy) is policy
    assert as_retry(True) == Retry()
    assert as_retry(False) is as_retry(None) is None
    with pytest.raises(TypeError, match=r"retry=3: give Retry\(\.\.\.\)"):
        as_retry(3)


def test_requeue_says_when_the_message_is_wanted_again():
    assert str(Requeue(delay=5)) == "the message is wanted again, in 5 s"
    assert str(Requeue("no stock", delay=5)) == "no stock"
    with pytest.raises(ValueError, match=r"Requeue\(delay=-1\)"):
        Requeue(delay=-1)
