"""wait_for_call and assert_stops_raising."""

from typing import Any

import pytest

from rpcservice.concurrency import green, threads
from rpcservice.testing import WaitResult, assert_stops_raising, wait_for_call


class Till:
    """Something with methods to wait for."""

    def add(self, price: int, *, tax: int = 0) -> int:
        if price < 0:
            raise ValueError(f"a price of {price}")
        return price + tax


def test_a_call_is_waited_for() -> None:
    """The method runs as ever, and its result is there at the end of the block."""
    till = Till()
    with wait_for_call(till, "add") as result:
        green().spawn(till.add, 3)
    assert result.get() == 3


def test_a_call_of_a_class_s_method_is_waited_for() -> None:
    with wait_for_call(Till, "add", lambda args, kwargs, res, exc_info: kwargs == {"tax": 1}) as result:
        assert Till().add(3) == 3
        assert Till().add(3, tax=1) == 4
    assert result.get() == 4


def test_the_callback_chooses_by_arguments_result_and_error() -> None:
    till, seen = Till(), []

    def choose(args: Any, kwargs: Any, result: Any, exc_info: Any) -> bool:
        seen.append((args, kwargs, result, exc_info and exc_info[0]))
        return result == 7

    with wait_for_call(till, "add", choose) as result:
        till.add(1)
        with pytest.raises(ValueError, match="a price of -1"):
            till.add(-1)
        till.add(5, tax=2)
    assert seen == [((1,), {}, 1, None), ((-1,), {}, None, ValueError), ((5,), {"tax": 2}, 7, None)]
    assert result.get() == 7


def test_what_the_call_raised_is_raised_by_the_result() -> None:
    till = Till()
    with wait_for_call(till, "add") as result, pytest.raises(ValueError, match="a price of -1"):
        till.add(-1)
    with pytest.raises(ValueError, match="a price of -1"):
        result.get()


def test_a_result_that_has_not_come_is_not_ready() -> None:
    till = Till()
    with wait_for_call(till, "add") as result:
        with pytest.raises(WaitResult.NotReady):
            result.get()
        till.add(1)


def test_a_call_that_does_not_come_is_a_timeout() -> None:
    with (
        pytest.raises(TimeoutError, match=r"Till.*\.add was not called within 0\.05 s"),
        wait_for_call(Till, "add", timeout=0.05),
    ):
        pass


def test_a_block_that_raises_is_not_waited_for() -> None:
    with pytest.raises(KeyError), wait_for_call(Till, "add", timeout=None):
        raise KeyError("tea")


def test_the_method_is_itself_again_after_the_block() -> None:
    before = Till.add
    with wait_for_call(Till, "add"):
        Till().add(1)
    assert Till.add is before


def test_a_call_in_another_thread_counts() -> None:
    """Drivers of databases and clients of others have threads."""
    till = Till()
    with wait_for_call(till, "add", timeout=10) as result:
        threads().spawn(till.add, 3)
    assert result.get() == 3


def test_a_failure_that_ends_is_waited_for() -> None:
    attempts: list[int] = []

    def check() -> None:
        attempts.append(1)
        assert len(attempts) == 3

    assert_stops_raising(check, AssertionError, interval=0.001)
    assert len(attempts) == 3


def test_a_failure_that_does_not_end_is_raised() -> None:
    def check() -> None:
        raise ValueError("still")

    with pytest.raises(ValueError, match="still"):
        assert_stops_raising(check, timeout=0.02, interval=0.001)


def test_another_exception_is_raised_at_once() -> None:
    def check() -> None:
        raise KeyError("tea")

    with pytest.raises(KeyError):
        assert_stops_raising(check, ValueError, timeout=None)


def test_services_run_while_it_waits() -> None:
    """Its pauses let other greenlets go on."""
    happened: list[int] = []
    green().spawn(happened.append, 1)

    def check() -> None:
        assert happened == [1]

    assert_stops_raising(check, AssertionError)
