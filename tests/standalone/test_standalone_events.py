"""event_dispatcher, here on the greenlets of a patched process."""

from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Exchange, Queue
from standalone_desk import Desk
from waiting import wait_until

from rpcservice import ChannelClosed, ConnectionLost, UnserializableValueError, event_dispatcher
from rpcservice.amqp.connection import connection_key, make_link
from rpcservice.amqp.link import LinkChannel
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.concurrency import green
from rpcservice.config import make_settings


@pytest.fixture
def channel(broker: str, config: dict[str, Any]) -> Iterator[LinkChannel]:
    """A channel of the test's own on the same broker."""
    settings = make_settings(config)
    link = make_link(connection_key(settings), settings.amqp_uri, settings, green())
    link.connect()
    yield link.channel()
    link.close()


def exists(channel: LinkChannel, exchange: str) -> bool:
    try:
        channel.declare_exchange(exchange, "topic", passive=True)
    except ChannelClosed as exc:
        assert exc.code == 404
        return False
    return True


def test_an_event_reaches_its_handlers_without_context_headers(desk: type[Desk], config: dict[str, Any]) -> None:
    with event_dispatcher(config) as dispatch:
        dispatch("office", "opened", {"at": 8})
        wait_until(lambda: desk.heard, "the event")
    assert desk.heard == [({"at": 8}, {})]


def test_the_first_event_connects_and_close_disconnects(desk: type[Desk], config: dict[str, Any]) -> None:
    dispatch = event_dispatcher(config)
    dispatch("office", "opened", 1)
    dispatch.close()
    with pytest.raises(ConnectionLost, match="has been stopped"):
        dispatch("office", "opened", 2)
    dispatch.start()("office", "opened", 3)
    dispatch.stop()
    wait_until(lambda: len(desk.heard) == 2, "two events")
    assert [payload for payload, _ in desk.heard] == [1, 3]


def test_an_exchange_is_declared_with_the_first_event(channel: LinkChannel, config: dict[str, Any]) -> None:
    """Unlike nameko, whose dispatcher takes the event for sent although there is nothing to send it to."""
    with event_dispatcher(config) as dispatch:
        dispatch("nobody", "happened", None)
    assert exists(channel, "nobody.events")


def test_an_exchange_is_left_to_others_where_the_configuration_says_so(
    channel: LinkChannel, config: dict[str, Any]
) -> None:
    with event_dispatcher({**config, "DECLARE_EVENT_EXCHANGES": False}) as dispatch:
        with pytest.raises(ChannelClosed, match="404"):
            dispatch("nobody", "happened", None)
        assert not exists(channel, "nobody.events")


def test_another_exchange_of_that_name_fails_its_own_events_alone(
    desk: type[Desk], channel: LinkChannel, config: dict[str, Any]
) -> None:
    channel.declare_exchange("odd.events", "fanout")
    with event_dispatcher(config) as dispatch:
        for _ in range(2):
            with pytest.raises(ChannelClosed, match="406"):
                dispatch("odd", "happened", None)
        dispatch("office", "opened", "still")
        wait_until(lambda: desk.heard, "the event")


def test_what_else_is_to_be_declared_is_there_for_the_first_event(channel: LinkChannel, config: dict[str, Any]) -> None:
    queue = Queue("all", Exchange("office.events", type="topic"), routing_key="#")
    with event_dispatcher(config, declare=[queue]) as dispatch:
        dispatch("office", "opened", 1)
    delivery = channel.get("all", no_ack=True)
    assert delivery is not None
    assert delivery.body == b"1"


@pytest.mark.parametrize("options", [{}, {"use_confirms": False}])
def test_an_exchange_that_others_have_not_declared_fails_its_own_events_alone(
    desk: type[Desk], config: dict[str, Any], options: dict[str, Any]
) -> None:
    with event_dispatcher({**config, "DECLARE_EVENT_EXCHANGES": False}, **options) as dispatch:
        dispatch("office", "opened", 1)
        session = dispatch._use()[0]
        sender = session.resource(ConfirmedSender, connection_key(session.config, publishes=True))
        shared = sender._channel.current
        for _ in range(2):
            with pytest.raises(ChannelClosed, match="404 NOT_FOUND"):
                dispatch("nobody", "happened", None)
        dispatch("office", "opened", 2)
        assert sender._channel.current is shared
        wait_until(lambda: len(desk.heard) == 2, "two events")


def test_options_of_the_dispatcher_and_of_one_event(channel: LinkChannel, config: dict[str, Any]) -> None:
    arrived: list[Any] = []
    channel.declare_exchange("office.events", "topic")
    queue = channel.declare_queue("", exclusive=True).name
    channel.bind_queue(queue, "office.events", "#")
    channel.consume(queue, arrived.append, no_ack=True)
    with event_dispatcher(config, priority=3, serializer="yaml") as dispatch:
        dispatch("office", "opened", [1])
        dispatch("office", "opened", [2], priority=5)
        wait_until(lambda: len(arrived) == 2, "both events")
    assert [delivery.properties["priority"] for delivery in arrived] == [3, 5]
    assert {delivery.properties["content_type"] for delivery in arrived} == {"application/x-yaml"}


def test_wrong_options_are_refused_at_once(config: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="'colour' is no option of an EventDispatcher"):
        event_dispatcher(config, colour="red")


def test_a_payload_that_cannot_be_encoded_is_not_sent(broker: str, config: dict[str, Any]) -> None:
    with event_dispatcher(config) as dispatch, pytest.raises(UnserializableValueError):
        dispatch("office", "opened", object())
