"""Calls within one process: what comes of each is what comes of it by the broker, but the broker sees nothing of it."""

import contextvars
import datetime
import decimal
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Counting, Echo, OutOfStock, Slow, counted, journal_of, wait_for_end
from waiting import wait_until

from rpcservice import ClusterRpc, DependencyProvider, Requeue, ServiceRpc
from rpcservice import rpc as rpc_method
from rpcservice.amqp.replies import ReplyListener
from rpcservice.concurrency import green
from rpcservice.core.context import current_worker
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import DeadlineExceeded, RemoteError, RpcTimeout, WorkerTimeout
from rpcservice.testing import dummy, entrypoint_hook

pytestmark = pytest.mark.usefixtures("broker")

Start = Callable[..., ServiceRunner]


class Asking:
    """Calls either way."""

    name = "asking"
    far = ClusterRpc()
    near = ClusterRpc(prefer_local=True)

    @dummy
    def run(self, function: Callable[[Any], Any], way: str) -> Any:
        return function(getattr(self, way))


class ContextProvider(DependencyProvider):
    def get_dependency(self, ctx: Any) -> Any:
        return ctx


class Odd:
    """Shows what it gets, and fails in more ways than most services."""

    name = "odd"
    ctx = ContextProvider()

    @rpc_method
    def message(self) -> Any:
        message = self.ctx.message
        deadline = "rpcservice-deadline" in message.headers
        properties = {
            key: str(value)
            for key, value in message.properties.items()
            if key not in ("headers", "correlation_id", "message_id", "reply_to")
        }
        headers = {key: repr(value) for key, value in message.headers.items() if "call_id" not in key}
        headers.pop("rpcservice-deadline", None)
        stack = [call_id.rpartition(".")[0] for call_id in self.ctx.call_id_stack]
        return [message.routing_key, message.exchange, message.redelivered, properties, headers, deadline, stack]

    @rpc_method
    def data(self) -> Any:
        return {key: repr(value) for key, value in self.ctx.data.items()}

    @rpc_method
    def raise_exit(self) -> None:
        raise SystemExit("leave")

    @rpc_method
    def raise_odd(self) -> None:
        raise ValueError("ü", 1, {"a": (1, 2)}, object)

    @rpc_method(expected_exceptions=KeyError)
    def raise_expected(self) -> None:
        raise KeyError("expected")

    @rpc_method(time_limit=0.05)
    def last(self) -> None:
        green().event().wait(10)

    @rpc_method
    def deadline(self) -> float | None:
        deadline: float | None = self.ctx.deadline
        return deadline


@pytest.fixture
def ask(start: Start) -> Callable[..., Any]:
    """Call services of one runner: ``ask("near", lambda client: client.echo.add(1))``, or ``"far"``."""

    def run(way: str, function: Callable[[Any], Any], **context_data: Any) -> Any:
        with entrypoint_hook(run.runner.containers["asking"], "run", context_data) as hook:  # type: ignore[attr-defined]
            return hook(function, way)

    def make(*services: type, **settings: Any) -> ServiceRunner:
        run.runner = start(Asking, *services, **settings)  # type: ignore[attr-defined]
        made: ServiceRunner = run.runner  # type: ignore[attr-defined]
        return made

    run.start = make  # type: ignore[attr-defined]
    return run


def outcome(function: Callable[[], Any]) -> Any:
    """Give the kind and the text of what comes of a call, with what an error has besides."""
    try:
        return repr(function())
    except Exception as exc:
        parts = {key: repr(value) for key, value in vars(exc).items()}
        return type(exc), str(exc), repr(exc.args), parts, getattr(exc, "maybe_executed", None)


# What comes of them

CALLS: dict[str, Callable[[Any], Any]] = {
    "a_result": lambda client: client.echo.add(1, right=2),
    "an_item": lambda client: client["echo"]["add"](1),
    "values": lambda client: client.echo.args(
        None, True, -1.5, "ü€\ud83e", [1, [2]], {"a": {"b": []}}, 2**70, k=(1, 2)
    ),
    "keys": lambda client: client.echo.args({1: "a", None: "b"}),
    "dates": lambda client: client.echo.args(datetime.datetime(2024, 2, 29, 1, 2, 3, 4), decimal.Decimal("1.10")),
    "nan": lambda client: client.echo.args(float("nan"), float("-inf")),
    "an_unserializable_argument": lambda client: client.echo.args({1, 2}),
    "an_unserializable_result": lambda client: client.echo.odd(),
    "an_unknown_method": lambda client: client.echo.nothing(),
    "an_unknown_service": lambda client: client.nobody.add(1),
    "too_many_arguments": lambda client: client.echo.add(1, 2, 3),
    "wrong_keywords": lambda client: client.echo.add(up=1),
    "a_failure": lambda client: client.echo.fail("a", 1, None),
    "an_odd_failure": lambda client: client.odd.raise_odd(),
    "an_expected_failure": lambda client: client.odd.raise_expected(),
    "an_exit": lambda client: client.odd.raise_exit(),
    "a_registered_failure": lambda client: client.echo.run_out(),
    "a_failure_that_is_built_otherwise": lambda client: client.echo.need_more(),
    "a_large_result": lambda client: client.echo.large(5000),
    "a_large_failure": lambda client: client.echo.fail_large(5000),
    "a_large_argument": lambda client: client.echo.args("x" * 5000),
    "a_time_limit": lambda client: client.odd.last(),
    "a_message": lambda client: client.odd.message(),
    "options": lambda client: client.odd.message.with_options(priority=3, delivery_mode=1, headers={"own": 1})(),
    "another_serializer": lambda client: client.odd.message.with_options(serializer="yaml")(),
    "a_serializer_that_is_not_accepted": lambda client: client.echo.add.with_options(serializer="pickle")(1),
    "compression": lambda client: client.odd.message.with_options(compression="gzip")(),
    "expiration": lambda client: client.odd.message.with_options(expiration=60)(),
    "for_ever": lambda client: client.odd.message.with_options(timeout=None)(),
    "no_time": lambda client: client.odd.message.with_options(timeout=0)(),
    "large_headers": lambda client: client.odd.message.with_options(headers={"x": "y" * 200_000})(),
    "a_long_name": lambda client: client.odd["x" * 300](),
    "started": lambda client: [call.result() for call in [client.echo.add.call_async(n) for n in range(5)]],
    "asked_twice": lambda client: [client.echo.fail.call_async(1)] and client.echo.fail.call_async(2).result(),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_outcome_is_the_same(ask: Any, name: str) -> None:
    ask.start(Echo, Odd, max_message_size=4000, ACCEPT=["json", "yaml"])
    call = CALLS[name]
    near, far = (ask(way, lambda client: outcome(lambda: call(client)), language="de") for way in ("near", "far"))
    assert near == far


CONTEXTS: dict[str, Any] = {
    "texts": "ü",
    "long": "x" * 1000,
    "whole": 7,
    "large": 2**40,
    "larger_than_amqp_knows": 2**70,
    "truth": True,
    "broken": 1.5,
    "nothing": None,
    "list": ["a", 1, [None, {"b": ("c",)}]],
    "texts_in_a_list": ["a", "b"],
    "table": {"a": {"b": [1]}},
    "bytes": b"\xff",
    "date": datetime.datetime(2024, 2, 29, 1, 2, 3, 4),
    "decimal": decimal.Decimal("1.10"),
    "set": {1},
    "object": Echo,
    "half_a_pair": "\ud83e",
    "half_a_pair_in_a_list": ["\ud83e"],
    "no_text": "\x00\x7f",
    "too_much": ["x" * 100] * 2000,
}


@pytest.mark.parametrize(
    "key", ["", "x" * 200, "x" * 300, "ü" * 130, "\ud83e", "x.y", "nameko.x", "rpcservice-x", "x-death"]
)
def test_context_data_arrive_by_the_same_names(ask: Any, key: str) -> None:
    ask.start(Odd)
    near, far = (
        ask(way, lambda client: outcome(lambda: client.odd.data()), **{key: "a value"}) for way in ("near", "far")
    )
    assert near == far


@pytest.mark.parametrize("name", CONTEXTS)
def test_context_data_arrive_the_same(ask: Any, name: str) -> None:
    """As they would come out of a frame: a date has whole seconds, a tuple is a list, and a set is an error."""
    ask.start(Odd)
    near, far = (
        ask(way, lambda client: outcome(lambda: client.odd.data()), subject=CONTEXTS[name]) for way in ("near", "far")
    )
    assert near == far


def test_context_data_are_the_calls_own(ask: Any) -> None:
    """What the service adds, or changes within, does not show at the caller."""

    class Changing:
        name = "changing"
        ctx = ContextProvider()

        @rpc_method
        def change(self) -> None:
            self.ctx.context_data["subject"].append("more")
            self.ctx.message.headers["nameko.subject"].append("more")
            self.ctx.context_data["new"] = 1

    ask.start(Changing)
    given = ["a"]

    def call(client: Any) -> Any:
        client.changing.change()
        return dict(client._ctx.data)

    assert ask("near", call, subject=given) == {"subject": ["a"]}
    assert given == ["a"]


def test_arguments_and_results_are_no_ones_else(ask: Any) -> None:
    kept: list[Any] = []

    class Keeping:
        name = "keeping"

        @rpc_method
        def keep(self, items: list[int]) -> list[int]:
            items.append(2)
            kept.append(items)
            return items

    ask.start(Keeping)
    given = [1]
    result = ask("near", lambda client: client.keeping.keep(given))
    result.append(3)
    assert (given, kept, result) == ([1], [[1, 2]], [1, 2, 3])


def test_arguments_are_those_of_the_moment_of_the_call(ask: Any) -> None:
    ask.start(Echo)

    def call(client: Any) -> Any:
        items = [1]
        started = client.echo.args.call_async(items)
        items.append(2)
        return started.result()

    assert ask("near", call) == {"args": [[1]], "kwargs": {}}


def test_the_broker_sees_nothing_of_it(ask: Any, wire: Any) -> None:
    ask.start(Echo)
    seen = wire.tap("nameko-rpc")
    assert ask("near", lambda client: client.echo.add(1)) == 2
    assert ask("far", lambda client: client.echo.add(2)) == 3
    assert json.loads(seen.take().body) == {"args": [2], "kwargs": {}}
    assert json.loads(seen.take().body) == {"result": 3, "error": None}
    assert len(seen) == 0


# The worker


@pytest.mark.parametrize("way", ["near", "far"])
def test_the_stages_of_the_worker_are_the_same(ask: Any, way: str) -> None:
    runner = ask.start(counted())
    assert ask(way, lambda client: client.counted.add(1)) == 2
    assert wait_for_end(journal_of(runner)) == [
        "get_dependency",
        "worker_setup",
        "method",
        "result 2",
        "worker_result",
        "worker_teardown",
    ]


@pytest.mark.parametrize("way", ["near", "far"])
@pytest.mark.parametrize("broken", ["get_dependency", "worker_setup", "worker_result", "worker_teardown"])
def test_a_provider_that_fails_has_the_same_effect(ask: Any, broken: str, way: str) -> None:
    runner = ask.start(counted(broken))
    found = ask(way, lambda client: outcome(lambda: client.counted.add(1)))
    assert found == "2" if broken == "worker_teardown" else found[1] == f"RuntimeError broken {broken}"
    wait_for_end(journal_of(runner))


def test_the_worker_has_context_variables_of_its_own(ask: Any) -> None:
    variable = contextvars.ContextVar("variable", default="none")

    class Looking:
        name = "looking"

        @rpc_method
        def look(self) -> list[Any]:
            worker = current_worker.get()
            return [variable.get(), None if worker is None else worker.service_name]

    ask.start(Looking)

    def call(client: Any) -> Any:
        variable.set("the caller's")
        return client.looking.look()

    assert ask("near", call) == ["none", "looking"]


class Tracing(DependencyProvider):
    """Puts a header on what goes out, and notes who sees what."""

    seen: list[Any] = []

    def around_publish(self, message: Any, call_next: Callable[[Any], Any]) -> Any:
        kind = "reply" if hasattr(message, "was_sent") else message.routing_key
        message.headers["rpcservice-trace"] = kind
        self.seen.append(f"publish {kind}")
        return call_next(message)

    def around_receipt(self, delivery: Any, call_next: Callable[[Any], Any]) -> Any:
        worker = current_worker.get()
        self.seen.append(f"receipt {delivery.headers.get('rpcservice-trace')} by {worker and worker.service_name}")
        return call_next(delivery)

    def around_worker(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
        if ctx.service_name == "traced":
            self.seen.append(f"worker {ctx.message.headers.get('rpcservice-trace')}")
        call_next(ctx)


@pytest.mark.parametrize("way", ["near", "far"])
def test_around_hooks_of_both_sides_see_the_call(start: Start, way: str) -> None:
    Tracing.seen = []

    class Traced(Echo):
        name = "traced"
        tracing = Tracing()

    class AskingTraced(Asking):
        tracing = Tracing()

    runner = start(Traced, AskingTraced)
    with entrypoint_hook(runner.containers["asking"], "run") as run:
        assert run(lambda client: client.traced.add(1), way) == 2
    assert Tracing.seen == ["publish traced.add", "receipt traced.add by None", "worker traced.add", "publish reply"]


@pytest.mark.parametrize("way", ["near", "far"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("hook", ["around_publish", "around_receipt"])
def test_a_hook_that_fails_has_the_same_effect(ask: Any, hook: str, when: str, way: str) -> None:
    class Failing(DependencyProvider):
        def __getattr__(self, name: str) -> Any:
            if name != hook:
                raise AttributeError(name)

            def around(subject: Any, call_next: Callable[[Any], Any]) -> Any:
                if when == "before":
                    raise RuntimeError(f"broken {hook}")
                call_next(subject)
                raise RuntimeError(f"broken {hook}")

            return around

    class Hooked(Echo):
        name = "hooked"
        failing = Failing()

    ask.start(Hooked)
    found = ask(way, lambda client: outcome(lambda: client.hooked.add(1)))
    if when == "after":
        assert found == "2"
    else:
        assert found[:2] == (RemoteError, f"RuntimeError broken {hook}")


class Keeping(DependencyProvider):
    """Keeps requests back that ask for it."""

    kept: list[Any] = []

    def around_receipt(self, delivery: Any, call_next: Callable[[Any], Any]) -> Any:
        if b"keep" in delivery.body:
            self.kept.append(lambda: call_next(delivery))
            return None
        return call_next(delivery)


class Kept(Echo):
    name = "kept"
    keeping = Keeping()


@pytest.mark.parametrize("way", ["near", "far"])
def test_what_a_hook_does_not_pass_on_ends_with_its_caller(ask: Any, way: str) -> None:
    Keeping.kept = []
    runner = ask.start(Kept)

    def call(client: Any) -> None:
        with pytest.raises(RpcTimeout):
            client.kept.add.with_options(timeout=0.2)("keep")

    ask(way, call)
    assert len(Keeping.kept) == 1
    assert_nothing_is_under_way(runner)
    assert ask(way, lambda client: client.kept.add(1)) == 2


@pytest.mark.parametrize("way", ["near", "far"])
def test_what_a_hook_passes_on_too_late_reaches_nobody(ask: Any, way: str) -> None:
    Keeping.kept = []
    runner = ask.start(Kept, clock_skew=0)

    def call(client: Any) -> Any:
        call = client.kept.add.with_options(timeout=0.2).call_async("keep")
        with pytest.raises(RpcTimeout):
            call.result()
        return call

    call = ask(way, call)
    (pass_on,) = Keeping.kept
    pass_on()
    wait_until(lambda: replies_of(runner).unclaimed == 1, "the late reply")
    with pytest.raises(RpcTimeout):
        call.result()
    assert_nothing_is_under_way(runner)


def replies_of(runner: ServiceRunner) -> ReplyListener:
    return next(resource for resource in runner.resources if isinstance(resource, ReplyListener))


def assert_nothing_is_under_way(runner: ServiceRunner) -> None:
    assert replies_of(runner)._pending == {}
    wait_until(lambda: not any(container.pool.running for container in runner.containers.values()), "the workers")
    assert not any(container.pool.waiting for container in runner.containers.values())


def test_what_goes_wrong_is_logged_the_same(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    ask.start(Echo, Odd)

    def lines(way: str) -> list[tuple[str, str]]:
        caplog.clear()
        for name in ("a_failure", "an_expected_failure", "too_many_arguments", "an_unserializable_result"):
            ask(way, lambda client, name=name: outcome(lambda: CALLS[name](client)))
        texts = [(record.levelname, record.getMessage()) for record in caplog.records]
        return [(level, text.partition(":")[0].rpartition(".")[0] + text.partition(":")[2]) for level, text in texts]

    with caplog.at_level(logging.WARNING, "rpcservice"):
        near, far = lines("near"), lines("far")
    assert near == far
    assert len(near) >= 4


# Time


def test_a_call_that_takes_too_long_ends_and_the_method_goes_on(ask: Any) -> None:
    Slow.go = green().event()
    ended = []

    class Lasting(Slow):
        name = "lasting"

        @rpc_method
        def wait(self) -> str:
            answer = super().wait()
            ended.append(answer)
            return answer

    ask.start(Lasting)

    def call(client: Any) -> Any:
        return outcome(lambda: client.lasting.wait.with_options(timeout=0.05)())

    near, far = ask("near", call), ask("far", call)
    assert (near, near[0], near[-1]) == (far, RpcTimeout, True)
    Slow.go.set()
    wait_until(lambda: ended == ["late", "late"], "the end of both methods")


def test_a_late_reply_is_dropped_and_counted(ask: Any) -> None:
    Slow.go = green().event()
    runner = ask.start(Slow)
    replies = runner.containers["asking"].dependencies[1].replies  # type: ignore[attr-defined]

    def call(client: Any) -> Any:
        return outcome(lambda: client.slow.wait.with_options(timeout=0.05)())

    assert ask("near", call)[0] is RpcTimeout
    assert (replies.unclaimed, replies._pending) == (0, {})
    Slow.go.set()
    wait_until(lambda: replies.unclaimed == 1, "the late reply")


def test_a_deadline_is_inherited(ask: Any) -> None:
    class Relay:
        name = "relay"
        odd = ServiceRpc("odd", prefer_local=True)
        ctx = ContextProvider()

        @rpc_method
        def relay(self) -> list[Any]:
            return [self.ctx.deadline, self.odd.deadline(), self.odd.deadline.with_options(timeout=1)()]

    ask.start(Relay, Odd)
    own, inherited, sooner = ask("near", lambda client: client.relay.relay.with_options(timeout=5)())
    assert inherited == own
    assert sooner < own - 3


def test_nothing_is_begun_for_a_caller_whose_time_is_up(ask: Any) -> None:
    """The request waits for a worker for longer than its caller waits for the reply."""
    Slow.go = green().event()
    runs = []

    class Busy(Slow):
        name = "busy"

        @rpc_method
        def note(self) -> None:
            runs.append(1)

    ask.start(Busy, max_workers=1, clock_skew=0)

    def call(client: Any) -> Any:
        first = client.busy.wait.call_async()
        wait_until(lambda: client.busy._provider.bound_to, "the worker")
        refused = outcome(lambda: client.busy.note.with_options(timeout=0.05)())
        Slow.go.set()
        assert first.result() == "late"
        assert client.busy.quick() == "quick"
        return refused[0]

    assert ask("near", call) is RpcTimeout
    assert runs == []


def test_a_relay_that_has_no_time_left_calls_nobody(ask: Any) -> None:
    class Late:
        name = "late"
        echo = ServiceRpc("echo", prefer_local=True)

        @rpc_method
        def relay(self) -> str:
            green().sleep(0.2)
            try:
                self.echo.add(1)
            except DeadlineExceeded as exc:
                seen.append(exc)
            return "done"

    seen: list[Exception] = []
    ask.start(Late, Echo, clock_skew=0)
    assert ask("near", lambda client: outcome(lambda: client.late.relay.with_options(timeout=0.1)()))[0] is RpcTimeout
    wait_until(lambda: seen, "the error")


# Workers


def test_at_most_max_workers_run_and_the_rest_waits_in_order(ask: Any) -> None:
    running: list[int] = []
    most = []
    order = []

    class Narrow:
        name = "narrow"

        @rpc_method
        def work(self, number: int) -> int:
            running.append(number)
            most.append(len(running))
            order.append(number)
            green().sleep(0.001)
            running.remove(number)
            return number

    ask.start(Narrow, max_workers=2)

    def call(client: Any) -> Any:
        return [call.result() for call in [client.narrow.work.call_async(number) for number in range(20)]]

    assert ask("near", call) == list(range(20))
    assert max(most) == 2
    assert order == list(range(20))


def test_a_service_may_call_itself(ask: Any) -> None:
    class Counter:
        name = "counter"
        own = ServiceRpc("counter", prefer_local=True)

        @rpc_method
        def count(self, number: int) -> int:
            return 0 if number == 0 else 1 + self.own.count(number - 1)

    ask.start(Counter)
    assert ask("near", lambda client: client.counter.count(5)) == 5


def test_callbacks_are_told_and_results_are_kept(ask: Any) -> None:
    ask.start(Echo)

    def call(client: Any) -> Any:
        told: list[Any] = []
        started = client.echo.add.call_async(1)
        started.add_done_callback(lambda call: told.append(call.result()))
        failed = client.echo.run_out.call_async()
        assert [started.result(), started.result(), started.is_done(), started.was_answered] == [2, 2, True, True]
        errors = [outcome(failed.result)[0] for _ in range(2)]
        return [told, errors]

    assert ask("near", call) == [[2], [OutOfStock, OutOfStock]]


@pytest.mark.parametrize("arguments", [(1,), (1, 2, 3)], ids=["carried_out", "refused"])
def test_one_call_after_the_other_lets_sockets_have_their_turn(ask: Any, arguments: tuple[int, ...]) -> None:
    """Calls that never wait for anything else must not keep heartbeats and other requests waiting."""
    ask.start(Echo)
    here, there = socket.socketpair()
    received: list[bytes] = []
    reading = green().spawn(lambda: received.append(here.recv(1)))

    def call(client: Any) -> int:
        there.send(b"x")
        return next(count for count in range(1000) if outcome(lambda: client.echo.add(*arguments)) and received)

    assert ask("near", call) < 20
    assert reading.wait(10)
    here.close()
    there.close()


def test_a_callback_belongs_to_no_worker(ask: Any) -> None:
    ask.start(Echo)
    workers: list[Any] = []

    def call(client: Any) -> Any:
        started = client.echo.add.call_async(1)
        started.add_done_callback(lambda call: workers.append(current_worker.get()))
        return started.result()

    assert ask("near", call) == 2
    assert workers == [None]


def test_a_call_whose_caller_is_gone_is_carried_out(ask: Any) -> None:
    done = []

    class Doing:
        name = "doing"

        @rpc_method
        def work(self) -> None:
            done.append(1)

    ask.start(Doing)
    ask("near", lambda client: client.doing.work.call_async() and None)
    wait_until(lambda: done == [1], "the work")


def test_the_reply_comes_by_a_publishing_connection_of_its_own_too(ask: Any, wire: Any) -> None:
    ask.start(Echo, publish_connection="dedicated")
    seen = wire.tap("nameko-rpc")
    assert ask("near", lambda client: client.echo.add(1)) == 2
    assert len(seen) == 0


def test_a_time_limit_is_the_services_own(ask: Any) -> None:
    ask.start(Odd)
    found = ask("near", lambda client: outcome(lambda: client.odd.last()))
    assert found[0] is RemoteError
    assert WorkerTimeout.__name__ in found[1]


def test_a_request_that_asks_for_another_turn_comes_again(ask: Any) -> None:
    """By way of the broker, which also keeps pauses."""
    turns: list[bool] = []

    class Turning:
        name = "turning"
        ctx = ContextProvider()

        @rpc_method
        def turn(self, delay: float | None) -> str:
            turns.append(self.ctx.message.is_local)
            if len(turns) == 1:
                raise Requeue(delay=delay) if delay else Requeue()
            return "second"

    ask.start(Turning)
    for delay in (None, 0.05):
        turns.clear()
        assert ask("near", lambda client, delay=delay: client.turning.turn(delay)) == "second"
        assert turns == [True, False]


def test_counting_providers_are_those_of_the_service(ask: Any) -> None:
    """One container, one set of providers, whichever way a call comes."""
    runner = ask.start(counted())
    for way in ("near", "far"):
        ask(way, lambda client: client.counted.add(1))
    journal = journal_of(runner)
    wait_until(lambda: journal.count("worker_teardown") == 2, "both workers")
    assert isinstance(runner.containers["counted"].dependencies[0], Counting)
