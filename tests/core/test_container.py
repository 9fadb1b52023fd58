"""ServiceContainer: binds, starts, stops and kills what one service is made of."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

from rpcservice import Config, DependencyProvider, Entrypoint, Resource, ServiceContainer, WorkerContext
from rpcservice.concurrency import green
from rpcservice.errors import ContainerBeingKilled, DeclarationError

Start = Callable[..., ServiceContainer]
Fire = Callable[..., WorkerContext]
Containers = Callable[..., ServiceContainer]


@pytest.fixture
def pieces(journal: list[str]) -> Any:
    """A resource, a provider and an entrypoint that write down what the container does with them."""

    class Pieces:
        class Shared(Resource):
            broken = ""

            def note(self, what: str) -> None:
                journal.append(f"resource {what}")
                if self.broken == what:
                    raise RuntimeError(f"broken resource {what}")

            def setup(self) -> None:
                self.note("setup")

            def start(self) -> None:
                self.note("start")

            def serve(self) -> None:
                self.note("serve")

            def stop(self) -> None:
                self.note("stop")

            def kill(self) -> None:
                self.note("kill")

        class Noting:
            kind = ""
            broken = ""
            error: type[BaseException] = RuntimeError

            def note(self, what: str) -> None:
                journal.append(f"{self.kind} {what}")
                if self.broken == what:
                    raise self.error(f"broken {self.kind} {what}")

            def setup(self) -> None:
                self.note("setup")

            def start(self) -> None:
                self.note("start")

            def stop(self) -> None:
                self.note("stop")

            def kill(self) -> None:
                self.note("kill")

        class Provider(Noting, DependencyProvider):
            kind = "dependency"

            def setup(self) -> None:
                super().setup()
                self.host.resource(Pieces.Shared)

        class Source(Noting, Entrypoint):
            kind = "source"

        class Serving(Noting, Entrypoint):
            kind = "serving"
            stop_phase = "serving"

        class Service:
            name = "service"

        # Set here: inside the class body its methods cannot see the classes next to it.
        Service.dependency = Provider()  # type: ignore[attr-defined]
        Service.source = Source.decorator(lambda self: None)  # type: ignore[attr-defined]
        Service.serving = Serving.decorator(lambda self: None)  # type: ignore[attr-defined]

    return Pieces


def test_everything_is_set_up_before_anything_starts(pieces: Any, start: Start, journal: list[str]) -> None:
    start(pieces.Service)
    assert journal == [
        *("dependency setup", "resource setup", "serving setup", "source setup"),
        *("resource start", "dependency start", "serving start", "source start"),
        "resource serve",
    ]


def test_sources_stop_first_and_resources_last(pieces: Any, start: Start, journal: list[str]) -> None:
    container = start(pieces.Service)
    journal.clear()
    container.stop()
    assert journal == ["source stop", "serving stop", "dependency stop", "resource stop"]


def test_a_kill_stops_nothing_and_kills_all(pieces: Any, start: Start, journal: list[str]) -> None:
    container = start(pieces.Service)
    journal.clear()
    container.kill()
    assert journal == ["serving kill", "source kill", "dependency kill", "resource kill"]


def test_a_second_stop_and_a_second_kill_do_nothing(pieces: Any, start: Start, journal: list[str]) -> None:
    container = start(pieces.Service)
    container.stop()
    journal.clear()
    container.stop()
    container.kill()
    assert journal == []


def test_one_that_cannot_stop_keeps_no_other_from_stopping(
    pieces: Any, start: Start, journal: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    pieces.Source.broken = "stop"
    container = start(pieces.Service)
    journal.clear()
    container.stop()
    assert journal == ["source stop", "serving stop", "dependency stop", "resource stop"]
    assert "stopping Source of service service failed" in caplog.text


def test_one_that_would_leave_while_it_stops_keeps_no_other_from_stopping(
    pieces: Any, start: Start, journal: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    pieces.Source.broken, pieces.Source.error = "stop", SystemExit
    container = start(pieces.Service)
    journal.clear()
    container.stop()
    assert journal == ["source stop", "serving stop", "dependency stop", "resource stop"]
    assert "stopping Source of service service failed" in caplog.text


def test_one_that_cannot_be_killed_keeps_no_other_from_being_killed(
    pieces: Any, start: Start, journal: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    pieces.Provider.broken = "kill"
    container = start(pieces.Service)
    container.kill()
    assert journal[-1] == "resource kill"
    assert "broken dependency kill" in caplog.text


@pytest.mark.parametrize("kind", ["Provider", "Source", "Shared"])
@pytest.mark.parametrize("step", ["setup", "start"])
def test_a_failed_start_kills_what_has_started(
    kind: str, step: str, pieces: Any, container_factory: Containers, journal: list[str]
) -> None:
    getattr(pieces, kind).broken = step
    container = container_factory(pieces.Service)
    with pytest.raises(RuntimeError, match=f"broken .* {step}"):
        container.start()
    extensions = {"source", "serving", "dependency"}
    killed, set_up = ({one for one in extensions if f"{one} {what}" in journal} for what in ("kill", "setup"))
    assert killed == extensions if step == "start" else killed < set_up
    with pytest.raises(RuntimeError, match=f"broken .* {step}"):
        container.wait(1)


def test_a_resource_that_could_not_be_set_up_is_killed_too(
    pieces: Any, container_factory: Containers, journal: list[str]
) -> None:
    pieces.Shared.broken = "start"
    with pytest.raises(RuntimeError):
        container_factory(pieces.Service).start()
    assert "resource kill" in journal


def test_a_resource_is_made_once_for_each_key(start: Start, pieces: Any) -> None:
    container = start(pieces.Service)
    shared = container.resource(pieces.Shared)
    assert container.resource(pieces.Shared) is shared
    assert container.resource(pieces.Shared, "other") is not shared


def test_running_calls_finish_before_the_stop_ends(hand: type[Any], start: Start, journal: list[str]) -> None:
    entered, opened = green().event(), green().event()

    class Service:
        name = "service"

        @hand.decorator
        def method(self) -> str:
            entered.set()
            assert opened.wait(5)
            return "done"

    container = start(Service)
    ctx = container.spawn_worker(container.entrypoints[0])
    assert entered.wait(5)
    stopped = green().spawn(container.stop)
    assert not stopped.wait(0.02)
    opened.set()
    assert stopped.wait(5)
    assert ctx.reply == "result done"


def test_what_does_not_finish_within_the_shutdown_timeout_is_given_back(
    hand: type[Any], start: Start, journal: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    entered, never = green().event(), green().event()

    class Service:
        name = "service"

        @hand.decorator
        def method(self) -> None:
            entered.set()
            never.wait()

    container = start(Service, shutdown_timeout=0.05)
    container.spawn_worker(container.entrypoints[0])
    assert entered.wait(5)
    container.stop()
    assert journal == ["give back"]
    assert "service service: unfinished calls are given back" in caplog.text


class Own(DependencyProvider):
    """Gives a worker its container."""

    def get_dependency(self, ctx: WorkerContext) -> ServiceContainer:
        return ctx.container

    def stop(self) -> None:
        self.host.backend.sleep(0)


@pytest.fixture
def suicidal(hand: type[Any], journal: list[str]) -> type:
    """A service whose methods end their own container."""

    class Service:
        name = "service"
        container = Own()

        @hand.decorator
        def die(self) -> None:
            self.container.kill(RuntimeError("enough"))
            journal.append("survived")

        @hand.decorator
        def stop(self) -> str:
            self.container.stop()
            return "stopping"

    return Service


def test_a_worker_that_kills_its_container_ends_with_it(suicidal: type, start: Start, journal: list[str]) -> None:
    container = start(suicidal)
    container.spawn_worker(container.entrypoints[0])
    with pytest.raises(RuntimeError, match="enough"):
        container.wait(5)
    assert journal == ["give back"]
    assert container.pool.unfinished() == set()


def test_a_worker_that_stops_its_container_is_waited_for(suicidal: type, start: Start) -> None:
    container = start(suicidal)
    ctx = container.spawn_worker(container.entrypoints[1])
    assert container.wait(5)
    assert ctx.reply == "result stopping"


def test_what_could_not_be_set_up_is_not_killed(container_factory: Containers, journal: list[str]) -> None:
    class Noting(DependencyProvider):
        def setup(self) -> None:
            raise RuntimeError(f"{self.attr_name} cannot be set up")

        def kill(self) -> None:
            journal.append(f"kill {self.attr_name}")

    class Service:
        name = "service"
        a = Noting()

    with pytest.raises(RuntimeError, match="a cannot be set up"):
        container_factory(Service).start()
    assert journal == []


def test_work_that_comes_after_the_stop_is_given_back(hand: type[Any], start: Start, journal: list[str]) -> None:
    class Service:
        name = "service"

        @hand.decorator
        def method(self) -> None:
            """Never called."""

    container = start(Service)
    container.stop()
    container.spawn_worker(container.entrypoints[0])
    assert journal == ["give back"]
    with pytest.raises(ContainerBeingKilled):
        container.run_worker(container.entrypoints[0])


def test_waiting_has_a_limit(start: Start, hand: type[Any]) -> None:
    class Service:
        name = "service"

    assert start(Service).wait(0.01) is False


def test_waiting_ends_with_the_container(start: Start) -> None:
    class Service:
        name = "service"

    container = start(Service)
    green().call_later(0, green().start, container.stop)
    assert container.wait(5) is True


class Threads(Entrypoint):
    """Runs two managed threads; the first fails when it is told to."""

    fail: Any
    ended: list[str]

    def start(self) -> None:
        self.host.spawn_managed_thread(self.failing, "the failing one")
        self.host.spawn_managed_thread(self.lasting)

    def failing(self) -> None:
        self.fail.wait()
        raise RuntimeError("thread failed")

    def lasting(self) -> None:
        try:
            green().event().wait()
        finally:
            self.ended.append("lasting")


class WithThreads:
    name = "threads"

    @Threads.decorator
    def method(self) -> None:
        """Never called."""


@pytest.fixture
def threads() -> type[Threads]:
    Threads.fail, Threads.ended = green().event(), []
    return Threads


def test_an_error_in_a_managed_thread_kills_the_container(
    threads: type[Threads], start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    container = start(WithThreads)
    threads.fail.set()
    with pytest.raises(RuntimeError, match="thread failed"):
        container.wait(5)
    assert "the failing one of service threads died" in caplog.text


def test_managed_threads_end_with_the_container_however_it_ends(threads: type[Threads], start: Start) -> None:
    container = start(WithThreads)
    green().sleep(0)
    container.stop()
    assert threads.ended == ["lasting"]
    container = start(WithThreads)
    green().sleep(0)
    threads.fail.set()
    with pytest.raises(RuntimeError):
        container.wait(5)
    green().sleep(0)
    assert threads.ended == ["lasting", "lasting"]


def test_a_managed_thread_that_ends_by_itself_is_forgotten(start: Start) -> None:
    class Service:
        name = "service"

    container = start(Service)
    ran = green().event()
    assert container.spawn_managed_thread(ran.set).wait(5)
    assert ran.is_set()
    assert container._threads == set()


def test_extensions_are_bound_by_copy(start: Start, hand: type[Any]) -> None:
    class Service:
        name = "service"
        config = Config()

        @hand.decorator
        def method(self) -> None:
            """Never called."""

    one, two = start(Service), start(Service)
    assert one.entrypoints[0] is not two.entrypoints[0]
    assert (one.entrypoints[0].host, two.entrypoints[0].host) == (one, two)
    assert not hasattr(Service.config, "host")


def test_config_injects_everything_that_was_configured(start: Start, hand: type[Any], fire: Fire) -> None:
    class Service:
        name = "service"
        config = Config()

        @hand.decorator
        def method(self) -> Any:
            return self.config

    config = fire(start(Service, own_key="own"), "method").result
    assert config["own_key"] == "own"
    assert isinstance(config, MappingProxyType)


def test_the_call_stack_keeps_the_configured_number_of_parents(start: Start, hand: type[Any], fire: Fire) -> None:
    class Service:
        name = "service"

        @hand.decorator
        def method(self) -> None:
            """Nothing."""

    container = start(Service, parent_calls_tracked=2)
    ctx = fire(container, "method", context_data={"call_id_stack": ["a.a.1", "b.b.2", "c.c.3"], "language": "de"})
    assert ctx.call_id_stack == ["b.b.2", "c.c.3", ctx.call_id]
    assert (ctx.origin_call_id, ctx.immediate_parent_call_id, ctx.data) == ("b.b.2", "c.c.3", {"language": "de"})


def test_a_class_without_a_name_is_refused() -> None:
    class Nameless:
        """Has no name."""

    with pytest.raises(DeclarationError, match=r'Nameless has no service name; give the class .* name = "orders"'):
        ServiceContainer(Nameless)
