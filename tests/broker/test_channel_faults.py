"""Channels and queues that are lost while the connection holds."""

from collections.abc import Callable
from typing import Any

import pytest
from echo import COMES_AGAIN, Echo, connection_of, raw_channel, start_holding
from waiting import wait_until

from rpcservice import ServiceContainer, ServiceRunner
from rpcservice import rpc as rpc_method
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.consumer import ServiceChannel
from rpcservice.amqp.replies import ReplyListener
from rpcservice.concurrency import Event
from rpcservice.errors import ChannelClosed, ConnectionLost
from rpcservice.testing import RabbitMQNode, TcpProxy

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

Make = Callable[..., ServiceContainer]


@pytest.fixture
def config(proxy: TcpProxy) -> dict[str, Any]:
    return {"AMQP_URI": proxy.uri, "HEARTBEAT": 1, "rpc_timeout": 15}


def channel_of(container: ServiceContainer) -> Any:
    """Give the channel that the service has now."""
    key = (connection_key(container.config), container.service_name)
    return container.resources.get(ServiceChannel, key).current


def _make_a_mistake(channel: Any) -> None:
    with pytest.raises(ChannelClosed, match="404"):
        channel.declare_queue("no-such-queue", passive=True)


def test_a_mistake_on_a_services_channel_costs_only_that_channel(
    echo: ServiceContainer, rpc: Any, caplog: pytest.LogCaptureFixture, proxy: TcpProxy
) -> None:
    link = connection_of(echo).link
    _make_a_mistake(channel_of(echo))
    assert rpc["echo"].say("again") == "again"
    assert connection_of(echo).link is link
    assert "channel for service echo: the broker closed the channel: 404" in caplog.text


def test_what_ran_when_its_channel_was_closed_is_answered_and_not_run_again(
    echo: ServiceContainer, rpc: Any, gate: Event, caplog: pytest.LogCaptureFixture
) -> None:
    call = start_holding(rpc)
    _make_a_mistake(channel_of(echo))
    wait_until(lambda: COMES_AGAIN in caplog.text, "the second delivery")
    gate.set()
    assert call.result() == "held"
    assert Echo.entered == ["held"]


def test_a_deleted_queue_is_declared_again(
    echo: ServiceContainer, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    _delete_queue(rabbitmq_uri, "rpc-echo")
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri).get("rpc-echo", {}).get("consumers"), "the consumer")
    assert rpc["echo"].say("again") == "again"


def test_calls_that_run_when_their_queue_is_deleted_are_answered(
    echo: ServiceContainer, rpc: Any, rabbitmq: RabbitMQNode, rabbitmq_uri: str, gate: Event
) -> None:
    """Nobody will deliver their requests again."""
    call = start_holding(rpc)
    _delete_queue(rabbitmq_uri, "rpc-echo")
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri).get("rpc-echo", {}).get("consumers"), "the consumer")
    gate.set()
    assert call.result() == "held"


def test_calls_work_again_when_the_reply_queue_was_deleted(echo: ServiceContainer, rpc: Any, rabbitmq_uri: str) -> None:
    _delete_queue(rabbitmq_uri, _reply_queue(rpc))
    assert wait_until(lambda: _answers(rpc), "an answer")


def test_pending_calls_fail_when_the_reply_queue_is_deleted(
    echo: ServiceContainer, rpc: Any, rabbitmq_uri: str, gate: Event
) -> None:
    """Their replies may have been in it."""
    call = start_holding(rpc)
    _delete_queue(rabbitmq_uri, _reply_queue(rpc))
    with pytest.raises(ConnectionLost) as caught:
        call.result(5)
    assert caught.value.maybe_executed is True


def test_a_connection_that_breaks_while_the_reply_queue_comes_back_is_no_traceback(
    echo: ServiceContainer, rpc: Any, proxy: TcpProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    """The old channel is closed in the background, where nobody could catch an error."""
    replies = rpc._provider.replies
    channel = replies._replies.current
    proxy.black_hole()
    replies._queue_deleted()
    proxy.drop()
    wait_until(lambda: channel.failure is not None, "the end of the channel")
    proxy.resume()
    assert wait_until(lambda: _answers(rpc), "an answer")
    assert "Traceback" not in capfd.readouterr().err


def _answers(rpc: Any) -> bool:
    try:
        return bool(rpc["echo"].say.with_options(timeout=1)("again") == "again")
    except ConnectionLost:
        return False


def _reply_queue(rpc: Any) -> str:
    replies: ReplyListener = rpc._provider.replies
    return replies.queue_name


def _delete_queue(uri: str, name: str) -> None:
    with raw_channel(uri) as channel:
        channel.delete_queue(name)


def test_what_the_broker_refuses_one_service_does_not_stop_another(
    runner_factory: Callable[..., ServiceRunner], gate: Event, rpc: Any, proxy: TcpProxy, rabbitmq_uri: str
) -> None:
    """Somebody changes a queue while the connection is away; the service next to it comes back."""

    class Another:
        name = "another"

        @rpc_method
        def say(self, text: str) -> str:
            return text

    Echo.gate = gate
    runner = runner_factory(Echo, Another)
    runner.start()
    proxy.refuse()
    with raw_channel(rabbitmq_uri) as channel:
        channel.delete_queue("rpc-echo")
        channel.declare_queue("rpc-echo", arguments={"x-max-length": 5})
    proxy.resume()
    assert rpc["another"].say("again") == "again"
    connection = runner.resources.get(AmqpConnection, connection_key(runner.config))
    assert "406 PRECONDITION_FAILED" in wait_until(connection.health, "a complaint")
