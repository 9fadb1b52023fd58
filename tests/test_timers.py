"""@timer: fires on its schedule, never twice at a time."""

from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import ServiceContainer, timer
from rpcservice.concurrency import green
from rpcservice.core.process import Process
from rpcservice.testing import FakeHost
from rpcservice.timers import Timer


class Clock:
    """A clock, and the events of a backend, on which waiting is only counted."""

    def __init__(self, ticks: int) -> None:
        self.now = 1000.0
        self.left = ticks
        self.waits: list[float] = []
        self.fired: list[float] = []
        self.is_set = False

    def __getattr__(self, name: str) -> Any:
        return getattr(green(), name)

    def monotonic(self) -> float:
        return self.now

    def event(self) -> "Clock":
        return self

    def set(self) -> None:
        self.is_set = True

    def wait(self, timeout: float) -> bool:
        if self.is_set or self.left == 0:
            return True
        self.left -= 1
        self.waits.append(timeout)
        self.now += timeout
        return False


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Run a timer for some ticks; its calls take ``seconds`` each; gives the times at which it fired."""

    def run(ticks: int, seconds: list[float], interval: float = 10, **options: Any) -> list[float]:
        clock, durations = Clock(ticks), iter(seconds)
        monkeypatch.setattr("rpcservice.timers.monotonic", clock.monotonic)

        def method() -> None:
            clock.fired.append(clock.now - 1000)
            clock.now += next(durations, 0)

        host = FakeHost(method, backend=clock)
        bound = host.bind(Timer(interval, **options))
        bound.setup()
        bound.start()
        assert host.threads[0].wait(5)
        return clock.fired

    return run


def test_it_fires_after_each_interval(run: Callable[..., list[float]]) -> None:
    assert run(3, []) == [10, 20, 30]


def test_an_eager_one_fires_at_the_start_too(run: Callable[..., list[float]]) -> None:
    assert run(3, [], eager=True) == [0, 10, 20]


def test_it_does_not_drift(run: Callable[..., list[float]]) -> None:
    assert run(4, [3, 9, 0.5]) == [10, 20, 30, 40]


def test_a_call_that_takes_longer_delays_the_next_one_only(run: Callable[..., list[float]]) -> None:
    assert run(4, [12]) == [10, 22, 30, 40]


def test_the_ticks_of_a_long_call_are_one(run: Callable[..., list[float]]) -> None:
    assert run(4, [35]) == [10, 45, 50, 60]


def test_intervals_may_be_fractions(run: Callable[..., list[float]]) -> None:
    assert run(3, [], interval=0.25) == [0.25, 0.5, 0.75]


class Ticking:
    """Counts its calls, and how many run at a time; each waits for the test."""

    name = "ticking"

    started: list[Any]
    opened: Any
    at_a_time: int
    most: int

    @classmethod
    def reset(cls) -> None:
        cls.started = [green().event() for _ in range(3)]
        cls.opened = green().event()
        cls.at_a_time = cls.most = 0

    @timer(interval=0.01, eager=True)
    def tick(self) -> None:
        cls = type(self)
        cls.at_a_time += 1
        cls.most = max(cls.most, cls.at_a_time)
        cls.started.pop().set()
        assert cls.opened.wait(5)
        cls.at_a_time -= 1


@pytest.fixture
def ticking(container_factory: Callable[..., ServiceContainer]) -> ServiceContainer:
    Ticking.reset()
    container = container_factory(Ticking)
    container.start()
    return container


def test_calls_do_not_overlap(ticking: ServiceContainer) -> None:
    first, second = Ticking.started[-1], Ticking.started[-2]
    assert first.wait(5)
    # Several intervals long nothing may happen.
    assert not second.wait(0.05)
    Ticking.opened.set()
    assert second.wait(5)
    assert Ticking.most == 1


def test_a_call_that_runs_finishes_when_the_service_stops(ticking: ServiceContainer) -> None:
    assert Ticking.started[-1].wait(5)
    stopped = green().spawn(ticking.stop)
    assert not stopped.wait(0.02)
    Ticking.opened.set()
    assert stopped.wait(5)
    assert Ticking.at_a_time == 0
    assert len(Ticking.started) == 2


def test_a_service_stops_at_once_between_two_ticks(container_factory: Callable[..., ServiceContainer]) -> None:
    class Rare:
        name = "rare"

        @timer(interval=3600)
        def tick(self) -> None: ...

    container = container_factory(Rare)
    container.start()
    green().sleep(0)
    stopped = green().spawn(container.stop)
    assert stopped.wait(1)


def test_a_call_that_fails_does_not_end_the_schedule(
    container_factory: Callable[..., ServiceContainer], caplog: pytest.LogCaptureFixture
) -> None:
    ticks = [green().event(), green().event()]

    class Failing:
        name = "failing"

        @timer(interval=0.01)
        def tick(self) -> None:
            if ticks:
                ticks.pop().set()
            raise RuntimeError("tick failed")

    second = ticks[0]
    container = container_factory(Failing)
    container.start()
    assert second.wait(5)
    assert "tick failed" in caplog.text
    assert container.wait(0) is False


@pytest.mark.parametrize("interval", [0, -1, True, "5", None, float("nan"), float("inf")])
def test_an_interval_that_is_none_is_refused(interval: Any) -> None:
    with pytest.raises(ValueError, match="give a number of seconds above 0"):
        Timer(interval)


def test_it_says_how_often_it_fires(host: FakeHost) -> None:
    assert host.bind(Timer(90), "tick").describe() == "timer tick, every 90 s"


def test_one_that_never_started_can_be_killed(host: FakeHost) -> None:
    bound = host.bind(Timer(1))
    bound.kill()
    assert host.threads == []


# In one process of several


class Supervisor:
    """Appoints nobody by itself."""

    number = 2

    def listener(self, key: str, address: str) -> Any:
        raise AssertionError("no timer listens")


@pytest.fixture
def bind(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Bind a timer with ``per_host`` in one of several processes; gives it, a clock with so many ticks, the process."""

    def bind(ticks: int, *, eager: bool = False) -> tuple[Timer, Clock, Process]:
        clock = Clock(ticks)
        monkeypatch.setattr("rpcservice.timers.monotonic", clock.monotonic)
        host = FakeHost(lambda: clock.fired.append(clock.now - 1000), backend=clock)
        process = host.resource(Process)
        process.join(Supervisor())
        bound = host.bind(Timer(10, eager=eager, per_host=True), "tick")
        bound.setup()
        bound.start()
        return bound, clock, process

    return bind


def finish(timer: Timer) -> None:
    assert timer._thread is not None
    assert timer._thread.wait(5)


def test_one_per_host_fires_in_a_process_that_is_alone(run: Callable[..., list[float]]) -> None:
    assert run(2, [], per_host=True) == [10, 20]


def test_one_per_host_does_not_fire_before_its_process_leads(bind: Callable[..., Any]) -> None:
    timer, clock, _ = bind(3)
    assert timer._thread is None
    assert clock.waits == []


def test_one_per_host_goes_on_by_the_schedule_of_its_own_start(bind: Callable[..., Any]) -> None:
    timer, clock, process = bind(3)
    clock.now += 34
    process.lead()
    finish(timer)
    assert clock.fired == [40, 50, 60]


def test_an_eager_one_per_host_fires_as_soon_as_its_process_leads(bind: Callable[..., Any]) -> None:
    timer, clock, process = bind(3, eager=True)
    clock.now += 34
    process.lead()
    finish(timer)
    assert clock.fired == [34, 44, 54]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_one_per_host_that_has_stopped_fires_no_more(end: str, bind: Callable[..., Any]) -> None:
    timer, clock, process = bind(3)
    getattr(timer, end)()
    process.lead()
    assert timer._thread is None
    assert clock.fired == []


def test_one_per_host_says_so(host: FakeHost) -> None:
    assert host.bind(Timer(90, per_host=True), "tick").describe() == "timer tick, every 90 s, in one worker"
