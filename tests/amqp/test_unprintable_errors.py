"""Exceptions whose text cannot be had, for ``__str__`` raises what ends a process: they end a call like any other."""

import json
import signal
from collections.abc import Callable
from typing import Any

import greenlet
import pytest
from kombu import Queue
from waiting import wait_until

from rpcservice import Retry, consume, event_handler, timer
from rpcservice import rpc as rpc_method
from rpcservice.core.faults import error_to_data, safe, safe_text, summary, traceback_text
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import RemoteError

Start = Callable[..., ServiceRunner]


class Ending(BaseException):
    """Nobody's Exception."""


class Unprintable(Exception):
    """Raises when it is asked for its text."""

    def __init__(self, raised: BaseException) -> None:
        super().__init__("argument")
        self.raised = raised

    def __str__(self) -> str:
        raise self.raised

    __repr__ = __str__


RAISED = [SystemExit(3), greenlet.GreenletExit(), GeneratorExit(), Ending()]
NAMES = [type(raised).__name__ for raised in RAISED]
FAILED = "[__unicode__ failed]"


@pytest.fixture(params=RAISED, ids=NAMES)
def error(request: pytest.FixtureRequest) -> Unprintable:
    return Unprintable(request.param)


def failing(error: BaseException) -> type:
    class Failing:
        name = "failing"
        runs: list[str] = []

        def fail(self, what: str) -> None:
            self.runs.append(what)
            raise error

        @rpc_method
        def call(self) -> None:
            self.fail("call")

        @rpc_method
        def well(self) -> str:
            return "well"

        @event_handler("orders", "placed")
        def handle(self, payload: Any) -> None:
            self.fail("handle")

        @event_handler("orders", "kept", retry=Retry(max_attempts=2, initial=0.05, jitter=0))
        def keep(self, payload: Any) -> None:
            self.fail("keep")

        @consume(Queue("parcels"))
        def take(self, payload: Any) -> None:
            self.fail("take")

        @timer(interval=0.05)
        def tick(self) -> None:
            self.fail("tick")

    return Failing


def count(wire: Any, queue: str) -> int:
    messages: int = wire.channel.declare_queue(queue, passive=True).messages
    return messages


def test_the_caller_gets_an_error(start: Start, rpc: Any, error: Unprintable, broker: str) -> None:
    runner = start(failing(error))
    with pytest.raises(RemoteError) as caught:
        rpc.failing.call()
    assert caught.value.exc_type == "Unprintable"
    assert str(caught.value.value) == FAILED
    assert rpc.failing.well() == "well"
    assert runner.containers["failing"].wait(0) is False


def test_messages_come_to_an_end(start: Start, rpc: Any, wire: Any, error: Unprintable, broker: str) -> None:
    service = failing(error)
    start(service)
    wire.publish("orders.events", "placed", b"1", content_type="application/json")
    wire.publish("", "parcels", b"1", content_type="application/json")
    wait_until(lambda: {"handle", "take"} <= set(service.runs))  # type: ignore[attr-defined]
    wait_until(lambda: count(wire, "parcels") == count(wire, "evt-orders-placed--failing.handle") == 0)
    assert rpc.failing.well() == "well"
    assert [what for what in service.runs if what != "tick"].count("take") == 1  # type: ignore[attr-defined]


def test_they_are_tried_again_and_kept(start: Start, wire: Any, error: Unprintable, broker: str) -> None:
    service = failing(error)
    start(service)
    wire.publish("orders.events", "kept", b"1", content_type="application/json")
    letter = wait_until(lambda: wire.channel.get("evt-orders-kept--failing.keep.dead", no_ack=True))
    assert json.loads(letter.body) == 1
    assert letter.headers["rpcservice-error"] == f"Unprintable: {FAILED}"
    assert "in fail" in letter.headers["rpcservice-traceback"]
    assert service.runs.count("keep") == 2  # type: ignore[attr-defined]


def test_a_timer_goes_on(start: Start, error: Unprintable) -> None:
    service = failing(error)
    start(service)
    wait_until(lambda: service.runs.count("tick") >= 3)  # type: ignore[attr-defined]


def test_what_an_error_holds_may_be_the_same(start: Start, rpc: Any, error: Unprintable) -> None:
    start(failing(ValueError(error, [error], {"key": error})))
    with pytest.raises(RemoteError) as caught:
        rpc.failing.call()
    assert caught.value.exc_type == "ValueError"
    assert rpc.failing.well() == "well"


def test_all_that_is_sent_of_it_is_text(error: Unprintable) -> None:
    data = error_to_data(error, send_traceback=True)
    assert data["value"] == FAILED
    assert json.loads(json.dumps(data)) == data
    assert summary(error) == f"Unprintable: {FAILED}"
    assert safe([error, 1]) == [FAILED, "1"]


def test_a_traceback_that_cannot_be_formatted_is_none() -> None:
    class Odd(Exception):
        @property
        def __notes__(self) -> Any:
            raise SystemExit

    text = traceback_text(Odd("text"))
    assert "Odd: text" in text


def test_ctrl_c_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends who asked for the text, where there is no other handler of the signal."""
    error = Unprintable(KeyboardInterrupt())
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    for ask in (safe_text, safe):
        with pytest.raises(KeyboardInterrupt):
            ask(error)
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    assert safe_text(error) == safe(error) == FAILED
