"""Which calls of ``prefer_local=True`` stay in the process, and what becomes of them when services stop and die."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Echo
from waiting import wait_until

from rpcservice import Breaker, CircuitOpen, ClusterRpc, Retry, ServiceRpc, ServiceRpcClient, TooManyCalls
from rpcservice import rpc as rpc_method
from rpcservice.amqp.localcalls import LocalServices
from rpcservice.amqp.longwork import unfinished
from rpcservice.amqp.replies import ReplyListener
from rpcservice.amqp.rpc import Rpc
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import ConnectionLost, RpcTimeout, UnknownService
from rpcservice.testing import dummy, entrypoint_hook

pytestmark = pytest.mark.usefixtures("broker")

Start = Callable[..., ServiceRunner]


class Desk:
    """Says who answers: which instance, and whether the request came without the broker."""

    name = "desk"
    gate: Any = None
    begun: Any = None

    @rpc_method
    def who(self) -> str:
        return "here"

    @rpc_method
    def wait(self) -> str:
        self.begun.append("here")
        assert self.gate.wait(20)
        return "here"


class OtherDesk(Desk):
    """The same service in another process."""

    @rpc_method
    def who(self) -> str:
        return "there"

    @rpc_method
    def wait(self) -> str:
        self.begun.append("there")
        return "there"


def asking(**options: Any) -> type:
    class Asking:
        name = "asking"
        desk = ServiceRpc("desk", prefer_local=True, **options)
        cluster = ClusterRpc(prefer_local=True)

        @dummy
        def run(self, function: Callable[[Any], Any]) -> Any:
            return function(self)

        def give_in(self, error: Exception, *args: Any) -> str:
            return f"instead of {type(error).__name__}"

    return Asking


Asking = asking()


@pytest.fixture(autouse=True)
def _gate() -> None:
    Desk.gate, Desk.begun = green().event(), []


def run_in(runner: ServiceRunner, function: Callable[[Any], Any]) -> Any:
    with entrypoint_hook(runner.containers["asking"], "run") as hook:
        return hook(function)


def taken_here(runner: ServiceRunner) -> dict[str, Any]:
    return runner.resources.get(LocalServices).by_routing_key


def replies_of(runner: ServiceRunner) -> ReplyListener:
    return next(resource for resource in runner.resources if isinstance(resource, ReplyListener))


# What goes by the broker


def kept(runner: ServiceRunner) -> list[str]:
    return sorted(key.partition(".")[2] for key in taken_here(runner) if key.startswith("promising."))


def test_methods_that_promise_what_a_queue_keeps_are_called_by_the_broker(start: Start, wire: Any) -> None:
    class Promising:
        name = "promising"

        @rpc_method
        def plain(self) -> str:
            return "plain"

        @rpc_method(retry=Retry(max_attempts=2, initial=0.01))
        def tried(self) -> str:
            return "tried"

        @rpc_method(dead_letter=True)
        def buried(self) -> str:
            return "buried"

        @rpc_method(idempotent=True)
        def once(self) -> str:
            return "once"

    runner = start(Promising, Asking, idempotency_store="memory:")
    assert kept(runner) == ["plain"]
    seen = wire.tap("nameko-rpc", "promising.*")
    for name in ("plain", "tried", "buried", "once"):
        assert run_in(runner, lambda asking, name=name: asking.cluster.promising[name]()) == name
    assert [seen.take().routing_key for _ in range(3)] == ["promising.tried", "promising.buried", "promising.once"]
    assert len(seen) == 0


def test_an_entrypoint_that_receives_in_its_own_way_is_called_by_the_broker(start: Start) -> None:
    class OwnRpc(Rpc):
        def receive_delivery(self, request: Any, codecs: Any) -> None:
            super().receive_delivery(request, codecs)

    class Promising:
        name = "promising"

        @OwnRpc.decorator
        def own(self) -> str:
            return "own"

    runner = start(Promising, Asking)
    assert kept(runner) == []
    assert run_in(runner, lambda asking: asking.cluster.promising.own()) == "own"


def test_a_client_of_another_broker_calls_there(start: Start) -> None:
    class Elsewhere(Asking):  # type: ignore[misc, valid-type]
        desk = ServiceRpc("desk", prefer_local=True, uri="memory://elsewhere-of-local-services/")

    runner = start(Desk, Elsewhere)
    with pytest.raises(UnknownService):
        run_in(runner, lambda asking: asking.desk.who())
    assert run_in(runner, lambda asking: asking.cluster.desk.who()) == "here"


def test_a_request_that_may_expire_goes_by_the_broker(start: Start, wire: Any) -> None:
    runner = start(Desk, Asking)
    seen = wire.tap("nameko-rpc", "desk.*")
    assert run_in(runner, lambda asking: asking.desk.who.with_options(expiration=60)()) == "here"
    assert seen.take().properties["expiration"] == "60000"


def test_a_request_that_a_hook_sends_elsewhere_goes_there(start: Start, wire: Any) -> None:
    class Redirecting(Asking):  # type: ignore[misc, valid-type]
        pass

    def around_publish(message: Any, call_next: Callable[[Any], Any]) -> Any:
        if message.routing_key == "desk.who":
            message.exchange = "canary"
        return call_next(message)

    seen = wire.tap("canary")
    runner = start(Desk, Redirecting)
    container = runner.containers["asking"]
    for provider in container.dependencies:
        provider.publish = lambda message, publish=provider.publish: around_publish(message, publish)  # type: ignore[attr-defined]
    with pytest.raises(RpcTimeout):
        run_in(runner, lambda asking: asking.desk.who.with_options(timeout=0.05)())
    assert seen.take().routing_key == "desk.who"


@pytest.mark.parametrize("reply_to", ["elsewhere", None])
def test_a_request_whose_reply_a_hook_sends_elsewhere_goes_by_the_broker(
    start: Start, wire: Any, reply_to: str | None
) -> None:
    runner = start(Desk, Asking)
    seen = wire.tap("nameko-rpc", "desk.*")
    for provider in runner.containers["asking"].dependencies:

        def publish(message: Any, call_next: Callable[[Any], Any] = provider.publish) -> Any:  # type: ignore[attr-defined]
            message.properties.pop("reply_to")
            if reply_to is not None:
                message.properties["reply_to"] = reply_to
            return call_next(message)

        provider.publish = publish  # type: ignore[attr-defined]
    with pytest.raises(RpcTimeout):
        run_in(runner, lambda asking: asking.desk.who.with_options(timeout=0.05)())
    assert seen.take().properties.get("reply_to") == reply_to


def test_calls_go_by_the_broker_once_as_many_wait_as_it_would_give_out(start: Start, wire: Any) -> None:
    runner = start(Desk, Asking, max_workers=2)
    seen = wire.tap("nameko-rpc", "desk.*")

    def call(asking: Any) -> list[str]:
        calls = [asking.desk.wait.call_async() for _ in range(7)]
        assert runner.containers["desk"].count_waiting() == 2
        for _ in range(3):
            seen.take()
        Desk.gate.set()
        return [call.result() for call in calls]

    assert run_in(runner, call) == ["here"] * 7
    assert len(seen) == 0


@pytest.mark.parametrize("given", [1, None, "yes"])
def test_prefer_local_is_true_or_false(given: Any) -> None:
    with pytest.raises(TypeError, match=f"prefer_local={given!r}: give True or False"):
        ServiceRpc("desk", prefer_local=given)


def test_a_client_outside_of_services_has_nothing_local() -> None:
    with pytest.raises(TypeError, match="prefer_local is for the clients of services"):
        ServiceRpcClient("desk", {"AMQP_URI": "memory://"}, prefer_local=True)


def test_clients_that_do_not_ask_for_it_call_by_the_broker(start: Start, wire: Any) -> None:
    class Far(Asking):  # type: ignore[misc, valid-type]
        desk = ServiceRpc("desk", prefer_local=False)

    runner = start(Desk, Far)
    seen = wire.tap("nameko-rpc", "desk.*")
    assert run_in(runner, lambda asking: asking.desk.who()) == "here"
    assert seen.take().routing_key == "desk.who"


# When services come and go


def test_services_of_one_process_call_each_other_there_whichever_is_up_first(start: Start, wire: Any) -> None:
    runner = start(Asking, Desk)
    seen = wire.tap("nameko-rpc")
    assert run_in(runner, lambda asking: asking.desk.who()) == "here"
    assert len(seen) == 0


def test_a_service_of_another_runner_is_called_by_the_broker(start: Start, wire: Any) -> None:
    start(Desk)
    runner = start(Asking)
    seen = wire.tap("nameko-rpc", "desk.*")
    assert run_in(runner, lambda asking: asking.desk.who()) == "here"
    assert seen.take().routing_key == "desk.who"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_when_the_service_has_ended_others_are_called_by_the_broker(start: Start, end: str) -> None:
    runner = start(Desk, Asking)
    start(OtherDesk)
    answers = {run_in(runner, lambda asking: asking.desk.who()) for _ in range(10)}
    getattr(runner.containers["desk"], end)()
    assert answers == {"here"}
    assert taken_here(runner) == {}
    assert run_in(runner, lambda asking: asking.desk.who()) == "there"


def test_a_call_that_runs_at_the_stop_is_answered(start: Start) -> None:
    runner = start(Desk, Asking)

    def call(asking: Any) -> Any:
        started = asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")
        stopping = green().spawn(runner.containers["desk"].stop)
        wait_until(lambda: taken_here(runner) == {} or runner.containers["desk"].is_stopping, "the stop")
        Desk.gate.set()
        assert stopping.wait(10)
        return started.result()

    assert run_in(runner, call) == "here"


def test_services_that_stop_together_call_each_other_to_the_end(start: Start, wire: Any) -> None:
    """While calls that came before finish, RPC serves them."""
    runner = start(Desk, Asking)
    seen = wire.tap("nameko-rpc", "desk.*")
    stopping: list[Any] = []

    def call(asking: Any) -> Any:
        stopping.append(green().spawn(runner.stop))
        wait_until(lambda: runner.containers["desk"].is_stopping, "the stop")
        return asking.desk.who()

    assert run_in(runner, call) == "here"
    assert stopping[0].wait(10)
    assert len(seen) == 0


def test_what_is_not_finished_at_the_stop_is_carried_out_by_others(start: Start) -> None:
    """That which runs is ended when its time is over, and goes to the queue with what waits for a worker."""
    runner = start(Desk, Asking, max_workers=1, shutdown_timeout=0.1)
    start(OtherDesk)

    def call(asking: Any) -> Any:
        first = asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")
        waiting = [asking.desk.wait.call_async() for _ in range(3)]
        runner.containers["desk"].stop()
        return [call.result() for call in [first, *waiting]]

    assert run_in(runner, call) == ["there"] * 4
    assert Desk.begun == ["here", *["there"] * 4]


def test_a_call_that_is_broken_off_is_carried_out_by_others(start: Start) -> None:
    runner = start(Desk, Asking)
    start(OtherDesk)

    def call(asking: Any) -> Any:
        started = asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")
        runner.containers["desk"].kill()
        return started.result()

    assert run_in(runner, call) == "there"
    assert Desk.begun == ["here", "there"]


def test_a_call_that_is_broken_off_waits_in_the_queue_for_the_next_instance(start: Start) -> None:
    runner = start(Desk, Asking)

    def call(asking: Any) -> Any:
        started = asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")
        runner.containers["desk"].kill()
        assert not started.is_done()
        start(OtherDesk)
        return started.result()

    assert run_in(runner, call) == "there"


def test_a_call_whose_time_is_up_is_not_given_to_others(start: Start, wire: Any) -> None:
    runner = start(Desk, Asking)
    seen = wire.tap("nameko-rpc", "desk.*")

    def call(asking: Any) -> None:
        with pytest.raises(RpcTimeout):
            asking.desk.wait.with_options(timeout=0.05)()
        runner.containers["desk"].kill()

    run_in(runner, call)
    assert len(seen) == 0
    assert replies_of(runner)._pending == {}


# When the broker goes


def lose(runner: ServiceRunner) -> None:
    """Tell the client that its channels are gone; they are opened again in the next turn of the loop."""
    replies = replies_of(runner)
    for managed in (replies._replies, replies._requests):
        channel = managed.current
        assert channel is not None and channel.on_closed is not None
        channel.on_closed(ConnectionLost("the connection broke"))


def test_calls_under_way_survive_the_connection(start: Start) -> None:
    """Whereas those that the broker carries end at once, for their replies may be lost."""
    runner = start(Desk, Asking)

    def call(asking: Any) -> Any:
        near = asking.desk.wait.call_async()
        far = asking.desk.wait.with_options(expiration=60).call_async()
        wait_until(lambda: len(Desk.begun) == 2, "both calls")
        lose(runner)
        assert (near.is_done(), far.is_done()) == (False, True)
        Desk.gate.set()
        return near.result()

    assert run_in(runner, call) == "here"


def test_a_request_that_came_back_to_the_broker_ends_with_the_connection(start: Start) -> None:
    runner = start(Desk, Asking)

    def call(asking: Any) -> Any:
        started = asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")
        runner.containers["desk"].kill()
        lose(runner)
        with pytest.raises(ConnectionLost) as caught:
            started.result()
        return caught.value.maybe_executed

    assert run_in(runner, call) is True


def test_a_call_that_can_be_given_to_nobody_fails(start: Start) -> None:
    runner = start(Desk, Asking)

    def call(asking: Any) -> Any:
        started = asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")
        lose(runner)
        runner.containers["desk"].kill()
        with pytest.raises(ConnectionLost, match="others could be asked; the call may have been carried out"):
            started.result()

    run_in(runner, call)


# Policies


def test_a_call_that_gets_no_answer_in_time_is_repeated_here(start: Start) -> None:
    """With the same ids, and the reply to the first attempt is as good as that to the second."""
    ids: list[Any] = []

    class Hesitating(Desk):
        @rpc_method
        def who(self) -> str:
            return "here"

        @rpc_method
        def hesitate(self) -> str:
            ids.append(1)
            if len(ids) == 1:
                Desk.gate.wait(20)
                return "first"
            Desk.gate.set()
            green().event().wait(20)
            return "second"

    runner = start(Hesitating, asking(retry=Retry(max_attempts=2, initial=0.01, idempotent=True)))
    result = run_in(runner, lambda asking: asking.desk.hesitate.with_options(timeout=0.2)())
    assert (result, len(ids)) == ("first", 2)


def test_a_reply_that_comes_in_the_pause_is_taken(start: Start) -> None:
    runs: list[int] = []

    class Slowish(Desk):
        @rpc_method
        def slowly(self) -> str:
            runs.append(1)
            green().sleep(0.1)
            return "late"

    runner = start(Slowish, asking(retry=Retry(max_attempts=2, initial=1, jitter=0, idempotent=True)))
    assert run_in(runner, lambda asking: asking.desk.slowly.with_options(timeout=0.05)()) == "late"
    assert runs == [1]


def test_a_started_call_is_repeated_here_too(start: Start) -> None:
    runs: list[int] = []

    class Hesitating(Desk):
        @rpc_method
        def hesitate(self) -> str:
            runs.append(1)
            if len(runs) == 1:
                Desk.gate.wait(20)
            return "second"

    runner = start(Hesitating, asking(retry=Retry(max_attempts=2, initial=0.01, idempotent=True)))

    def call(asking: Any) -> Any:
        started = asking.desk.hesitate.with_options(timeout=0.1).call_async()
        return started.result()

    assert run_in(runner, call) == "second"
    assert len(runs) == 2


def test_a_breaker_opens_and_a_fallback_steps_in(start: Start) -> None:
    runner = start(Desk, asking(breaker=Breaker(min_calls=2, cooldown=60)))

    def call(asking: Any) -> list[str]:
        outcomes = []
        for _ in range(3):
            try:
                asking.desk.wait.with_options(timeout=0.05)()
            except (RpcTimeout, CircuitOpen) as exc:
                outcomes.append(type(exc).__name__)
        outcomes.append(asking.desk.who.with_options(fallback="give_in")())
        return outcomes

    assert run_in(runner, call) == ["RpcTimeout", "RpcTimeout", "CircuitOpen", "instead of CircuitOpen"]


def test_max_in_flight_counts_calls_here_too(start: Start) -> None:
    runner = start(Desk, asking(max_in_flight=1))

    def call(asking: Any) -> str:
        first = asking.desk.wait.call_async()
        with pytest.raises(TooManyCalls):
            asking.desk.who()
        Desk.gate.set()
        first.result()
        answer: str = asking.desk.who()
        return answer

    assert run_in(runner, call) == "here"


# What looks after messages of the broker


def test_work_for_the_process_itself_is_none_that_the_broker_waits_for(start: Start) -> None:
    """Nobody is warned that the broker is about to take it back, nor is its queue taken for one that is worked on."""
    runner = start(Desk, Asking)
    (entrypoint,) = [one for one in runner.containers["desk"].entrypoints if one.method_name == "wait"]

    def call(asking: Any) -> list[int]:
        near = asking.desk.wait.call_async()
        far = asking.desk.wait.with_options(expiration=60).call_async()
        wait_until(lambda: len(Desk.begun) == 2, "both calls")
        counts = [len(unfinished(entrypoint)), len(list(entrypoint.bound_to.unfinished(entrypoint)))]
        Desk.gate.set()
        assert [near.result(), far.result()] == ["here", "here"]
        return counts

    assert run_in(runner, call) == [1, 2]


def test_requests_of_the_process_itself_are_not_counted_for_the_broker(start: Start) -> None:
    runner = start(Echo, Asking)
    consumer = next(iter(taken_here(runner).values()))
    for _ in range(3):
        run_in(runner, lambda asking: asking.cluster.echo.add(1))
    assert consumer.count() == 0
    run_in(runner, lambda asking: asking.cluster.echo.add.with_options(expiration=60)(1))
    assert consumer.count() == 1


def test_local_calls_of_a_killed_runner_leave_no_noise(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    runner = start(Desk, Asking)

    def call(asking: Any) -> None:
        asking.desk.wait.call_async()
        wait_until(lambda: Desk.begun, "the call")

    run_in(runner, call)
    with caplog.at_level(logging.ERROR):
        runner.kill()
    assert [record.getMessage() for record in caplog.records] == []
