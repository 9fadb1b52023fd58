from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import (
    ContainerBeingKilled,
    DependencyProvider,
    Entrypoint,
    ExtensionNotFound,
    ServiceContainer,
    WorkerContext,
)
from rpcservice.testing import EntrypointTimeout, WaitResult, dummy, entrypoint_hook, entrypoint_waiter, once
from rpcservice.testing.entrypoints import Dummy

Factory = Callable[..., ServiceContainer]


class Journal(DependencyProvider):
    """Notes what happens, in an order that tests can ask for."""

    def setup(self) -> None:
        self.lines: list[str] = []

    def get_dependency(self, ctx: WorkerContext) -> list[str]:
        return self.lines

    def worker_teardown(self, ctx: WorkerContext) -> None:
        self.lines.append("torn down")


class Replying(Entrypoint):
    """Fires when told to, and says that it answers a message."""

    def fire(self, *args: Any) -> None:
        self.host.spawn_worker(self, args)

    def encode(self, ctx: WorkerContext) -> None:
        raise AssertionError("a hooked call has nobody to answer")

    settle = give_back = encode


class Greeter:
    name = "greeter"

    journal = Journal()

    @dummy
    def greet(self, name: str = "you") -> str:
        self.journal.append(f"greeted {name}")
        return f"Hello, {name}!"

    @dummy
    def fail(self) -> None:
        raise LookupError("nobody there")

    @Replying.decorator
    def answer(self) -> int:
        return 42


def _journal(container: ServiceContainer) -> list[str]:
    (journal,) = container.dependencies
    assert isinstance(journal, Journal)
    return journal.lines


@pytest.fixture
def container(container_factory: Factory) -> ServiceContainer:
    container = container_factory(Greeter)
    container.start()
    return container


def _fire(container: ServiceContainer, method_name: str, *args: Any) -> None:
    entrypoint = next(entry for entry in container.entrypoints if entry.method_name == method_name)
    container.spawn_worker(entrypoint, args)


def test_a_hook_gives_the_result_of_the_method(container: ServiceContainer) -> None:
    with entrypoint_hook(container, "greet") as greet:
        assert greet(name="Ada") == "Hello, Ada!"


def test_a_hook_raises_what_the_method_raised(container: ServiceContainer) -> None:
    with entrypoint_hook(container, "fail") as fail, pytest.raises(LookupError, match="nobody there"):
        fail()


def test_a_hook_returns_once_the_worker_is_torn_down(container: ServiceContainer) -> None:
    with entrypoint_hook(container, "greet") as greet:
        greet("Ada")
        assert _journal(container) == ["greeted Ada", "torn down"]


def test_a_hook_answers_no_message(container: ServiceContainer) -> None:
    """The method of an RPC or event entrypoint can be run though no message came."""
    with entrypoint_hook(container, "answer") as answer:
        assert answer() == 42


def test_a_hooked_entrypoint_is_still_an_instance_of_its_class(container: ServiceContainer) -> None:
    seen: list[WorkerContext] = []
    with (
        entrypoint_waiter(container, "answer", callback=lambda ctx, result, exc_info: seen.append(ctx) or True),
        entrypoint_hook(container, "answer") as answer,
    ):
        answer()
    assert isinstance(seen[0].entrypoint, Replying)


def test_hooked_calls_count_for_the_concurrency_of_the_entrypoint(container_factory: Factory) -> None:
    class Careful:
        name = "careful"

        @Dummy.decorator(concurrency=1)
        def work(self) -> int:
            return entrypoint.method_workers

    container = container_factory(Careful)
    container.start()
    (entrypoint,) = container.entrypoints
    with entrypoint_hook(container, "work") as work:
        assert work() == 1
    assert entrypoint.method_workers == 0


def test_a_hook_passes_context_data_on(container_factory: Factory) -> None:
    class Languages(DependencyProvider):
        def get_dependency(self, ctx: WorkerContext) -> object:
            return ctx.data.get("language")

    class Speaker:
        name = "speaker"
        language = Languages()

        @dummy
        def speak(self) -> object:
            return self.language

    container = container_factory(Speaker)
    container.start()
    with entrypoint_hook(container, "speak", context_data={"language": "de"}) as speak:
        assert speak() == "de"


def test_a_hook_on_a_method_without_entrypoint_names_those_that_exist(container: ServiceContainer) -> None:
    with pytest.raises(ExtensionNotFound, match="no entrypoint on great; it has: answer, fail, greet"):
        entrypoint_hook(container, "great").__enter__()


class Patient:
    """Waits until it is told to go on."""

    name = "patient"

    @dummy
    def wait(self) -> None:
        _waiting.set()
        _go_on.wait()


_waiting: Any = None
_go_on: Any = None


@pytest.fixture
def patient(container_factory: Factory) -> ServiceContainer:
    global _waiting, _go_on
    container = container_factory(Patient)
    container.start()
    _waiting, _go_on = container.backend.event(), container.backend.event()
    return container


def test_a_hooked_call_that_does_not_end_in_time_raises(patient: ServiceContainer) -> None:
    with (
        entrypoint_hook(patient, "wait", timeout=0.05) as wait,
        pytest.raises(EntrypointTimeout, match=r"the call to patient did not end within 0\.05 s"),
    ):
        wait()


def test_a_hooked_call_ends_when_the_container_dies(patient: ServiceContainer) -> None:
    def kill() -> None:
        _waiting.wait()
        patient.kill(ValueError("out of luck"))

    patient.backend.spawn(kill)
    with entrypoint_hook(patient, "wait") as wait, pytest.raises(ValueError, match="out of luck"):
        wait()


def test_a_hooked_call_ends_when_the_container_is_killed(patient: ServiceContainer) -> None:
    def kill() -> None:
        _waiting.wait()
        patient.kill()

    patient.backend.spawn(kill)
    with entrypoint_hook(patient, "wait") as wait, pytest.raises(ContainerBeingKilled, match="patient"):
        wait()


def test_a_hook_on_a_stopped_container_raises(patient: ServiceContainer) -> None:
    patient.stop()
    with entrypoint_hook(patient, "wait") as wait, pytest.raises(ContainerBeingKilled):
        wait()


def test_a_waiter_gives_the_result_once_the_worker_is_torn_down(container: ServiceContainer) -> None:
    with entrypoint_waiter(container, "greet") as result:
        _fire(container, "greet", "Ada")
    assert result.get() == "Hello, Ada!"
    assert _journal(container) == ["greeted Ada", "torn down"]


def test_the_result_of_a_waiter_raises_what_the_method_raised(container: ServiceContainer) -> None:
    with entrypoint_waiter(container, "fail") as result:
        _fire(container, "fail")
    with pytest.raises(LookupError, match="nobody there"):
        result.get()


def test_a_result_is_not_ready_before_the_entrypoint_has_fired(container: ServiceContainer) -> None:
    with entrypoint_waiter(container, "greet") as result:
        with pytest.raises(WaitResult.NotReady):
            result.get()
        _fire(container, "greet")


def test_a_waiter_catches_the_very_first_worker_of_a_service(container_factory: Factory) -> None:
    class Starter:
        name = "starter"

        @once("now", loud=True)
        def begin(self, when: str, loud: bool) -> tuple[str, bool]:
            return when, loud

    container = container_factory(Starter)
    with entrypoint_waiter(container, "begin") as result:
        container.start()
    assert result.get() == ("now", True)


def test_a_waiter_ignores_other_methods(container: ServiceContainer) -> None:
    with entrypoint_waiter(container, "greet") as result:
        _fire(container, "fail")
        _fire(container, "greet")
    assert result.get() == "Hello, you!"


def test_a_callback_chooses_the_call_that_is_waited_for(container: ServiceContainer) -> None:
    seen: list[tuple[str, Any, Any]] = []

    def is_third(ctx: WorkerContext, result: Any, exc_info: Any) -> bool:
        seen.append((ctx.call_id.split(".")[1], result, exc_info))
        return len(seen) == 3

    with entrypoint_waiter(container, "greet", callback=is_third) as result:
        for name in "abcd":
            _fire(container, "greet", name)
    assert result.get() == "Hello, c!"
    assert seen[0] == ("greet", "Hello, a!", None)


def test_a_callback_sees_the_exception_as_a_triple(container: ServiceContainer) -> None:
    seen: list[Any] = []
    with entrypoint_waiter(container, "fail", callback=lambda ctx, result, exc_info: seen.append(exc_info) or True):
        _fire(container, "fail")
    exc_type, exc, traceback = seen[0]
    assert exc_type is LookupError
    assert exc.__traceback__ is traceback


def test_an_error_in_a_callback_is_raised_in_the_test(container: ServiceContainer) -> None:
    def broken(ctx: WorkerContext, result: Any, exc_info: Any) -> bool:
        raise ZeroDivisionError("in the callback")

    with pytest.raises(ZeroDivisionError), entrypoint_waiter(container, "greet", callback=broken):
        _fire(container, "greet")


def test_a_waiter_ends_with_its_own_timeout_when_nothing_fires(container: ServiceContainer) -> None:
    with (
        pytest.raises(entrypoint_waiter.Timeout, match=r"greeter\.greet did not fire and end within 0\.05 s"),
        entrypoint_waiter(container, "greet", timeout=0.05),
    ):
        pass


def test_a_waiter_ends_when_the_container_dies(container: ServiceContainer) -> None:
    with pytest.raises(ValueError, match="out of luck"), entrypoint_waiter(container, "greet"):
        container.kill(ValueError("out of luck"))


def test_a_waiter_waits_for_nothing_when_its_block_raises(container: ServiceContainer) -> None:
    with pytest.raises(KeyError), entrypoint_waiter(container, "greet", timeout=None):
        raise KeyError("first")


def test_waiters_can_be_nested(container: ServiceContainer) -> None:
    with entrypoint_waiter(container, "greet") as greeted, entrypoint_waiter(container, "fail") as failed:
        _fire(container, "fail")
        _fire(container, "greet")
    assert greeted.get() == "Hello, you!"
    assert failed.has_result


def test_a_waiter_on_a_method_without_entrypoint_names_those_that_exist(container: ServiceContainer) -> None:
    with pytest.raises(ExtensionNotFound, match="no entrypoint on great; it has: answer, fail, greet"):
        entrypoint_waiter(container, "great")


def test_a_waiter_does_not_hide_around_hooks(container_factory: Factory) -> None:
    class Doubling(DependencyProvider):
        def around_worker(self, ctx: WorkerContext, call_next: Callable[[WorkerContext], Any]) -> Any:
            ctx.args = tuple(2 * arg for arg in ctx.args)
            return call_next(ctx)

    class Echo:
        name = "echo"
        doubling = Doubling()

        @dummy
        def say(self, text: str) -> str:
            return text

    container = container_factory(Echo)
    container.start()
    with entrypoint_waiter(container, "say") as result:
        _fire(container, "say", "ha")
    assert result.get() == "haha"
