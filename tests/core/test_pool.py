"""The worker pool: so many at a time, the rest in order; what is ended goes back."""

import signal
from collections.abc import Callable
from time import monotonic
from typing import Any
from unittest.mock import Mock

import pytest

from rpcservice import ServiceContainer, WorkerContext
from rpcservice.concurrency import green
from rpcservice.errors import ContainerBeingKilled, WorkerPoolFull

Start = Callable[..., ServiceContainer]


class Gates:
    """Events by name."""

    def __init__(self) -> None:
        self.entered: dict[str, Any] = {}
        self.opened: dict[str, Any] = {}

    def add(self, *names: str) -> None:
        for name in names:
            self.entered[name], self.opened[name] = green().event(), green().event()


@pytest.fixture
def gates() -> Gates:
    made = Gates()
    made.add("a", "b", "c", "d")
    return made


@pytest.fixture
def service(hand: type[Any], gates: Gates, journal: list[str]) -> type:
    class Service:
        name = "service"

        @hand.decorator
        def method(self, name: str) -> str:
            journal.append(f"begin {name}")
            gates.entered[name].set()
            assert gates.opened[name].wait(10)
            return name

        @hand.decorator(concurrency=1)
        def single(self, name: str) -> str:
            return type(self).method(self, name)

    return Service


def submit(container: ServiceContainer, *names: str, method: str = "method") -> list[WorkerContext]:
    entrypoint = next(entry for entry in container.entrypoints if entry.method_name == method)
    return [container.spawn_worker(entrypoint, (name,)) for name in names]


def run_here(
    container: ServiceContainer, name: str, wait: float | None = None, method: str = "method"
) -> WorkerContext:
    entrypoint = next(entry for entry in container.entrypoints if entry.method_name == method)
    return container.run_worker(entrypoint, (name,), wait=wait)


def finish(container: ServiceContainer, *contexts: WorkerContext) -> None:
    assert container.pool.wait_for(contexts, monotonic() + 5)


def grant_slot(container: ServiceContainer, gates: Gates) -> None:
    """Let "a" end, and give control back when its slot is the next caller's, who does not know it yet."""
    gates.opened["a"].set()
    green().sleep(0)
    (granted,) = container.pool.running
    assert granted.handle is None


def test_at_most_max_workers_run_at_a_time(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=2)
    contexts = submit(container, "a", "b", "c")
    assert gates.entered["b"].wait(5)
    assert (len(container.pool.running), len(container.pool.waiting)) == (2, 1)
    assert not gates.entered["c"].is_set()
    for name in "abc":
        gates.opened[name].set()
    finish(container, *contexts)
    assert [ctx.result for ctx in contexts] == ["a", "b", "c"]


def test_what_waits_begins_in_its_order(start: Start, service: type, gates: Gates, journal: list[str]) -> None:
    container = start(service, max_workers=1)
    contexts = submit(container, "a", "b", "c")
    for name in "abc":
        gates.opened[name].set()
    finish(container, *contexts)
    assert [line for line in journal if line.startswith("begin")] == ["begin a", "begin b", "begin c"]


def test_concurrency_bounds_one_method_and_not_the_others(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=3)
    first, second = submit(container, "a", "b", method="single")
    (other,) = submit(container, "c")
    assert gates.entered["a"].wait(5)
    assert gates.entered["c"].wait(5)
    assert not gates.entered["b"].is_set()
    for name in "abc":
        gates.opened[name].set()
    finish(container, first, second, other)
    assert second.result == "b"


def test_a_caller_runs_its_call_itself(start: Start, service: type, gates: Gates) -> None:
    gates.opened["a"].set()
    container = start(service)
    ctx = run_here(container, "a")
    assert (ctx.result, ctx.handle, len(container.pool.running)) == ("a", green().current(), 0)


def test_a_caller_waits_for_a_slot(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=1)
    submit(container, "a")
    assert gates.entered["a"].wait(5)
    green().call_later(0, gates.opened["a"].set)
    gates.opened["b"].set()
    assert run_here(container, "b", wait=5).result == "b"


def test_a_caller_that_gets_no_slot_in_time_learns_what_to_do(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=1)
    submit(container, "a")
    with pytest.raises(
        WorkerPoolFull, match=r"all workers of service 'service' \(max_workers: 1\) stayed busy for 0\.01 s"
    ):
        run_here(container, "b", wait=0.01)
    assert len(container.pool.waiting) == 0
    gates.opened["a"].set()


def test_a_caller_learns_which_limit_it_met(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=2)
    submit(container, "a", method="single")
    with pytest.raises(WorkerPoolFull, match=r"all workers of service\.single \(concurrency=1\) stayed busy"):
        run_here(container, "b", wait=0.01, method="single")
    gates.opened["a"].set()


def test_a_caller_and_submitted_calls_take_their_turns(
    start: Start, service: type, gates: Gates, journal: list[str]
) -> None:
    container = start(service, max_workers=1)
    submit(container, "a")
    assert gates.entered["a"].wait(5)
    caller = green().spawn(run_here, container, "b")
    green().sleep(0)
    (last,) = submit(container, "c")
    for name in "abc":
        gates.opened[name].set()
    finish(container, last)
    assert caller.wait(5)
    assert [line for line in journal if line.startswith("begin")] == ["begin a", "begin b", "begin c"]


def test_a_killed_caller_passes_its_slot_on(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=1)
    gates.opened["c"].set()
    submit(container, "a")
    assert gates.entered["a"].wait(5)
    caller = green().spawn(run_here, container, "b")
    green().sleep(0)
    (last,) = submit(container, "c")
    grant_slot(container, gates)
    caller.kill()
    finish(container, last)
    assert last.result == "c"


def test_a_kill_gives_everything_back(start: Start, service: type, gates: Gates, journal: list[str]) -> None:
    container = start(service, max_workers=2)
    submit(container, "a", "b", "c", "d")
    assert gates.entered["b"].wait(5)
    container.kill()
    assert journal.count("give back") == 4
    assert "begin c" not in journal


def test_a_kill_leaves_alone_what_works_in_the_greenlet_of_a_worker_that_has_ended(
    start: Start, service: type, gates: Gates
) -> None:
    """While one worker is being killed, others may end by themselves."""
    container = start(service)
    contexts = [container.spawn_worker(container.entrypoints[0], (name,)) for name in "ab"]
    assert gates.entered["a"].wait(5)
    assert gates.entered["b"].wait(5)
    killed: list[Any] = []

    def kill(handle: Any) -> None:
        killed.append(handle)
        other = next(ctx for ctx in contexts if ctx.handle is not handle)
        gates.opened[other.args[0]].set()
        while other in container.pool.running:
            green().sleep(0)

    container.pool._backend = backend = Mock(wraps=container.pool._backend)
    backend.kill = kill
    container.pool.kill()
    assert len(killed) == 1
    for gate in gates.opened.values():
        gate.set()


def test_a_kill_before_the_first_turn_gives_the_call_back(start: Start, service: type, journal: list[str]) -> None:
    container = start(service)
    contexts = submit(container, "a")
    container.kill()
    finish(container, *contexts)
    assert journal == ["give back"]


def test_a_kill_sends_callers_away_that_wait_for_a_slot(start: Start, service: type, gates: Gates) -> None:
    container = start(service, max_workers=1)
    submit(container, "a")
    assert gates.entered["a"].wait(5)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            run_here(container, "b")
        except ContainerBeingKilled as exc:
            errors.append(exc)

    caller = green().spawn(wait)
    green().sleep(0)
    container.kill()
    assert caller.wait(5)
    assert len(errors) == 1


def test_a_kill_stops_a_caller_that_was_just_given_its_slot(
    start: Start, service: type, gates: Gates, journal: list[str]
) -> None:
    container = start(service, max_workers=1)
    submit(container, "a")
    assert gates.entered["a"].wait(5)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            run_here(container, "b")
        except ContainerBeingKilled as exc:
            errors.append(exc)

    caller = green().spawn(wait)
    green().sleep(0)
    grant_slot(container, gates)
    container.pool.kill()
    assert caller.wait(5)
    assert len(errors) == 1
    assert "begin b" not in journal


def test_refused_work_is_given_back_at_once(start: Start, service: type, journal: list[str]) -> None:
    container = start(service)
    container.pool.refuse("serving")
    submit(container, "a")
    assert journal == ["give back"]
    with pytest.raises(ContainerBeingKilled, match="service 'service' is stopping"):
        run_here(container, "b")


def test_refused_work_that_waits_is_given_back_and_what_runs_goes_on(
    start: Start, service: type, gates: Gates, journal: list[str]
) -> None:
    container = start(service, max_workers=1)
    first, _ = submit(container, "a", "b")
    assert gates.entered["a"].wait(5)
    container.pool.refuse("serving")
    assert journal.count("give back") == 1
    gates.opened["a"].set()
    finish(container, first)
    assert first.result == "a"


def test_waiting_for_the_end_has_a_limit(start: Start, service: type, gates: Gates) -> None:
    container = start(service)
    contexts = submit(container, "a")
    assert container.pool.wait_for(contexts, monotonic() + 0.01) is False
    gates.opened["a"].set()
    assert container.pool.wait_for(None, monotonic() + 5) is True


def test_a_worker_that_breaks_down_frees_its_slot(
    start: Start, service: type, gates: Gates, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = start(service, max_workers=1)

    def break_down(ctx: WorkerContext) -> None:
        raise RuntimeError("a hook is broken")

    monkeypatch.setattr(container.pool, "run", break_down)
    finish(container, *submit(container, "a", "b"))
    assert caplog.text.count("broke down") == 2


def test_ctrl_c_reaches_the_main_greenlet_when_a_worker_happens_to_run(
    hand: type[Any], start: Start, journal: list[str]
) -> None:
    class Service:
        name = "service"

        @hand.decorator
        def method(self) -> None:
            signal.raise_signal(signal.SIGINT)

    container = start(Service)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        container.spawn_worker(container.entrypoints[0])
        with pytest.raises(KeyboardInterrupt):
            container.wait(5)
    finally:
        signal.signal(signal.SIGINT, before)
    assert journal == ["give back"]
    assert container.pool.unfinished() == set()
