"""nameko's containers, worker contexts and runners, as far as they differ from ours."""

import logging
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock, patch

import pytest
from waiting import wait_until

from rpcservice.compat.nameko import config
from rpcservice.compat.nameko.containers import (
    ServiceContainer,
    WorkerContext,
    get_container_cls,
    get_service_name,
    new_call_id,
)
from rpcservice.compat.nameko.contextdata import AuthToken, Language, UserAgent, UserId
from rpcservice.compat.nameko.dependency_providers import Config
from rpcservice.compat.nameko.exceptions import ConfigurationError, ContainerBeingKilled
from rpcservice.compat.nameko.extensions import DependencyProvider, Entrypoint
from rpcservice.compat.nameko.runners import ServiceRunner, run_services
from rpcservice.compat.nameko.timer import timer
from rpcservice.concurrency import Event, green
from rpcservice.errors import DeclarationError

MEMORY = {"AMQP_URI": "memory://", "mine": "yes"}
_steps: list[Any] = []


@pytest.fixture(autouse=True)
def _forget_steps() -> None:
    _steps.clear()


class Hook(Entrypoint):
    """Fired by the tests."""


hook = Hook.decorator


class Noting(DependencyProvider):
    """Notes each hook."""

    def get_dependency(self, worker_ctx: Any) -> Any:
        """Give a function that notes."""
        _steps.append("get_dependency")
        return _steps.append

    def worker_setup(self, worker_ctx: Any) -> None:
        """Note it."""
        _steps.append("worker_setup")

    def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
        """Note it."""
        _steps.append(("worker_result", result, exc_info))

    def worker_teardown(self, worker_ctx: Any) -> None:
        """Note it."""
        _steps.append("worker_teardown")


class Service:
    """With one provider."""

    name = "service"
    note = Noting()
    config = Config()
    language, user_id, user_agent, auth_token = Language(), UserId(), UserAgent(), AuthToken()

    @hook
    def work(self, fail: bool = False) -> str:
        """Note, and return or raise."""
        self.note("method")  # type: ignore[operator]
        if fail:
            raise ValueError("failed")
        return "done"

    @hook
    def who(self) -> list[Any]:
        """Give what was injected."""
        return [self.language, self.user_id, self.user_agent, self.auth_token, self.config]


@pytest.fixture
def container() -> Iterator[ServiceContainer]:
    """A running container of the service."""
    made = ServiceContainer(Service, MEMORY)
    made.start()
    yield made
    made.kill()


def fire(container: ServiceContainer, method: str, *args: Any, **options: Any) -> WorkerContext:
    """Run a method in a worker; gives the finished context."""
    (entrypoint,) = (entry for entry in container.entrypoints if entry.method_name == method)
    return container.run_worker(entrypoint, args, **options)


def test_a_worker_goes_through_the_steps_in_the_order_of_nameko(container: ServiceContainer) -> None:
    """The outcome is handled, that is sent, before the providers have it."""

    def handle(ctx: Any, result: Any, exc_info: Any) -> Any:
        _steps.append(("handle_result", result, exc_info))
        return result, exc_info

    fire(container, "work", handle_result=handle)
    assert _steps == [
        "get_dependency",
        "worker_setup",
        "method",
        ("handle_result", "done", None),
        ("worker_result", "done", None),
        "worker_teardown",
    ]


def test_errors_come_as_triples(container: ServiceContainer) -> None:
    """The exception's class, the exception, its traceback."""
    ctx = fire(container, "work", True)
    (triple,) = (step[2] for step in _steps if step[0] == "worker_result")
    assert triple[0] is ValueError
    assert triple[1] is ctx.error
    assert triple[2] is not None


def test_the_handler_may_replace_the_result(container: ServiceContainer) -> None:
    """Providers see the new outcome."""
    error = TypeError("not to be sent")
    ctx = fire(container, "work", handle_result=lambda ctx, result, exc_info: (None, (TypeError, error, None)))
    assert ("worker_result", None, (TypeError, error, None)) in _steps
    assert ctx.error is error


def test_the_handler_may_replace_an_error(container: ServiceContainer) -> None:
    """With a result."""
    ctx = fire(container, "work", True, handle_result=lambda ctx, result, exc_info: ("instead", None))
    assert ("worker_result", "instead", None) in _steps
    assert (ctx.result, ctx.error) == ("instead", None)


def test_an_error_in_worker_result_is_logged_and_ends_nothing(
    container: ServiceContainer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nameko kills the container."""

    def fail(*args: Any) -> None:
        raise RuntimeError("no commit")

    monkeypatch.setattr(container.dependencies[-1], "worker_result", fail)
    with caplog.at_level(logging.ERROR):
        ctx = fire(container, "work")
    assert ctx.result == "done"
    assert "worker_result failed after service.work." in caplog.text
    assert "worker_teardown" in _steps
    assert not container.is_stopping


def test_context_values_are_injected(container: ServiceContainer) -> None:
    """None for those that did not come; the configuration as a copy."""
    data = {"language": "de", "user_id": 7, "auth_token": "secret"}
    result = fire(container, "who", context_data=data).result
    assert result == ["de", 7, None, "secret", MEMORY]
    assert result[-1] is not MEMORY


def test_a_worker_that_nobody_called_has_no_origin(container: ServiceContainer) -> None:
    """As in nameko; ours gives its own id."""
    ctx = fire(container, "work")
    assert (ctx.origin_call_id, ctx.immediate_parent_call_id) == (None, None)
    assert ctx.call_id_stack == [ctx.call_id]


def test_a_worker_knows_its_callers(container: ServiceContainer) -> None:
    """The first and the last."""
    ctx = fire(container, "work", context_data={"call_id_stack": ["a.b.1", "c.d.2"], "language": "en"})
    assert (ctx.origin_call_id, ctx.immediate_parent_call_id) == ("a.b.1", "c.d.2")
    assert ctx.data == ctx.context_data == {"call_id_stack": ["a.b.1", "c.d.2", ctx.call_id], "language": "en"}


def test_a_context_is_made_as_in_nameko(container: ServiceContainer) -> None:
    """Service before entrypoint, data last."""
    service, entrypoint = Service(), container.entrypoints[0]
    ctx = WorkerContext(container, service, entrypoint, args=("a",), kwargs={"b": 1}, data={"language": "fr"})
    assert (ctx.service, ctx.entrypoint, ctx.args, ctx.kwargs) == (service, entrypoint, ("a",), {"b": 1})
    assert ctx.context_data["language"] == "fr"
    assert ctx.config["mine"] == "yes"
    assert ctx.service_name == "service"


def test_a_container_has_what_extensions_look_for(container: ServiceContainer) -> None:
    """Under nameko's names."""
    assert container.config["mine"] == "yes"
    assert (container.serializer, container.accept) == ("json", ["json"])
    assert container.interface is container
    assert container.max_workers == 10
    assert container.service_cls is Service


def test_a_killed_container_takes_no_work(container: ServiceContainer) -> None:
    """The entrypoint learns of it."""
    entrypoint = container.entrypoints[0]
    container.kill()
    with pytest.raises(ContainerBeingKilled, match="service 'service' takes no more work"):
        container.spawn_worker(entrypoint)


def test_a_container_is_killed_with_a_triple(container: ServiceContainer) -> None:
    """``wait`` raises the exception in it."""
    error = ValueError("the reason")
    container.kill((ValueError, error, None))
    with pytest.raises(ValueError, match="the reason"):
        container.wait()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({}, "must define a `name` attribute"), ({"name": 7}, "name attribute must be a string .*, not 7")],
)
def test_a_class_without_a_usable_name_is_refused(attributes: dict[str, Any], message: str) -> None:
    """With module and class."""
    cls = type("Nameless", (), attributes)
    with pytest.raises(ConfigurationError, match=f"{message}"):
        get_service_name(cls)
    with pytest.raises(ConfigurationError, match="Nameless"):
        ServiceContainer(cls, MEMORY)


def test_what_cannot_be_hosted_is_a_configuration_error() -> None:
    """As all mistakes of this kind in nameko."""
    with pytest.raises(ConfigurationError, match="cannot stand alone"):
        ServiceContainer(type("Odd", (), {"name": "*"}), MEMORY)


class OwnContainer(ServiceContainer):
    """Named by a configuration."""


def test_the_configuration_names_the_class_of_containers() -> None:
    """By its dotted path."""
    path = {"SERVICE_CONTAINER_CLS": f"{__name__}.OwnContainer"}
    assert get_container_cls(path).__name__ == "OwnContainer"
    assert get_container_cls({}) is ServiceContainer
    with config.patch(path):
        assert get_container_cls().__name__ == "OwnContainer"


def test_a_class_of_containers_that_is_not_there_is_an_import_error() -> None:
    """With the path."""
    with pytest.raises(ImportError, match=r"`no\.such\.Container` could not be imported"):
        get_container_cls({"SERVICE_CONTAINER_CLS": "no.such.Container"})


class Ticking:
    """Fires by itself."""

    name = "ticking"

    ticked: Event

    @timer(interval=60, eager=True)
    def tick(self) -> None:
        """Tell who waits."""
        self.ticked.set()


@pytest.mark.parametrize("is_global", [False, True], ids=["nameko-2", "nameko-3"])
def test_services_run_for_a_block(is_global: bool) -> None:
    """With the configuration as the first argument, or global."""
    Ticking.ticked = green().event()
    arguments = (Ticking,) if is_global else (MEMORY, Ticking)
    with config.patch(MEMORY if is_global else {}, clear=True), run_services(*arguments) as runner:
        (container,) = runner.containers
        assert isinstance(container, ServiceContainer)
        assert container.config["mine"] == "yes"
        assert Ticking.ticked.wait(10)
    assert container.wait(0) is True


def test_a_runner_has_the_names_and_containers_of_its_services() -> None:
    """As sequences."""
    runner = ServiceRunner(MEMORY)
    runner.add_service(Ticking)
    assert list(runner.service_names) == ["ticking"]
    assert [container.service_cls for container in runner.containers] == [Ticking]


def test_a_block_may_kill_its_services() -> None:
    """Instead of stopping them."""
    with run_services(MEMORY, Ticking, kill_on_exit=True) as runner:
        (container,) = runner.containers
    assert container.wait(0) is True


def test_call_ids_are_made_anew_each_time() -> None:
    """As text."""
    assert new_call_id() != new_call_id()
    assert len(new_call_id()) == 36


def test_the_pool_tells_of_itself_as_eventlets_does() -> None:
    """Instrumentation reads it there, and the workers by their contexts."""
    inside: list[Any] = []

    class Looking:
        name = "looking"

        @hook
        def look(self) -> None:
            pool = container._worker_pool
            inside.append((pool.size, pool.running(), pool.free(), pool.waiting(), list(container._worker_threads)))

    container = ServiceContainer(Looking, {**MEMORY, "max_workers": 3})
    ctx = container.run_worker(container.entrypoints[0])
    assert inside == [(3, 1, 2, 0, [ctx])]
    assert container._worker_threads == {}


def test_the_hooks_of_workers_go_through_methods_that_may_be_wrapped() -> None:
    """By the names that they have in nameko."""
    wrapped: list[str] = []

    class Wrapped(ServiceContainer):
        def _worker_setup(self, worker_ctx: Any) -> None:
            wrapped.append("setup")
            super()._worker_setup(worker_ctx)

        def _worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
            wrapped.append(f"result {result}")
            super()._worker_result(worker_ctx, result, exc_info)

        def _worker_teardown(self, worker_ctx: Any) -> None:
            wrapped.append("teardown")
            super()._worker_teardown(worker_ctx)

    class Working:
        name = "working"

        @hook
        def work(self) -> int:
            return 1

    container = Wrapped(Working, MEMORY)
    container.run_worker(container.entrypoints[0])
    assert wrapped == ["setup", "result 1", "teardown"]


def test_an_entrypoint_may_keep_anything_under_the_name_concurrency() -> None:
    """nameko-cron's does: ours goes by another."""

    class Own(Entrypoint):
        def __init__(self, concurrency: str, **kwargs: Any) -> None:
            self.concurrency = concurrency
            super().__init__(**kwargs)

    class Working:
        name = "working"

        @Own.decorator("allow")
        def work(self) -> int:
            return 1

    container = ServiceContainer(Working, MEMORY)
    assert container.run_worker(container.entrypoints[0]).result == 1
    assert container.entrypoints[0].concurrency == "allow"


def test_an_extension_that_spawns_workers_waits_for_a_free_one() -> None:
    """So that its loop takes no more than can be worked on; the next one runs once the first has ended."""
    begun: list[int] = []
    go_on = green().event()
    spawned = green().event()

    class Slow:
        name = "slow"

        @hook
        def work(self, number: int) -> None:
            begun.append(number)
            go_on.wait(10)

    container = ServiceContainer(Slow, {**MEMORY, "max_workers": 1})
    (entrypoint,) = container.entrypoints
    container.spawn_worker(entrypoint, (1,))

    def spawn() -> None:
        container.spawn_worker(entrypoint, (2,))
        spawned.set()

    container.spawn_managed_thread(spawn)
    assert spawned.wait(0.05) is False
    assert begun == [1]
    go_on.set()
    assert spawned.wait(10)
    container._worker_pool.waitall()
    assert begun == [1, 2]
    assert container._worker_pool.running() == 0


def test_what_is_ended_while_it_waits_for_a_worker_runs_nothing() -> None:
    """Its loop is gone, and so is the work."""
    begun: list[int] = []
    go_on = green().event()

    class Slow:
        name = "slow"

        @hook
        def work(self, number: int) -> None:
            begun.append(number)
            go_on.wait(10)

    container = ServiceContainer(Slow, {**MEMORY, "max_workers": 1})
    (entrypoint,) = container.entrypoints
    container.spawn_worker(entrypoint, (1,))
    thread = container.spawn_managed_thread(lambda: container.spawn_worker(entrypoint, (2,)))
    wait_until(lambda: container._worker_pool.waiting() == 1)
    thread.kill()
    assert container._worker_pool.waiting() == 0
    go_on.set()
    container._worker_pool.waitall()
    assert begun == [1]


def test_a_worker_that_spawns_another_does_not_wait_for_it() -> None:
    """The only worker would wait for itself."""
    done: list[str] = []

    class Chain:
        name = "chain"

        @hook
        def first(self) -> None:
            container.spawn_worker(by_method["second"])
            done.append("first")

        @hook
        def second(self) -> None:
            done.append("second")

    container = ServiceContainer(Chain, {**MEMORY, "max_workers": 1})
    by_method = {entrypoint.method_name: entrypoint for entrypoint in container.entrypoints}
    container.spawn_worker(by_method["first"])
    container._worker_pool.waitall()
    assert done == ["first", "second"]


class TwoArguments(ServiceContainer):
    """With the constructor that a subclass has on nameko 2."""

    def __init__(self, service_cls: type, config: Any) -> None:
        super().__init__(service_cls, config)


class OneArgument(ServiceContainer):
    """With the constructor that a subclass has on nameko 3."""

    def __init__(self, service_cls: type) -> None:
        super().__init__(service_cls)


@pytest.mark.parametrize("cls", [TwoArguments, OneArgument])
def test_a_class_of_containers_may_take_nameko_s_arguments_only(cls: type[ServiceContainer]) -> None:
    """A runner's containers share its connections all the same."""
    with config.patch({**MEMORY, "SERVICE_CONTAINER_CLS": f"{__name__}.{cls.__name__}"}, clear=True):
        runner = ServiceRunner()
        container = runner.add_service(Service)
    assert type(container) is cls
    assert container.resources is runner.resources
    assert container.owns_resources is False
    assert ServiceContainer(Service, MEMORY).owns_resources is True


def test_a_class_that_is_added_twice_is_hosted_once() -> None:
    """Another one of the same name is still refused."""

    class Other:
        name = Service.name

    runner = ServiceRunner(MEMORY)
    assert runner.add_service(Service) is runner.add_service(Service)
    assert len(list(runner.containers)) == 1
    with pytest.raises(DeclarationError, match="two services are named"):
        runner.add_service(Other)


def test_a_context_is_made_with_a_mock_for_its_entrypoint(container: ServiceContainer) -> None:
    """Tests of providers have no entrypoint, and a container all the same."""
    ctx = WorkerContext(container, None, Mock(), data={"language": "en"})
    (language,) = (provider for provider in container.dependencies if isinstance(provider, Language))
    assert language.get_dependency(ctx) == "en"


def test_the_extensions_of_a_container_are_a_set(container: ServiceContainer) -> None:
    """As in nameko, and in their order all the same."""
    parts = {*container.subextensions, *container.dependencies, *container.entrypoints}
    assert container.extensions == parts
    assert container.extensions - set(container.entrypoints) == {*container.subextensions, *container.dependencies}
    assert list(container.extensions)[-1] is container.entrypoints[-1]


def test_hooks_may_be_patched_while_a_service_runs(container: ServiceContainer) -> None:
    """On the class or on the bound provider, after calls have gone through them."""
    fire(container, "work")
    (noting,) = (provider for provider in container.dependencies if isinstance(provider, Noting))
    with (
        patch.object(Noting, "worker_setup") as setup,
        patch.object(noting, "worker_result") as result,
        patch.object(Noting, "worker_teardown") as teardown,
        patch.object(noting, "get_dependency", return_value=_steps.append) as get_dependency,
    ):
        ctx = fire(container, "work", True)
    for hook in (setup, teardown, get_dependency):
        hook.assert_called_once_with(ctx)
    ((_, _, (cls, error, _)), _) = result.call_args
    assert (cls, error) == (ValueError, ctx.error)
    _steps.clear()
    fire(container, "work")
    assert _steps[:2] == ["get_dependency", "worker_setup"]
