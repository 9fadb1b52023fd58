"""Workers: the order of the stages, and errors that end one call and nothing else."""

import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import DependencyProvider, ServiceContainer, WorkerContext
from rpcservice.concurrency import green
from rpcservice.core.worker import DEFAULT_STAGES, Stage, WorkerPlan, call, compose

Start = Callable[..., ServiceContainer]
Fire = Callable[..., WorkerContext]


@pytest.fixture
def provider(journal: list[str]) -> type[Any]:
    """A dependency class: ``provider("a", broken=("worker_setup",))`` raises there, once."""

    class Provider(DependencyProvider):
        def __init__(self, label: str = "", broken: tuple[str, ...] = (), error: BaseException | None = None) -> None:
            self.label = label
            self.broken = list(broken)
            self.error = error

        def note(self, hook: str, what: object = "") -> None:
            journal.append(f"{hook} {self.label}{what}".strip())
            if hook in self.broken:
                self.broken.remove(hook)
                raise self.error or RuntimeError(f"broken {hook}")

        def get_dependency(self, ctx: WorkerContext) -> str:
            self.note("get_dependency")
            return f"dependency {self.label}"

        def worker_setup(self, ctx: WorkerContext) -> None:
            self.note("worker_setup")

        def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
            self.note("worker_result", f": {result if error is None else error}")

        def worker_teardown(self, ctx: WorkerContext) -> None:
            self.note("worker_teardown")

    return Provider


def make_service(hand: type[Any], journal: list[str], provider: Any = None, **options: Any) -> type:
    class Service:
        name = "service"
        dependency = provider

        @hand.decorator(**options)
        def method(self, value: Any = "value") -> Any:
            journal.append("method")
            if isinstance(value, BaseException):
                raise value
            return value

    return Service


def test_the_stages_have_their_order(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    fire(start(make_service(hand, journal, provider())), "method")
    assert journal == [
        "get_dependency",
        "worker_setup",
        "method",
        "encode",
        "worker_result : value",
        "settle",
        "worker_teardown",
    ]


def test_the_outcome_is_in_the_context(hand: type[Any], journal: list[str], start: Start, fire: Fire) -> None:
    ctx = fire(start(make_service(hand, journal)), "method", 7)
    assert (ctx.result, ctx.error, ctx.reply, ctx.settled) == (7, None, "result 7", True)


def test_an_error_of_the_method_is_its_outcome(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    ctx = fire(start(make_service(hand, journal, provider())), "method", KeyError("k"))
    assert (ctx.result, repr(ctx.error), ctx.reply) == (None, "KeyError('k')", "error 'k'")
    assert journal[-3:] == ["worker_result : 'k'", "settle", "worker_teardown"]


def test_each_call_has_a_service_instance_of_its_own(hand: type[Any], start: Start, fire: Fire) -> None:
    class Service:
        name = "service"

        @hand.decorator
        def method(self) -> Any:
            return self

    container = start(Service)
    assert fire(container, "method").result is not fire(container, "method").result


def test_the_dependency_is_in_its_attributes_place(
    hand: type[Any], provider: type[Any], start: Start, fire: Fire
) -> None:
    class Service:
        name = "service"
        dependency = provider("a")

        @hand.decorator
        def method(self) -> Any:
            return self.dependency

    assert fire(start(Service), "method").result == "dependency a"


@pytest.mark.parametrize("hook", ["get_dependency", "worker_setup", "worker_result"])
def test_an_error_in_a_hook_fails_that_call_with_the_cause(
    hook: str, hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    container = start(make_service(hand, journal, provider(broken=(hook,))))
    assert fire(container, "method").reply == f"error broken {hook}"
    assert journal[-2:] == ["settle", "worker_teardown"]
    assert fire(container, "method").reply == "result value"


@pytest.mark.parametrize("hook", ["get_dependency", "worker_setup"])
def test_after_an_error_before_it_the_method_is_not_called(
    hook: str, hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    fire(start(make_service(hand, journal, provider(broken=(hook,)))), "method")
    assert "method" not in journal


def test_a_result_that_cannot_be_encoded_is_not_committed(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    ctx = fire(start(make_service(hand, journal, provider(), broken=("encode",))), "method")
    assert ctx.reply == "error broken encode"
    assert journal[-5:] == ["encode", "encode", "worker_result : broken encode", "settle", "worker_teardown"]


def test_a_failed_commit_is_what_the_next_provider_hears(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    class Service:
        name = "service"
        a = provider("a", broken=("worker_result",))
        b = provider("b")

        @hand.decorator
        def method(self) -> Any:
            return 1

    fire(start(Service), "method")
    assert [line for line in journal if line.startswith("worker_result")] == [
        "worker_result a: 1",
        "worker_result b: broken worker_result",
    ]


def test_a_reply_that_cannot_be_sent_becomes_an_error_reply(
    hand: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    ctx = fire(start(make_service(hand, journal, broken=("settle",))), "method")
    assert journal == ["method", "encode", "settle", "encode", "settle"]
    assert (ctx.reply, ctx.settled) == ("error broken settle", True)


def test_what_cannot_be_settled_at_all_is_given_back(
    hand: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    ctx = fire(start(make_service(hand, journal, broken=("settle", "settle"))), "method")
    assert journal[-1] == "give back"
    assert ctx.settled is False


def test_an_error_in_the_teardown_reaches_the_log_and_nobody_else(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire, caplog: Any
) -> None:
    class Service:
        name = "service"
        a = provider("a", broken=("worker_teardown",))
        b = provider("b")

        @hand.decorator
        def method(self) -> Any:
            return 1

    ctx = fire(start(Service), "method")
    assert (ctx.reply, ctx.error) == ("result 1", None)
    assert journal[-1] == "worker_teardown b"
    assert f"worker_teardown failed after {ctx.call_id}" in caplog.text


def test_expected_exceptions_are_warnings_without_a_traceback(
    hand: type[Any], journal: list[str], start: Start, fire: Fire, caplog: pytest.LogCaptureFixture
) -> None:
    fire(start(make_service(hand, journal, expected_exceptions=KeyError)), "method", KeyError("k"))
    assert [(record.levelno, record.exc_info) for record in caplog.records] == [(logging.WARNING, None)]


def test_other_exceptions_are_errors_with_a_traceback(
    hand: type[Any], journal: list[str], start: Start, fire: Fire, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = fire(start(make_service(hand, journal, expected_exceptions=KeyError)), "method", ValueError("v"))
    record = caplog.records[0]
    assert (record.levelno, record.message) == (logging.ERROR, f"{ctx.call_id}: ValueError: v")
    assert record.exc_info is not None
    assert record.exc_info[1] is ctx.error


class Odd(BaseException):
    """Stands for eventlet's Timeout, which is no Exception."""


@pytest.mark.parametrize("error", [Odd("odd"), SystemExit(3), GeneratorExit()])
def test_an_error_that_is_no_exception_ends_the_call_alone(
    error: BaseException, hand: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    container = start(make_service(hand, journal))
    assert fire(container, "method", error).error is error
    assert fire(container, "method").reply == "result value"


@pytest.mark.parametrize("hook", ["get_dependency", "worker_setup", "worker_result"])
def test_an_error_in_a_hook_that_is_no_exception_is_the_outcome_too(
    hook: str, hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    """A commit that runs into a Timeout must not be answered with the result."""
    container = start(make_service(hand, journal, provider(broken=(hook,), error=Odd(hook))))
    assert fire(container, "method").reply == f"error {hook}"
    assert journal[-2:] == ["settle", "worker_teardown"]


def test_a_teardown_that_is_timed_out_leaves_the_others_their_turn(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    class Service:
        name = "service"
        a = provider("a", broken=("worker_teardown",), error=Odd("late"))
        b = provider("b")

        @hand.decorator
        def method(self) -> None: ...

    fire(start(Service), "method")
    assert journal[-2:] == ["worker_teardown a", "worker_teardown b"]


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_an_exception_without_words_ends_its_call(
    hand: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    """It would be given back, and come again without end."""
    ctx = fire(start(make_service(hand, journal, expected_exceptions=Mute)), "method", Mute())
    assert (ctx.settled, journal[-1]) == (True, "settle")


def test_an_interrupt_passes_through_and_the_call_is_given_back(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    container = start(make_service(hand, journal, provider()))
    # Tests in the background ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fire(container, "method", KeyboardInterrupt())
    finally:
        signal.signal(signal.SIGINT, before)
    assert journal[-2:] == ["give back", "worker_teardown"]


def test_an_interrupt_of_the_methods_own_ends_the_call_alone(
    hand: type[Any], journal: list[str], start: Start, fire: Fire
) -> None:
    """Where Ctrl-C has a handler it raises nothing: given back, the call would come again without end."""
    error = KeyboardInterrupt("mine")
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        assert fire(start(make_service(hand, journal)), "method", error).error is error
    finally:
        signal.signal(signal.SIGINT, before)
    assert journal[-1] == "settle"


def test_a_killed_worker_gives_its_call_back_and_tears_down(
    hand: type[Any], provider: type[Any], journal: list[str], start: Start
) -> None:
    entered, never = green().event(), green().event()

    class Service:
        name = "service"
        dependency = provider()

        @hand.decorator
        def method(self) -> Any:
            entered.set()
            never.wait()

    container = start(Service)
    ctx = container.spawn_worker(container.entrypoints[0])
    assert entered.wait(5)
    container.kill()
    assert journal[-2:] == ["give back", "worker_teardown"]
    assert ctx.settled is False
    assert ctx.call_id in str(ctx.error)


class Around:
    """A hook about the worker that writes down when it is passed."""

    def __init__(self, label: str, journal: list[str]) -> None:
        self.label = label
        self.journal = journal

    def around_worker(self, ctx: WorkerContext, call_next: Callable[[WorkerContext], Any]) -> Any:
        self.journal.append(f"into {self.label}")
        try:
            return call_next(ctx)
        finally:
            self.journal.append(f"out of {self.label}")


class AroundProvider(DependencyProvider, Around):
    """A dependency with such a hook."""

    def __init__(self, journal: list[str]) -> None:
        Around.__init__(self, "the dependency", journal)


def test_around_hooks_nest_with_the_dependencies_inside(
    hand: type[Any], journal: list[str], container_factory: Callable[..., ServiceContainer], fire: Fire
) -> None:
    service = make_service(hand, journal, AroundProvider(journal))
    container = container_factory(service, hooks=[Around("one", journal), Around("two", journal)])
    container.start()
    fire(container, "method")
    assert journal == [
        *("into one", "into two", "into the dependency"),
        *("method", "encode", "settle"),
        *("out of the dependency", "out of two", "out of one"),
    ]


def test_an_around_hook_may_answer_without_the_method(
    hand: type[Any], journal: list[str], container_factory: Callable[..., ServiceContainer], fire: Fire
) -> None:
    class Cached:
        def around_worker(self, ctx: WorkerContext, call_next: Callable[[WorkerContext], Any]) -> Any:
            ctx.answer("cached")
            return call_next(ctx)

    container = container_factory(make_service(hand, journal), hooks=[Cached()])
    container.start()
    assert fire(container, "method").reply == "result cached"
    assert "method" not in journal


def test_without_hooks_around_gives_the_call_itself() -> None:
    assert compose([], call) is call  # type: ignore[arg-type,comparison-overlap]


def test_hooks_that_do_nothing_are_not_called() -> None:
    class Silent(DependencyProvider):
        """Has no hooks."""

    plan = WorkerPlan(object, [Silent()], DEFAULT_STAGES)
    assert (plan.setups, plan.results, plan.teardowns) == ([], [], [])


def test_a_container_may_have_stages_of_its_own(hand: type[Any], journal: list[str], fire: Fire) -> None:
    def measure(plan: WorkerPlan, ctx: WorkerContext) -> None:
        journal.append("measure")

    class Measuring(ServiceContainer):
        stages: tuple[Stage, ...] = (*DEFAULT_STAGES, measure)

    container = Measuring(make_service(hand, journal))
    container.start()
    fire(container, "method")
    container.stop()
    assert journal == ["method", "encode", "settle", "measure"]


def test_a_service_class_that_cannot_be_made_fails_the_call_and_not_the_container(
    hand: type[Any], start: Start, fire: Fire
) -> None:
    class Service:
        name = "service"

        def __init__(self, needed: int) -> None:
            """Needs what nobody gives."""

        @hand.decorator
        def method(self) -> Any: ...

    container = start(Service)
    assert "needed" in str(fire(container, "method").reply)
    assert container.wait(0) is False
