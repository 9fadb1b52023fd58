"""The reply listener: calls that nobody waits for, replies that nobody knows, and a clean table behind them."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from amqp_services import Echo, Slow
from waiting import wait_until

from rpcservice.amqp.replies import ReplyListener
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.errors import MessageTooLarge, RpcTimeout, UnknownService

Start = Callable[..., ServiceRunner]


def listener_of(runner: ServiceRunner) -> Any:
    (listener,) = [resource for resource in runner.resources if isinstance(resource, ReplyListener)]
    return listener


def test_calls_that_nobody_waits_for_are_swept_away(
    start: Start, caller: type, run_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.amqp.replies.SWEEP_INTERVAL", 0.01)
    Slow.go = green().event()
    runner = start(Slow, caller)

    def work(caller: Any) -> Any:
        waiting = caller.cluster.slow.wait.call_async()
        return waiting, caller.cluster.slow.wait.with_options(timeout=0.01).call_async()

    waiting, forgotten = run_in(runner, work)
    wait_until(forgotten.is_done, "the sweeper")
    with pytest.raises(RpcTimeout, match=r"slow\.wait did not answer within 0\.01 s"):
        forgotten.result()
    assert list(listener_of(runner)._pending.values()) == [waiting]
    Slow.go.set()
    assert waiting.result() == "late"


def test_nothing_is_kept_of_calls_that_have_ended(start: Start, caller: type, run_in: Any) -> None:
    runner = start(Echo, caller)

    def work(caller: Any) -> None:
        cluster = caller.cluster
        cluster.echo.add(1)
        with pytest.raises(UnknownService):
            cluster.nobody.add(1)
        with pytest.raises(MessageTooLarge):
            cluster.echo.add.with_options(headers={"large": "x" * 140_000})(1)
        with pytest.raises(RpcTimeout):
            cluster.echo.add.with_options(timeout=0)(1)

    run_in(runner, work)
    assert listener_of(runner)._pending == {}


def test_replies_that_nobody_knows_are_dropped_and_counted(start: Start, caller: type, run_in: Any, wire: Any) -> None:
    runner = start(Echo, caller)
    key = listener_of(runner).routing_key
    for properties in ({}, {"correlation_id": "unknown"}):
        wire.publish("nameko-rpc", key, b'{"result": 1, "error": null}', content_type="application/json", **properties)
    assert run_in(runner, lambda caller: caller.cluster.echo.add(1)) == 2
    assert listener_of(runner).unclaimed == 2


def test_the_first_stray_reply_is_told_of_at_once_and_the_others_together(
    start: Start, caller: type, wire: Any, caplog: pytest.LogCaptureFixture
) -> None:
    runner = start(caller)
    listener = listener_of(runner)
    for number in range(4):
        wire.publish("nameko-rpc", listener.routing_key, b"{}", correlation_id=f"c-{number}")
        wait_until(lambda number=number: listener.unclaimed == number + 1)
    assert strays_told_of(caplog) == [
        f"{listener.queue_name}: replies dropped that nobody waits for, or not any more: 1 (1 until now), "
        "the last for correlation_id 'c-0'"
    ]
    runner.stop()
    assert strays_told_of(caplog)[1:] == [
        f"{listener.queue_name}: replies dropped that nobody waits for, or not any more: 3 (4 until now)"
    ]


def test_stray_replies_are_told_of_with_the_next_sweep(
    start: Start, caller: type, wire: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.amqp.replies.SWEEP_INTERVAL", 0.01)
    listener = listener_of(start(caller))
    for number in range(100):
        wire.publish("nameko-rpc", listener.routing_key, b"{}", correlation_id=f"c-{number}")
    wait_until(lambda: listener._told == 100)
    assert sum(int(told.split(": ")[2].split()[0]) for told in strays_told_of(caplog)) == 100


def strays_told_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "rpcservice.amqp.replies" and record.levelno == logging.WARNING
    ]


@pytest.mark.parametrize(
    ("body", "properties", "text"),
    [
        (b"{", {}, "the body cannot be decoded as application/json"),
        (b"x", {"content_type": "text/plain"}, "content type 'text/plain' is not accepted"),
        (b'"text"', {}, "Error text"),
        (b'{"result": null, "error": "just text"}', {}, "Error just text"),
        (b'{"result": null, "error": {"exc_type": "Odd"}}', {}, "Odd None"),
    ],
)
def test_a_reply_that_is_none_fails_its_call_alone(
    start: Start, caller: type, run_in: Any, wire: Any, body: bytes, properties: dict[str, Any], text: str
) -> None:
    Slow.go = green().event()
    runner = start(Slow, caller)

    def work(caller: Any) -> Any:
        call = caller.cluster.slow.wait.call_async()
        given = {"content_type": "application/json", "correlation_id": call.correlation_id, **properties}
        wire.publish("nameko-rpc", listener_of(runner).routing_key, body, **given)
        with pytest.raises(Exception, match=text):
            call.result(timeout=10)
        return caller.cluster.slow.quick()

    assert run_in(runner, work) == "quick"
    Slow.go.set()
