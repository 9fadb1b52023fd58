"""``time_limit``: a method that runs for too long is ended where it waits, and nothing else is."""

import http.client
import math
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from rpcservice import (
    DependencyProvider,
    Entrypoint,
    ServiceContainer,
    WorkerContext,
    consume,
    event_handler,
    timer,
    websocket_rpc,
)
from rpcservice import http as http_method
from rpcservice import rpc as rpc_method
from rpcservice.concurrency import green
from rpcservice.core import timelimit
from rpcservice.errors import RemoteError, WorkerTimeout

Start = Callable[..., ServiceContainer]
Fire = Callable[..., WorkerContext]

FOREVER = 60.0
LIMIT = 0.1
ENDED = r"service\.method was ended after 0\.1 s, its time_limit; what does it wait for\?"


def make_service(hand: type[Any], method: Callable[[], Any], provider: Any = None, **options: Any) -> type:
    """Give a service whose one method calls a function."""

    class Service:
        name = "service"
        dependency = provider

        @hand.decorator(**options)
        def method(self) -> Any:
            return method()

    return Service


def wait() -> None:
    green().event().wait(FOREVER)


def test_a_method_that_waits_too_long_is_ended(hand: type[Any], start: Start, fire: Fire) -> None:
    ended = []

    def method() -> None:
        try:
            wait()
        finally:
            ended.append(True)

    ctx = fire(start(make_service(hand, method, time_limit=LIMIT)), "method")
    with pytest.raises(WorkerTimeout, match=ENDED):
        raise ctx.error
    assert ended == [True]
    assert (ctx.error.service_name, ctx.error.method_name, ctx.error.seconds) == ("service", "method", LIMIT)


def test_the_log_says_where_it_waited(
    hand: type[Any], start: Start, fire: Fire, caplog: pytest.LogCaptureFixture
) -> None:
    fire(start(make_service(hand, wait, time_limit=LIMIT)), "method")
    assert "in wait" in caplog.text
    assert "WorkerTimeout: service.method was ended after 0.1 s" in caplog.text


def test_the_hooks_run_once_with_the_error(hand: type[Any], journal: list[str], start: Start, fire: Fire) -> None:
    class Provider(DependencyProvider):
        def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
            journal.append(f"worker_result {type(error).__name__}")

        def worker_teardown(self, ctx: WorkerContext) -> None:
            journal.append("worker_teardown")

    fire(start(make_service(hand, wait, Provider(), time_limit=LIMIT)), "method")
    assert journal == ["encode", "worker_result WorkerTimeout", "settle", "worker_teardown"]


def test_what_ends_in_time_has_its_result(hand: type[Any], start: Start, fire: Fire) -> None:
    ctx = fire(start(make_service(hand, lambda: "result", time_limit=LIMIT)), "method")
    assert (ctx.result, ctx.error) == ("result", None)


def test_the_own_error_of_a_method_that_ends_in_time_is_kept(hand: type[Any], start: Start, fire: Fire) -> None:
    ctx = fire(start(make_service(hand, lambda: 1 / 0, time_limit=LIMIT)), "method")
    assert isinstance(ctx.error, ZeroDivisionError)


def test_nothing_happens_to_a_worker_that_has_finished(
    hand: type[Any], start: Start, fire: Fire, journal: list[str]
) -> None:
    """Its greenlet may be at work for somebody else by then; here it goes on itself, in a hook."""

    class Provider(DependencyProvider):
        def worker_teardown(self, ctx: WorkerContext) -> None:
            green().sleep(3 * LIMIT)
            journal.append("slept")

    ctx = fire(start(make_service(hand, lambda: "result", Provider(), time_limit=LIMIT)), "method")
    assert journal[-1] == "slept"
    assert (ctx.result, ctx.error) == ("result", None)


def test_a_method_that_ends_with_its_time_has_one_outcome(hand: type[Any], start: Start, fire: Fire) -> None:
    """Both timers are due in the same turn of the loop, in either order."""
    for length in (LIMIT - 0.001, LIMIT, LIMIT + 0.001):
        ctx = fire(
            start(make_service(hand, lambda length=length: green().sleep(length) or "result", time_limit=LIMIT)),
            "method",
        )
        assert (ctx.result is None) == isinstance(ctx.error, WorkerTimeout)
        green().sleep(0.01)


def test_hooks_have_all_the_time_they_need(hand: type[Any], start: Start, fire: Fire) -> None:
    class Provider(DependencyProvider):
        def worker_setup(self, ctx: WorkerContext) -> None:
            green().sleep(2 * LIMIT)

    ctx = fire(start(make_service(hand, lambda: "result", Provider(), time_limit=LIMIT)), "method")
    assert ctx.result == "result"


def test_waiting_for_a_worker_does_not_count(hand: type[Any], start: Start, fire: Fire) -> None:
    gate = green().event()
    outcomes: list[WorkerContext] = []
    waited = iter([lambda: gate.wait(FOREVER), lambda: "second"])
    service = make_service(hand, lambda: next(waited)(), time_limit=4 * LIMIT)
    container = start(service, max_workers=1)
    tasks = [green().spawn(lambda: outcomes.append(fire(container, "method"))) for _ in range(2)]
    assert all(task.wait(10) for task in tasks)
    first, second = outcomes
    assert isinstance(first.error, WorkerTimeout)
    assert second.result == "second"


def test_except_exception_in_the_method_does_not_keep_it(hand: type[Any], start: Start, fire: Fire) -> None:
    tries = []

    def method() -> None:
        while True:
            tries.append(True)
            try:
                wait()
            except Exception:
                continue

    assert isinstance(fire(start(make_service(hand, method, time_limit=LIMIT)), "method").error, WorkerTimeout)
    assert tries == [True]


def test_a_method_that_catches_it_and_returns_has_failed_all_the_same(
    hand: type[Any], start: Start, fire: Fire
) -> None:
    def method() -> str:
        try:
            wait()
        except BaseException:
            return "as if nothing had been"
        return "never"

    ctx = fire(start(make_service(hand, method, time_limit=LIMIT)), "method")
    assert ctx.result is None
    assert isinstance(ctx.error, WorkerTimeout)


def test_an_error_while_the_method_tidies_up_is_the_cause(hand: type[Any], start: Start, fire: Fire) -> None:
    def method() -> None:
        try:
            wait()
        finally:
            raise OSError("the connection is gone")

    ctx = fire(start(make_service(hand, method, time_limit=LIMIT)), "method")
    assert isinstance(ctx.error, WorkerTimeout)
    assert isinstance(ctx.error.__cause__, OSError)


def test_a_method_that_catches_it_and_goes_on_is_ended_again(
    hand: type[Any], start: Start, fire: Fire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timelimit, "AGAIN", LIMIT)
    ends = []

    def method() -> None:
        for _ in range(3):
            try:
                wait()
            except BaseException as exc:
                ends.append(type(exc))
        wait()

    ctx = fire(start(make_service(hand, method, time_limit=LIMIT)), "method")
    assert isinstance(ctx.error, WorkerTimeout)
    assert ends == [timelimit.TimeIsOver] * 3


def test_a_kill_stays_a_kill(hand: type[Any], journal: list[str], start: Start, fire: Fire) -> None:
    """The work was not finished, so it goes back to its queue."""
    begun = green().event()

    def method() -> None:
        try:
            wait()
        finally:
            begun.set()
            wait()

    container = start(make_service(hand, method, time_limit=LIMIT))
    container.spawn_worker(container.entrypoints[0])
    assert begun.wait(10)
    container.kill()
    assert journal == ["give back"]


def test_entrypoints_without_it_have_no_timer(hand: type[Any], start: Start, fire: Fire) -> None:
    planned: list[Any] = []
    container = start(make_service(hand, lambda: "result"))
    container.backend = Recorder(planned)  # type: ignore[assignment]
    assert fire(container, "method").result == "result"
    assert planned == []


class Recorder:
    """Notes what is asked of a backend; gives nothing."""

    def __init__(self, calls: list[Any]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self._calls.append((name, args))


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, True, "30", 2_000_001])
def test_what_is_no_number_of_seconds_is_refused(wrong: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^time_limit=.*: give a number of seconds above 0, at most 2,000,000, or None"
    ):
        Entrypoint(time_limit=wrong)


def test_every_entrypoint_takes_it() -> None:
    class Service:
        name = "service"

        @rpc_method(time_limit=1)
        @event_handler("source", "event", time_limit=2)
        @consume("queue", time_limit=3)
        @http_method("GET", "/", time_limit=4)
        @timer(60, time_limit=5)
        @websocket_rpc(time_limit=6)
        def method(self, *args: Any, **kwargs: Any) -> None: ...

    limits = sorted(entrypoint.method_seconds or 0 for entrypoint in ServiceContainer(Service).entrypoints)
    assert limits == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("on", ["memory", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def test_an_rpc_caller_is_told(start: Start, rpc: Any, on: str) -> None:
    class Slow:
        name = "slow"

        @rpc_method(time_limit=LIMIT)
        def wait(self) -> None:
            wait()

    start(Slow)
    with pytest.raises(RemoteError, match=r"^WorkerTimeout slow\.wait was ended after 0\.1 s, its time_limit"):
        rpc.slow.wait()


def test_an_http_client_gets_504_without_internals(start: Start) -> None:
    class Slow:
        name = "slow"

        @http_method("GET", "/", time_limit=LIMIT)
        def wait(self, request: Any) -> None:
            wait()

    container = start(Slow)
    (entrypoint,) = container.entrypoints
    port = entrypoint.server.address[1]  # type: ignore[attr-defined]
    answers: list[tuple[int, bytes]] = []

    def ask() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        client.request("GET", "/", headers={"Accept": "application/json"})
        response = client.getresponse()
        answers.append((response.status, response.read()))
        client.close()

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    ((status, body),) = answers
    assert status == 504
    assert b"The service took too long." in body
    assert b"time_limit" not in body


def test_an_event_that_takes_too_long_has_failed(start: Start, dispatch: Any) -> None:
    """So that it is put back, tried again or put aside as after any other error."""
    calls = []
    done = green().event()

    class Handler:
        name = "handler"

        @event_handler("source", "event", requeue_on_error=True, time_limit=LIMIT)
        def handle(self, payload: Any) -> None:
            calls.append(payload)
            if len(calls) == 1:
                wait()
            done.set()

    start(Handler)
    dispatch("source", "event", "payload")
    assert done.wait(10)
    assert calls == ["payload", "payload"]


def test_a_method_that_never_waits_ends_by_itself_with_its_result(hand: type[Any], start: Start, fire: Fire) -> None:
    """Nobody can end it, and it has done its work."""

    def method() -> str:
        deadline = monotonic() + 2 * LIMIT
        while monotonic() < deadline:
            continue
        return "result"

    assert fire(start(make_service(hand, method, time_limit=LIMIT)), "method").result == "result"
