"""ServiceRunner: services start together, share resources, and stop in two phases over all of them."""

from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import (
    DependencyProvider,
    Entrypoint,
    Resource,
    ServiceContainer,
    ServiceRunner,
    WorkerContext,
    run_services,
)
from rpcservice.concurrency import green
from rpcservice.errors import ConfigError, DeclarationError

Runners = Callable[..., ServiceRunner]


class Shared(Resource):
    """Counts its ends."""

    ends: list[str]

    def stop(self) -> None:
        self.ends.append("stop")

    def kill(self) -> None:
        self.ends.append("kill")


class OnShared(Entrypoint):
    """An entrypoint that stands on a resource, and whose thread fails when it is told to."""

    fail: Any

    def setup(self) -> None:
        self.host.resource(Shared)

    def start(self) -> None:
        self.host.spawn_managed_thread(self.run)

    def run(self) -> None:
        self.fail.wait()
        raise RuntimeError("thread failed")


class Failing:
    name = "failing"

    @OnShared.decorator
    def method(self) -> None:
        """Never called."""


class Quiet:
    name = "quiet"


@pytest.fixture
def failing() -> type[Failing]:
    OnShared.fail, Shared.ends = green().event(), []
    return Failing


def test_services_are_known_by_their_names(runner_factory: Runners, failing: type[Failing]) -> None:
    runner = runner_factory(Quiet, failing)
    assert runner.service_names == ["quiet", "failing"]
    assert runner.containers["quiet"].service_cls is Quiet


def test_a_name_is_taken_once(runner_factory: Runners) -> None:
    class Other:
        name = "quiet"

    with pytest.raises(DeclarationError, match=r"two services are named 'quiet': .*\.Quiet and .*Other; rename one"):
        runner_factory(Quiet, Other)


def test_containers_share_resources(runner_factory: Runners) -> None:
    class Second(Quiet):
        name = "second"

    runner = runner_factory(Quiet, Second)
    one, two = runner.containers.values()
    Shared.ends = []
    assert one.resource(Shared) is two.resource(Shared)


def test_when_one_service_dies_the_others_stop_and_its_error_is_raised(
    runner_factory: Runners, failing: type[Failing]
) -> None:
    runner = runner_factory(failing, Quiet)
    runner.start()
    OnShared.fail.set()
    with pytest.raises(RuntimeError, match="thread failed"):
        runner.wait()
    assert runner.containers["quiet"].wait(0) is True
    assert Shared.ends == ["stop"]


def test_when_the_only_service_dies_the_resources_end_too(runner_factory: Runners, failing: type[Failing]) -> None:
    runner = runner_factory(failing)
    runner.start()
    OnShared.fail.set()
    with pytest.raises(RuntimeError, match="thread failed"):
        runner.wait()
    assert Shared.ends == ["stop"]


def test_resources_end_once(runner_factory: Runners, failing: type[Failing]) -> None:
    runner = runner_factory(failing)
    runner.start()
    runner.stop()
    runner.stop()
    runner.kill()
    runner.wait()
    assert Shared.ends == ["stop"]


def test_a_kill_ends_a_stop_that_takes_long(runner_factory: Runners, failing: type[Failing]) -> None:
    entered, never = green().event(), green().event()

    class Slow(Entrypoint):
        def start(self) -> None:
            self.host.spawn_worker(self)

    class Busy:
        name = "busy"

        @Slow.decorator
        def method(self) -> None:
            entered.set()
            never.wait()

    runner = runner_factory(failing, Busy)
    runner.start()
    assert entered.wait(5)
    stopped = green().spawn(runner.stop)
    assert not stopped.wait(0.02)
    runner.kill()
    assert stopped.wait(5)
    assert Shared.ends == ["kill"]


def test_a_worker_that_kills_the_runner_ends_with_it(runner_factory: Runners) -> None:
    class Murderous(DependencyProvider):
        def setup(self) -> None:
            self.host.resource(Shared)

        def get_dependency(self, ctx: WorkerContext) -> None:
            runner.kill()

    class Fatal:
        name = "fatal"
        dependency = Murderous()

        @Entrypoint.decorator
        def method(self) -> None:
            """Never called."""

    Shared.ends = []
    runner = runner_factory(Fatal, Quiet)
    runner.start()
    fatal, quiet = runner.containers.values()
    fatal.spawn_worker(fatal.entrypoints[0])
    assert [fatal.wait(5), quiet.wait(5)] == [True, True]
    assert Shared.ends == ["kill"]


def test_a_kill_ends_the_wait(runner_factory: Runners, failing: type[Failing]) -> None:
    runner = runner_factory(failing, Quiet)
    runner.start()
    green().call_later(0, green().start, runner.kill)
    runner.wait()
    assert Shared.ends == ["kill"]


def test_a_stop_ends_the_wait(runner_factory: Runners) -> None:
    runner = runner_factory(Quiet)
    runner.start()
    green().call_later(0, green().start, runner.stop)
    runner.wait()
    assert runner.containers["quiet"].wait(0) is True


def test_a_runner_without_services_does_not_wait(runner_factory: Runners) -> None:
    runner = runner_factory()
    runner.wait()
    assert runner.service_names == []


def test_a_service_that_cannot_start_ends_all(runner_factory: Runners, failing: type[Failing]) -> None:
    class Broken(Entrypoint):
        def start(self) -> None:
            raise RuntimeError("cannot start")

    class Last:
        name = "last"

        @Broken.decorator
        def method(self) -> None:
            """Never called."""

    runner = runner_factory(failing, Last)
    with pytest.raises(RuntimeError, match="cannot start"):
        runner.start()
    assert Shared.ends == ["kill"]
    with pytest.raises(RuntimeError, match="cannot start"):
        runner.wait()


def make_pair(hand: type[Any], journal: list[str]) -> tuple[type, type, Any, Any, Any]:
    """Two services: a source's worker in the first that, once it may, calls a method of the second."""
    entered, opened = green().event(), green().event()
    second: list[Any] = []

    class Source(hand):  # type: ignore[misc, valid-type]
        stop_phase = "source"

        def stop(self) -> None:
            journal.append(f"stop source of {self.host.service_name}")

    class Serving(hand):  # type: ignore[misc, valid-type]
        def stop(self) -> None:
            journal.append(f"stop serving of {self.host.service_name}")

    class First:
        name = "first"

        @Source.decorator
        def begin(self) -> str:
            entered.set()
            assert opened.wait(5)
            container = second[0]
            return f"first {container.run_worker(container.entrypoints[0]).result}"

    class Second:
        name = "second"

        @Serving.decorator
        def answer(self) -> str:
            return "and second"

        @Source.decorator
        def other(self) -> None:
            """Never called."""

    return First, Second, entered, opened, second


def test_a_running_call_may_call_other_services_while_they_stop(
    runner_factory: Runners, hand: type[Any], journal: list[str]
) -> None:
    first, second, entered, opened, peer = make_pair(hand, journal)
    runner = runner_factory(first, second)
    runner.start()
    peer.append(runner.containers["second"])
    container = runner.containers["first"]
    ctx = container.spawn_worker(container.entrypoints[0])
    assert entered.wait(5)
    stopped = green().spawn(runner.stop)
    assert not stopped.wait(0.02)
    assert journal == ["stop source of first", "stop source of second"]
    opened.set()
    assert stopped.wait(5)
    assert ctx.result == "first and second"
    assert journal[-1] == "stop serving of second"


def test_run_services_stops_them_at_the_end(failing: type[Failing]) -> None:
    with run_services(failing, Quiet, config={"AMQP_URI": "memory://"}) as runner:
        assert [container.started for container in runner.containers.values()] == [True, True]
    assert Shared.ends == ["stop"]


def test_run_services_kills_them_on_demand(failing: type[Failing]) -> None:
    with run_services(failing, config={"AMQP_URI": "memory://"}, kill_on_exit=True) as runner:
        assert runner.service_names == ["failing"]
    assert Shared.ends == ["kill"]


def test_run_services_kills_them_after_an_error(failing: type[Failing]) -> None:
    with pytest.raises(ZeroDivisionError), run_services(failing, config={"AMQP_URI": "memory://"}):
        _ = 1 / 0
    assert Shared.ends == ["kill"]


class Audited(ServiceContainer):
    """Named by a configuration."""


def test_the_configuration_names_the_class_of_the_containers() -> None:
    """By its dotted path."""
    runner = ServiceRunner({"AMQP_URI": "memory://", "SERVICE_CONTAINER_CLS": f"{__name__}.Audited"})
    assert type(runner.add_service(Quiet)).__name__ == "Audited"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "no.such.Container",
            r"SERVICE_CONTAINER_CLS is 'no\.such\.Container', which cannot be imported: No module named",
        ),
        ("rpcservice.core.runner.Absent", r"which cannot be imported: .* has no attribute 'Absent'"),
        ("rpcservice.errors.ConfigError", "give a subclass of ServiceContainer"),
    ],
)
def test_a_class_of_containers_that_cannot_be_used_is_named(path: str, message: str) -> None:
    """With the reason."""
    with pytest.raises(ConfigError, match=message):
        ServiceRunner({"SERVICE_CONTAINER_CLS": path})
