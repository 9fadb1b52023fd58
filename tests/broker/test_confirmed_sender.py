"""What a mistake on the channel with confirms costs: the message at fault, and no other."""

from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import EventDispatcher, ServiceContainer
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.link import Message
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import green
from rpcservice.errors import ChannelClosed, RpcServiceError, UndeliverableMessage
from rpcservice.testing import RabbitMQNode, dummy

pytestmark = pytest.mark.broker

EXCHANGE = "shop.events"


class Shop:
    name = "shop"
    dispatch = EventDispatcher()

    @dummy
    def rest(self) -> None: ...


@pytest.fixture
def sender(container_factory: Callable[..., ServiceContainer]) -> ConfirmedSender:
    container = container_factory(Shop)
    container.start()
    channel = container.resources.get(ConfirmedSender, connection_key(container.config))._channel.current
    assert channel is not None
    channel.declare_queue("all")
    channel.bind_queue("all", EXCHANGE, "#")
    return container.resources.get(ConfirmedSender, connection_key(container.config))


def _message(key: str = "sold", exchange: str = EXCHANGE, mandatory: bool = False, **properties: Any) -> Message:
    return Message(exchange, key, b"1", {"message_id": key, **properties}, mandatory)


def _publish_together(sender: ConfirmedSender, messages: list[Message]) -> list[Exception | None]:
    """Publish all before the broker can answer; gives the outcomes."""

    def publish(number: int, message: Message) -> None:
        try:
            sender.publish(message, 5)
        except RpcServiceError as exc:
            outcomes[number] = exc

    outcomes: list[Exception | None] = [None] * len(messages)
    tasks = [green().spawn(publish, number, message) for number, message in enumerate(messages)]
    assert all(task.wait(10) for task in tasks)
    return outcomes


def test_an_exchange_that_is_missing_fails_only_that_message(
    sender: ConfirmedSender, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    outcomes = _publish_together(sender, [_message(), _message(exchange="nowhere"), _message()])
    assert isinstance(outcomes[1], ChannelClosed) and outcomes[1].code == 404
    assert (outcomes[0], outcomes[2]) == (None, None)
    # The first may have been taken before the channel closed, and is then there twice.
    assert rabbitmq.queues(rabbitmq_uri)["all"]["messages"] in (2, 3)


def test_a_message_that_the_broker_cannot_name_is_found_by_sending_one_at_a_time(sender: ConfirmedSender) -> None:
    """The broker says that an expiration is invalid, but not in which message."""
    messages = [_message(), _message(expiration="soon"), _message(), _message(expiration="later"), _message()]
    outcomes = _publish_together(sender, messages)
    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        ChannelClosed,
        type(None),
        ChannelClosed,
        type(None),
    ]


def test_messages_after_a_mistake_flow_again(sender: ConfirmedSender) -> None:
    """Once the culprit is found, nobody waits for anybody else's confirm."""
    _publish_together(sender, [_message(), _message(expiration="soon"), _message()])
    assert _publish_together(sender, [_message() for _ in range(5)]) == [None] * 5


def test_a_mandatory_message_that_no_queue_takes_is_undeliverable(sender: ConfirmedSender) -> None:
    outcomes = _publish_together(sender, [_message(exchange="amq.topic", key="a", mandatory=True), _message()])
    assert isinstance(outcomes[0], UndeliverableMessage)
    assert outcomes[1] is None
