"""The order of a worker of @rpc, around-hooks, and the context data that travel with calls."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Counting, Echo, counted, journal_of, wait_for_end
from waiting import wait_until

from rpcservice import DependencyProvider, ServiceRpc, event_handler, rpc
from rpcservice import rpc as rpc_method
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import UnserializableValueError

pytestmark = pytest.mark.usefixtures("broker")

Start = Callable[..., ServiceRunner]


def watched(journal: list[str], *broken: str) -> type:
    class Watching(Counting):
        def bind(self, host: Any, attr_name: str) -> Any:
            bound = super().bind(host, attr_name)
            bound.journal = journal
            return bound

        def around_receipt(self, delivery: Any, call_next: Callable[[Any], Any]) -> Any:
            delivery.channel = _Noting(delivery.channel, journal)
            return call_next(delivery)

        def around_publish(self, message: Any, call_next: Callable[[Any], Any]) -> Any:
            journal.append("reply")
            if message.channel is not None:
                message.channel = message.channel.channel
            return call_next(message)

    class _Result:
        def __json__(self) -> str:
            journal.append("encode")
            return "done"

    class Watched:
        name = "watched"
        note = Watching(*broken)

        @rpc_method
        def work(self) -> _Result:
            self.note("method")
            return _Result()

    return Watched


class _Noting:
    """Notes acks on their way to a channel."""

    def __init__(self, channel: Any, journal: list[str]) -> None:
        self.channel = channel
        self.journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    def ack(self, *args: Any) -> None:
        self.journal.append("ack")
        self.channel.ack(*args)


def test_the_stages_of_a_worker_come_in_order(start: Start, rpc: Any) -> None:
    journal: list[str] = []
    start(watched(journal))
    assert rpc.watched.work() == "done"
    wait_for_end(journal)
    outcome = journal.pop(journal.index("worker_result") - 1)
    assert outcome.startswith("result <")
    assert journal == [
        "get_dependency",
        "worker_setup",
        "method",
        "encode",
        "worker_result",
        "reply",
        "ack",
        "worker_teardown",
    ]


def test_a_result_that_cannot_be_encoded_is_no_success_to_the_hooks(start: Start, rpc: Any) -> None:
    runner = start(counted())
    with pytest.raises(UnserializableValueError):
        rpc.counted.odd()
    assert wait_for_end(journal_of(runner)) == [
        "get_dependency",
        "worker_setup",
        "method",
        "error UnserializableValueError",
        "worker_result",
        "worker_teardown",
    ]


# Around-hooks


class Tracing(DependencyProvider):
    """Puts a header on what goes out, and notes what comes in."""

    seen: list[Any] = []

    def around_publish(self, message: Any, call_next: Callable[[Any], Any]) -> Any:
        message.headers["rpcservice-trace"] = message.routing_key
        return call_next(message)

    def around_receipt(self, delivery: Any, call_next: Callable[[Any], Any]) -> Any:
        self.seen.append(delivery.headers.get("rpcservice-trace"))
        return call_next(delivery)

    def around_worker(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
        self.seen.append(ctx.entrypoint.method_name)
        call_next(ctx)
        self.seen.append(ctx.result)


def test_around_hooks_see_every_publish_receipt_and_worker(start: Start, caller: type, run_in: Any) -> None:
    Tracing.seen = []

    class Traced(Echo):
        name = "traced"
        tracing = Tracing()

    class TracedCaller(caller):  # type: ignore[misc, valid-type]
        tracing = Tracing()

    runner = start(Traced, TracedCaller)
    assert run_in(runner, lambda caller: caller.cluster.traced.add(1)) == 2
    assert Tracing.seen == ["run", "traced.add", "add", 2, 2]


def test_an_around_worker_hook_may_answer_for_the_method(start: Start, rpc: Any) -> None:
    class Cache(DependencyProvider):
        def around_worker(self, ctx: Any, call_next: Callable[[Any], Any]) -> Any:
            ctx.answer("from the cache")
            return call_next(ctx)

    class Cached:
        name = "cached"
        cache = Cache()

        @rpc_method
        def work(self) -> str:
            raise AssertionError("the method was called")

    start(Cached)
    assert rpc.cached.work() == "from the cache"


# Context data


class Faulty(DependencyProvider):
    """Fails in one around-hook, before or after the rest has had its turn, as often as it is told to."""

    def __init__(self, hook: str, when: str, times: int = 1 << 30) -> None:
        self.hook, self.when, self.times = hook, when, times

    def pass_on(self, hook: str, subject: Any, call_next: Callable[[Any], Any]) -> Any:
        fails = hook == self.hook and self.times > 0
        self.times -= fails
        if fails and self.when == "before":
            raise RuntimeError(f"broken {hook}")
        if fails and self.when == "instead":
            return None
        result = call_next(subject)
        if fails:
            raise RuntimeError(f"broken {hook}")
        return result

    def around_publish(self, message: Any, call_next: Callable[[Any], Any]) -> Any:
        return self.pass_on("around_publish", message, call_next)

    def around_receipt(self, delivery: Any, call_next: Callable[[Any], Any]) -> Any:
        return self.pass_on("around_receipt", delivery, call_next)


def faulty(hook: str, when: str, seen: Any = None, times: int = 1 << 30) -> type:
    class FaultyService(Echo):
        name = "faulty"
        fault = Faulty(hook, when, times)

        @event_handler("shop", "placed", requeue_on_error=times < 10)
        def handle(self, payload: Any) -> None:
            seen(payload)

    return FaultyService


def is_drained(wire: Any, queue: str) -> bool:
    """Say whether nothing is left in a queue once its only consumer has gone."""
    return bool(wire.channel.declare_queue(queue).messages == 0)


@pytest.mark.parametrize("hook", ["around_publish", "around_receipt"])
@pytest.mark.parametrize("app_id", ["rpcservice", "nameko"])
def test_a_hook_that_fails_first_fails_the_call_with_its_cause(
    start: Start, wire: Any, hook: str, app_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    runner = start(faulty(hook, "before"))
    for _ in range(2):
        error = json.loads(wire.request("faulty.add", b'{"args": [1], "kwargs": {}}', app_id=app_id).body)["error"]
        assert (error["exc_type"], error["value"]) == ("RuntimeError", f"broken {hook}")
    assert f"broken {hook}" in caplog.text
    runner.stop()
    assert is_drained(wire, "rpc-faulty")


@pytest.mark.parametrize("hook", ["around_publish", "around_receipt"])
@pytest.mark.parametrize("app_id", ["rpcservice", "nameko"])
def test_a_hook_that_fails_afterwards_changes_nothing(
    start: Start, wire: Any, hook: str, app_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    runner = start(faulty(hook, "after"))
    for _ in range(2):
        reply = wire.request("faulty.add", b'{"args": [1], "kwargs": {}}', app_id=app_id)
        assert json.loads(reply.body) == {"result": 2, "error": None}
    assert f"broken {hook}" in caplog.text
    runner.stop()
    assert is_drained(wire, "rpc-faulty")


@pytest.mark.parametrize("app_id", ["rpcservice", "nameko"])
def test_a_request_whose_reply_a_hook_keeps_back_is_done_with(start: Start, wire: Any, app_id: str) -> None:
    runner = start(faulty("around_publish", "instead", times=1))
    body, nobody = b'{"args": [1], "kwargs": {}}', {"content_type": "application/json", "reply_to": "nobody"}
    wire.publish("nameko-rpc", "faulty.add", body, app_id=app_id, **nobody)
    assert json.loads(wire.request("faulty.add", body, app_id=app_id).body)["result"] == 2
    runner.stop()
    assert is_drained(wire, "rpc-faulty")


def test_a_hook_that_fails_on_a_bad_request_is_what_the_caller_learns(start: Start, wire: Any) -> None:
    start(faulty("around_publish", "before"))
    error = json.loads(wire.request("faulty.add", b"{").body)["error"]
    assert (error["exc_type"], error["value"]) == ("RuntimeError", "broken around_publish")


def test_a_hook_that_fails_first_drops_the_event(
    start: Start, dispatch: Any, wire: Any, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runner = start(faulty("around_receipt", "before", inbox()))
    dispatch("shop", "placed", "lost")
    wait_until(lambda: "broken around_receipt" in caplog.text, "the hook")
    runner.stop()
    assert is_drained(wire, "evt-shop-placed--faulty.handle")


def test_requeue_on_error_covers_hooks_too(start: Start, dispatch: Any, wire: Any, inbox: Any) -> None:
    seen = inbox()
    runner = start(faulty("around_receipt", "before", seen, times=3))
    dispatch("shop", "placed", "again")
    assert seen.take() == "again"
    runner.stop()
    assert is_drained(wire, "evt-shop-placed--faulty.handle")


def test_a_hook_that_fails_after_the_event_was_taken_changes_nothing(
    start: Start, dispatch: Any, wire: Any, inbox: Any
) -> None:
    seen = inbox()
    runner = start(faulty("around_receipt", "after", seen, times=2))
    dispatch("shop", "placed", "once")
    dispatch("shop", "placed", "twice")
    assert [seen.take(), seen.take()] == ["once", "twice"]
    runner.stop()
    assert not seen
    assert is_drained(wire, "evt-shop-placed--faulty.handle")


class Contexts:
    name = "contexts"
    echo_context = ServiceRpc("contexts_end")

    @rpc
    def through(self) -> Any:
        return self.echo_context.show()


class ShowContext(DependencyProvider):
    def get_dependency(self, ctx: Any) -> Any:
        return dict(ctx.context_data)


class ContextsEnd:
    name = "contexts_end"
    context = ShowContext()

    @rpc
    def show(self) -> Any:
        return self.context


def test_context_data_travels_through_every_call(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Contexts, ContextsEnd, caller)
    given = {"language": "de", "user_id": 7, "auth_token": "t", "own": ["a", "b"], "flag": True}
    seen = run_in(runner, lambda caller: caller.cluster.contexts.through(), **given)
    stack = seen.pop("call_id_stack")
    assert seen == given
    assert [call_id.rsplit(".", 1)[0] for call_id in stack] == ["caller.run", "contexts.through", "contexts_end.show"]


def test_context_data_that_is_none_stays_behind(start: Start, caller: type, run_in: Any) -> None:
    runner = start(ContextsEnd, caller)
    seen = run_in(runner, lambda caller: caller.cluster.contexts_end.show(), language=None, own=1)
    assert (seen.keys(), seen["own"]) == ({"call_id_stack", "own"}, 1)


def test_the_call_stack_keeps_the_last_calls(start: Start, caller: type, run_in: Any) -> None:
    runner = start(ContextsEnd, caller, parent_calls_tracked=2)
    stack = run_in(
        runner, lambda caller: caller.cluster.contexts_end.show(), call_id_stack=[f"old.call.{n}" for n in range(5)]
    )["call_id_stack"]
    assert [call_id.rsplit(".", 1)[0] for call_id in stack] == ["old.call", "caller.run", "contexts_end.show"]
    assert stack[0] == "old.call.4"


def test_headers_with_and_without_prefix_become_context_data(start: Start, wire: Any) -> None:
    start(ContextsEnd)
    headers = {"nameko.language": "de", "bare": "x", "nameko.call_id_stack": ["a.b.1"]}
    seen = json.loads(wire.request("contexts_end.show", headers=headers).body)["result"]
    assert (seen["language"], seen["bare"], seen["call_id_stack"][0]) == ("de", "x", "a.b.1")


@pytest.mark.parametrize("prefix", ["", "nameko."])
def test_our_own_headers_and_the_brokers_are_no_context_data(start: Start, wire: Any, prefix: str) -> None:
    start(ContextsEnd)
    headers = {f"{prefix}rpcservice-retry": 1, f"{prefix}x-death": [{"count": 1}], f"{prefix}kept": "x"}
    seen = json.loads(wire.request("contexts_end.show", headers=headers).body)["result"]
    assert seen.keys() == {"call_id_stack", "kept"}


def test_headers_of_a_client_travel_but_context_data_wins(start: Start, caller: type, run_in: Any) -> None:
    runner = start(ContextsEnd, caller)
    headers = {"extra": "x", "nameko.language": "en"}
    seen = run_in(
        runner, lambda caller: caller.cluster.contexts_end.show.with_options(headers=headers)(), language="de"
    )
    assert (seen["extra"], seen["language"]) == ("x", "de")
