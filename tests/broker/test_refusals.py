"""What becomes of messages and calls that the broker refuses, and of the channel on which it did."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from echo import Echo, raw_channel, start_holding
from waiting import wait_until

from rpcservice import ServiceContainer
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.link import LinkChannel, Message
from rpcservice.amqp.replies import ReplyListener
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import Event
from rpcservice.errors import ChannelClosed, PublishRejected, PublishTimeout
from rpcservice.testing.callers import cluster_client

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("quick_pauses")]

FULL = {"x-max-length": 0, "x-overflow": "reject-publish"}


@pytest.fixture(params=["quorum", "classic"])
def config(rabbitmq_uri: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"AMQP_URI": rabbitmq_uri, "queue_type": request.param, "rpc_timeout": 30}


quorum = pytest.mark.parametrize("config", ["quorum"], indirect=True)


@pytest.fixture
def full(rabbitmq_uri: str, echo: ServiceContainer) -> Iterator[None]:
    """A queue that refuses every message, and gets the calls of a service ``full``."""
    with raw_channel(rabbitmq_uri) as channel:
        channel.declare_queue("rpc-full", arguments=FULL)
        channel.bind_queue("rpc-full", echo.config.rpc_exchange, "full.*")
        channel.declare_queue("free")
        yield


@pytest.fixture
def sender(echo: ServiceContainer, full: None) -> ConfirmedSender:
    return echo.resources.get(ConfirmedSender, connection_key(echo.config))


@pytest.fixture
def client(full: None, container_factory: Callable[..., ServiceContainer]) -> Any:
    """A client with requests of its own, in this process."""
    return cluster_client(container_factory)


def message(queue: str) -> Message:
    return Message("", queue, b"1", {"message_id": queue})


def refuse(sender: ConfirmedSender) -> LinkChannel | None:
    """Have a message refused; gives the channel on which that was."""
    channel = sender._channel.current
    with pytest.raises(PublishRejected):
        sender.publish(message("rpc-full"), 10)
    return channel


def test_a_refusal_costs_the_channel_only_where_it_may_be_stuck(
    sender: ConfirmedSender, config: dict[str, Any]
) -> None:
    channel = refuse(sender)
    sender.publish(message("free"), 10)
    assert (sender._channel.current is channel) == (config["queue_type"] == "classic")


@quorum
def test_another_channel_is_opened_once_a_second_at_most(sender: ConfirmedSender) -> None:
    refuse(sender)
    sender.publish(message("free"), 10)
    channel = refuse(sender)
    sender.publish(message("free"), 10)
    assert sender._channel.current is channel
    wait_until(lambda: refuse(sender) is not channel, "another channel")


@quorum
def test_confirms_that_do_not_come_are_not_waited_for_long(
    sender: ConfirmedSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender.refusals, "_is_busy", lambda: True)
    channel = refuse(sender)
    assert sender._channel.current is channel
    sender.publish(message("free"), 10)
    assert sender._channel.current is not channel


@quorum
def test_a_channel_on_which_confirms_stay_away_is_given_up(sender: ConfirmedSender) -> None:
    channel = sender._channel.current
    assert channel is not None
    channel.on_confirm = None
    with pytest.raises(PublishTimeout):
        sender.publish(message("free"), 0.5)
    sender.publish(message("free"), 10)
    assert sender._channel.current is not channel


@quorum
def test_a_refused_call_ends_at_once(client: Any) -> None:
    with pytest.raises(PublishRejected, match="the queue rpc-full is full or has failed") as caught:
        client["full"].method()
    assert caught.value.maybe_executed is True


@quorum
def test_calls_that_were_taken_are_answered_although_another_one_is_refused(
    echo: ServiceContainer, client: Any, gate: Event
) -> None:
    replies: ReplyListener = client._provider.replies
    call = start_holding(client)
    channel = replies._requests.current
    with pytest.raises(PublishRejected):
        client["full"].method()
    assert client["echo"].say("again") == "again"
    assert replies._requests.current is not channel
    gate.set()
    assert call.result() == "held"
    assert Echo.entered == ["held"]


@quorum
def test_calls_whose_confirm_does_not_come_end_with_the_channel(echo: ServiceContainer, client: Any) -> None:
    replies: ReplyListener = client._provider.replies
    lost = replies.expect("lost")
    replies._asked[10**6] = lost
    with pytest.raises(PublishRejected):
        client["full"].method()
    with pytest.raises(ConnectionError, match="may have been carried out"):
        lost.result(10)
    assert client["echo"].say("again") == "again"


def test_a_reply_queue_on_a_node_that_is_down_gets_a_fresh_name(echo: ServiceContainer, client: Any) -> None:
    """No other node can give it back, and says so with 404."""
    replies: ReplyListener = client._provider.replies
    name, channel_cls = replies.queue_name, type(replies._replies.current)

    def cannot_declare(self: Any, queue: str, *args: Any, **options: Any) -> None:
        raise ChannelClosed(404, f"NOT_FOUND - home node 'rabbit@away' of durable queue '{queue}' is down")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel_cls, "declare_queue", cannot_declare)
        replies._replies.reopen()
        wait_until(lambda: replies.queue_name != name, "another name")
    assert client["echo"].say("again") == "again"
