"""Retries, breaker, bulkhead and fallback in programs on threads and on asyncio, which nothing has patched."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from json_process import JsonProcess
from payments import Payments
from waiting import wait_until

from rpcservice import ServiceContainer
from rpcservice.concurrency import green

pytestmark = pytest.mark.broker

PROGRAM = Path(__file__).parent / "policies_program.py"
MANY = 50
LONGEST_TURN = 0.5
"""Seconds for which a loop may be busy; whoever waits in it for a pause or a reply takes longer."""


@pytest.fixture
def start(rabbitmq_uri: str, tmp_path: Path) -> Iterator[Callable[..., JsonProcess]]:
    """Run a function of the program: ``start("retries")``."""
    started: list[JsonProcess] = []

    def begin(function: str, uri: str = rabbitmq_uri) -> JsonProcess:
        command = [sys.executable, "-X", "dev", str(PROGRAM), function, uri]
        started.append(JsonProcess(command, tmp_path / "log"))
        return started[-1]

    yield begin
    for program in started:
        program.end()


@pytest.fixture
def run(start: Callable[..., JsonProcess]) -> Callable[..., Any]:
    """Run a function of the program to its end; gives its answer."""
    return lambda function, **options: answer_of(start(function, **options))


def answer_of(program: JsonProcess) -> Any:
    lines = program.wait_until(lambda: [line for line in program.lines if "answer" in line], "the answer", 60)
    assert program.wait(30) == 0, program.log_tail()
    return lines[0]["answer"]


def test_what_a_policy_needs_is_imported_with_it(payments: Any, run: Any) -> None:
    """And eventlet never."""
    assert run("modules") == {"without": [], "with": ["tenacity"]}


def test_fifty_threads_try_again(payments: Any, run: Any) -> None:
    assert run("retries") is True
    ids = [message_id for message_id, *_ in payments.seen]
    assert (len(ids), len(set(ids))) == (2 * MANY, MANY)


def test_one_thread_waits_for_fifty_calls_that_are_tried_again_side_by_side(payments: Any, run: Any) -> None:
    answer = run("async_retries")
    assert answer["right"], answer["outcomes"]
    assert answer["seconds"] < 20


@pytest.mark.parametrize("function", ["bulkhead", "loop_bulkhead"])
def test_no_more_than_fifty_calls_are_in_flight(payments: Any, run: Any, function: str) -> None:
    answer = run(function)
    assert answer["outcomes"] == {"RpcTimeout": MANY, "TooManyCalls": 10}
    assert answer["after"] == 1


def test_calls_that_are_cancelled_give_their_places_back(payments: Any, run: Any) -> None:
    answer = run("loop_bulkhead")
    assert (answer["full"], answer["after"]) == (["TooManyCalls"], 1)


def test_the_breaker_opens_for_all_threads(payments: Any, run: Any) -> None:
    assert run("breaker") == {
        "first": {"UnknownService": MANY},
        "second": {"CircuitOpen": MANY},
        "other": 1,
        "states": {"nobody": "open", "payments": "closed"},
    }


def test_the_breaker_opens_for_a_broker_that_was_never_there(run: Any) -> None:
    assert run("no_broker", uri="amqp://guest:guest@127.0.0.1:9/") == "CircuitOpen"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_process_begins_with_closed_circuits(payments: Any, run: Any) -> None:
    """A lock that another thread had at the fork is given back by nobody there."""
    assert run("fork") == {"before": ["UnknownService", "CircuitOpen"], "child": "UnknownService"}


def test_a_client_that_is_stopped_makes_no_further_attempts(payments: Any, run: Any) -> None:
    assert run("stop") == {"outcomes": ["ConnectionLost"] * 3, "is_soon": True}


def test_a_fallback_of_a_program_is_a_function(payments: Any, run: Any) -> None:
    assert run("fallback") == [["UnknownService", 1], ["UnknownService", 2], "DeclarationError", "3 is too much"]


def test_an_event_loop_tries_fifty_calls_again_and_goes_on_turning(payments: Any, run: Any) -> None:
    answer = run("loop_retries")
    assert answer["right"], answer["outcomes"]
    assert answer["longest_turn"] < LONGEST_TURN
    assert len({message_id for message_id, *_ in payments.seen}) == MANY


def test_an_event_loop_has_its_breaker_open_and_close(payments: Any, run: Any) -> None:
    assert run("loop_breaker") == {"first": {"RpcTimeout": MANY}, "second": {"CircuitOpen": MANY}, "after": 1}


def test_a_fallback_of_an_event_loop_may_be_awaited(run: Any) -> None:
    assert run("loop_fallback") == [["UnknownService", 1], 2, ["UnknownService"]]


def test_a_refusal_of_an_earlier_attempt_does_not_end_the_call_of_an_event_loop(
    container_factory: Callable[..., ServiceContainer], start: Any
) -> None:
    Payments.seen, Payments.gate = [], green().event()
    container_factory(Payments, config={"max_workers": 1, "clock_skew": 0}).start()
    program = start("loop_refusal")
    program.wait_for(note="second attempt")
    Payments.gate.set()
    assert answer_of(program) == [2, 1]


def test_a_late_reply_ends_the_call_of_an_event_loop_during_the_pause(payments: Any, start: Any) -> None:
    program = start("loop_late_reply")
    program.wait_for(note="pause")
    payments.gate.set()
    assert answer_of(program) == {"result": 7, "is_soon": True}
    wait_until(lambda: len(payments.seen) == 1, "the one request")
