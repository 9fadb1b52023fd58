"""@rpc and its clients, with the same assertions on the embedded broker and on both links to RabbitMQ."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Echo, Slow, connections_of
from eventlet.patcher import original

from rpcservice import ClusterRpc, ServiceRpc
from rpcservice import rpc as rpc_method
from rpcservice.amqp.message import LONGEST_WAIT
from rpcservice.amqp.replies import ReplyListener
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import (
    ChannelClosed,
    RemoteError,
    RpcTimeout,
    UnknownService,
)

pytestmark = pytest.mark.usefixtures("link_kind")

Start = Callable[..., ServiceRunner]


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "ünï", [1, [2]], {"a": {"b": []}}, ""])
def test_a_value_makes_the_round_trip(start: Start, rpc: Any, value: object) -> None:
    start(Echo)
    assert rpc.echo.args(value, key=value) == {"args": [value], "kwargs": {"key": value}}


def test_arguments_are_bound_as_in_python(start: Start, rpc: Any) -> None:
    start(Echo)
    assert rpc.echo.add(1) == 2
    assert rpc.echo.add(1, 2) == 3
    assert rpc.echo.add(right=5, left=2) == 7


def test_services_and_methods_are_items_too(start: Start, rpc: Any) -> None:
    start(Echo)
    assert rpc["echo"]["add"](1) == 2
    assert rpc.echo["add"](1) == 2


def test_a_service_cannot_be_called_without_a_method(start: Start, rpc: Any) -> None:
    with pytest.raises(ValueError, match="service 'echo' cannot be called without naming a method"):
        rpc.echo()


def test_services_of_one_runner_call_each_other(start: Start, rpc: Any) -> None:
    class Twice:
        name = "twice"
        echo = ServiceRpc("echo")

        @rpc_method
        def add(self, number: int) -> int:
            first: int = self.echo.add(number)
            second: int = self.echo["add"](first)
            return second

    start(Twice, Echo)
    assert rpc.twice.add(1) == 3


def test_results_may_be_asked_for_in_any_order_and_twice(start: Start, rpc: Any) -> None:
    start(Echo)
    calls = [rpc.echo.add.call_async(number) for number in range(20)]
    assert [call.result() for call in reversed(calls)] == list(range(20, 0, -1))
    assert [call.result() for call in calls] == list(range(1, 21))
    assert all(call.is_done() for call in calls)


def test_an_error_may_be_asked_for_twice(start: Start, rpc: Any) -> None:
    start(Echo)
    call = rpc.echo.fail.call_async("why")
    for _ in range(2):
        with pytest.raises(RemoteError, match="ValueError why"):
            call.result()


def test_more_calls_than_workers_all_get_their_answer(start: Start, rpc: Any) -> None:
    start(Echo, max_workers=2)
    calls = [rpc.echo.add.call_async(number) for number in range(200)]
    assert [call.result() for call in calls] == list(range(1, 201))


def test_ten_kilobytes_make_the_round_trip_many_times_at_once(start: Start, rpc: Any) -> None:
    start(Echo, max_workers=50)
    calls = [rpc.echo.args.call_async("x" * 10_000, number) for number in range(200)]
    assert [call.result()["args"] for call in calls] == [["x" * 10_000, number] for number in range(200)]


def test_with_options_leaves_the_client_as_it_was(start: Start, rpc: Any) -> None:
    start(Echo)
    method = rpc.echo.add
    changed = method.with_options(timeout=2)
    assert (changed.call_async(1).timeout, method.call_async(1).timeout) == (2, 60)


def test_a_timeout_that_is_no_number_is_refused(rpc: Any) -> None:
    with pytest.raises(TypeError, match="timeout='5': give a number of seconds, or None"):
        ServiceRpc("echo", timeout="5")
    with pytest.raises(TypeError, match="timeout=True: give a number"):
        rpc.echo.add.with_options(timeout=True)


@pytest.mark.parametrize("timeout", [float("nan"), -1, -float("inf")])
def test_a_timeout_that_is_no_time_is_refused(timeout: float, rpc: Any) -> None:
    with pytest.raises(ValueError, match="give seconds from 0 on, or None to wait for ever"):
        ServiceRpc("echo", timeout=timeout)
    with pytest.raises(ValueError, match="give seconds from 0 on"):
        rpc.echo.add.with_options(timeout=timeout)


def test_a_result_is_not_waited_for_a_time_that_is_none(start: Start, rpc: Any, go: Any) -> None:
    start(Slow)
    call = rpc.slow.wait.call_async()
    with pytest.raises(ValueError, match="timeout=-1: give seconds from 0 on, or None to wait as long as the call may"):
        call.result(timeout=-1)


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, 1e300, 10**400], ids=["inf", "1e10", "1e300", "10**400"])
def test_a_timeout_may_be_longer_than_any_wait(timeout: float, start: Start, rpc: Any, go: Any) -> None:
    start(Slow)
    call = rpc.slow.wait.with_options(timeout=timeout).call_async()
    assert call.timeout is None if timeout == float("inf") else call.timeout == LONGEST_WAIT
    go.set()
    assert call.result(timeout=timeout) == "late"


def test_the_longest_wait_is_one_that_the_hub_takes() -> None:
    """Its poll would raise OverflowError, in the middle of everything, where no other timer is due earlier."""
    reading, writing = os.pipe()
    with original("select").epoll() as poll, open(reading), open(writing, "wb", buffering=0) as end:
        end.write(b"x")
        poll.register(reading)
        assert poll.poll(LONGEST_WAIT)


def test_an_unknown_option_is_named(rpc: Any) -> None:
    with pytest.raises(TypeError, match=r"'time_out' is no option of an RPC client; there are: breaker, .*timeout"):
        rpc.echo.add.with_options(time_out=2)
    with pytest.raises(TypeError, match="'time_out' is no option"):
        ServiceRpc("echo", time_out=2)


# Time-outs


@pytest.fixture
def go() -> Any:
    Slow.go = green().event()
    return Slow.go


def test_a_timeout_names_service_method_and_seconds(start: Start, rpc: Any, go: Any) -> None:
    start(Slow)
    with pytest.raises(RpcTimeout, match=r"slow\.wait did not answer within 0\.05 s") as caught:
        rpc.slow.wait.with_options(timeout=0.05)()
    error = caught.value
    assert (error.service_name, error.method_name, error.seconds, error.maybe_executed) == ("slow", "wait", 0.05, True)
    go.set()


def test_a_late_reply_is_dropped(start: Start, rpc: Any, go: Any) -> None:
    start(Slow)
    call = rpc.slow.wait.with_options(timeout=0.05).call_async()
    with pytest.raises(RpcTimeout):
        call.result()
    go.set()
    assert rpc.slow.wait() == "late"
    with pytest.raises(RpcTimeout):
        call.result()


def test_the_configured_timeout_holds_for_every_call(start: Start, caller: type, run_in: Any, go: Any) -> None:
    runner = start(Slow, caller, rpc_timeout=0.05)
    with pytest.raises(RpcTimeout, match=r"within 0\.05 s"):
        run_in(runner, lambda caller: caller.cluster.slow.wait())
    go.set()


def test_a_timeout_of_none_waits_without_end(start: Start, caller: type, run_in: Any, go: Any) -> None:
    runner = start(Slow, caller, rpc_timeout=None)

    def work(caller: Any) -> tuple[Any, Any]:
        call = caller.cluster.slow.wait.call_async()
        green().call_later(0.05, go.set)
        return call.timeout, call.result()

    assert run_in(runner, work) == (None, "late")


def test_waiting_for_a_while_does_not_end_the_call(start: Start, rpc: Any, go: Any) -> None:
    start(Slow)
    call = rpc.slow.wait.call_async()
    with pytest.raises(RpcTimeout, match=r"within 0\.01 s"):
        call.result(timeout=0.01)
    go.set()
    assert call.result(timeout=10) == "late"


def test_a_service_that_nobody_offers_is_unknown_at_once(start: Start, rpc: Any) -> None:
    start(Echo)
    with pytest.raises(UnknownService, match="no service named 'nobody'") as caught:
        rpc.nobody.add.with_options(timeout=None)(1)
    assert caught.value.service_name == "nobody"


def test_a_full_pool_does_not_stop_other_services(start: Start, rpc: Any, go: Any) -> None:
    start(Slow, Echo, max_workers=1)
    calls = [rpc.slow.wait.call_async() for _ in range(5)]
    assert rpc.echo.add(1) == 2
    go.set()
    assert [call.result() for call in calls] == ["late"] * 5


# Connections


def test_a_client_with_another_broker_has_its_own_connection(
    start: Start, broker_uri: str, caller: type, run_in: Any, other_broker_uri: str
) -> None:
    class There(Echo):
        name = "there"

    class Here(caller):  # type: ignore[misc, valid-type]
        echo = ServiceRpc("there", uri=other_broker_uri)
        same = ServiceRpc("echo", uri=broker_uri)
        also_there = ClusterRpc(uri=other_broker_uri)

    start(There, AMQP_URI=other_broker_uri)
    runner = start(Here, Echo)

    def work(caller: Any) -> Any:
        with pytest.raises(UnknownService):
            caller.cluster.there.add(1)
        return caller.echo.add(1), caller.same.add(2), caller.also_there["there"].add(3)

    assert run_in(runner, work) == (2, 3, 4)
    assert {connection.key.uri for connection in connections_of(runner)} == {broker_uri, other_broker_uri}
    assert len(connections_of(runner)) == 2


@pytest.fixture
def other_broker_uri(request: pytest.FixtureRequest, broker_uri: str) -> Any:
    if broker_uri.startswith("memory:"):
        yield f"{broker_uri}other"
    else:
        node = request.getfixturevalue("rabbitmq")
        uri = node.vhost()
        yield uri
        node.delete_vhost(uri)


def test_a_stopped_service_leaves_no_reply_queue(start: Start, wire: Any, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller)
    (listener,) = [resource for resource in runner.resources if isinstance(resource, ReplyListener)]
    assert run_in(runner, lambda caller: caller.cluster.echo.add(1)) == 2
    assert wire.channel.declare_queue(listener.queue_name, passive=True).consumers == 1
    runner.stop()
    with pytest.raises(ChannelClosed, match="404"):
        wire.channel.declare_queue(listener.queue_name, passive=True)
