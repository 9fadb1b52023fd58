"""ChannelLink where it differs: on a transport that is no AMQP (kombu's own in-memory one), and when things break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from rpcservice.amqp.channellink import CLOSE_TIMEOUT, ChannelLink
from rpcservice.amqp.link import Delivery, Message
from rpcservice.concurrency import green, threads
from rpcservice.errors import ChannelClosed, ConnectionLost
from rpcservice.testing.proxy import TcpProxy
from rpcservice.testing.rabbitmq import PASSWORD_PREFIX, RabbitMQNode

LIMIT = 10.0


@pytest.fixture
def link() -> Iterator[ChannelLink]:
    link = ChannelLink("memory://", threads())
    link.connect()
    yield link
    link.close()


class Taken:
    """Collects deliveries; waits for one at a time."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.arrived = threads().event()

    def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.arrived.set()

    def take(self) -> Delivery:
        assert self.arrived.wait(LIMIT), "nothing arrived"
        delivery = self.deliveries.pop(0)
        if not self.deliveries:
            self.arrived.clear()
        return delivery


def test_a_closed_link_listens_no_more(link: ChannelLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpcservice.amqp.channellink.IDLE_PAUSE", LIMIT)
    link.channel()
    began = monotonic()
    link.close()
    assert monotonic() - began < CLOSE_TIMEOUT


def test_message_arrives_with_all_that_it_carries(link: ChannelLink) -> None:
    channel = link.channel()
    channel.declare_exchange("carries", "topic")
    channel.declare_queue("carried")
    channel.bind_queue("carried", "carries", "a.#")
    taken = Taken()
    channel.consume("carried", taken)
    properties: dict[str, Any] = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"h": "x", "list": ["a"]},
        "delivery_mode": 2,
        "correlation_id": "c",
        "reply_to": "r",
        "priority": 0,
    }
    channel.publish(Message("carries", "a.b", b"\x00\xff", properties))
    delivery = taken.take()
    assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"\x00\xff", "carries", "a.b")
    assert delivery.properties == properties
    delivery.ack()
    channel.delete_queue("carried")
    channel.delete_exchange("carries")


def test_requeued_message_comes_back(link: ChannelLink) -> None:
    channel = link.channel()
    channel.declare_queue("requeues")
    taken = Taken()
    channel.consume("requeues", taken)
    channel.publish(Message("", "requeues", b"again", {}))
    taken.take().reject(requeue=True)
    again = taken.take()
    assert (again.body, again.redelivered) == (b"again", True)
    again.ack()
    channel.delete_queue("requeues")


def test_messages_can_be_fetched_and_counted(link: ChannelLink) -> None:
    channel = link.channel()
    channel.declare_queue("fetched")
    for body in (b"1", b"2", b"3"):
        channel.publish(Message("", "fetched", body, {}))
    assert channel.declare_queue("fetched").messages == 3
    first = channel.get("fetched", no_ack=True)
    assert first is not None and first.body == b"1"
    assert channel.purge_queue("fetched") == 2
    assert channel.get("fetched") is None
    channel.delete_queue("fetched")


def test_confirms_are_given(link: ChannelLink) -> None:
    channel = link.channel(confirms=True)
    channel.declare_queue("confirmed")
    confirmed = threads().event()
    channel.on_confirm = lambda sequences, multiple, taken: (
        confirmed.set() if (sequences, taken) == ((1,), True) else None
    )
    assert channel.publish(Message("", "confirmed", b"", {})) == 1
    assert confirmed.wait(LIMIT)
    channel.delete_queue("confirmed")


def test_unknown_delivery_tag_closes_the_channel(link: ChannelLink) -> None:
    channel = link.channel()
    closed = threads().event()
    failures: list[Exception] = []

    def note(failure: Exception) -> None:
        failures.append(failure)
        closed.set()

    channel.on_closed = note
    channel.ack(5)
    assert closed.wait(LIMIT)
    with pytest.raises(ChannelClosed, match="unknown delivery tag 5"):
        channel.declare_queue("never")


def test_closed_link_opens_no_channel(link: ChannelLink) -> None:
    link.close()
    with pytest.raises(ConnectionLost, match="closed by this process"):
        link.channel()


def test_broker_that_is_away_is_named() -> None:
    link = ChannelLink("amqp://guest:guest@127.0.0.1:1//", threads(), connect_timeout=2)
    with pytest.raises(ConnectionLost, match=r"cannot connect to amqp://guest:\*\*@127\.0\.0\.1:1//"):
        link.connect()


# A broker in trouble


@pytest.fixture
def connect() -> Iterator[Callable[..., ChannelLink]]:
    made: list[ChannelLink] = []

    def connect(uri: str, **options: Any) -> ChannelLink:
        link = ChannelLink(uri, green(), **options)
        link.connect()
        made.append(link)
        return link

    yield connect
    for link in made:
        link.close()


class Told:
    """Collects what a callback is called with; waits for it with a limit."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._arrived = green().event()

    def __call__(self, item: Any) -> None:
        self.items.append(item)
        self._arrived.set()

    def take(self) -> Any:
        assert self._arrived.wait(LIMIT), "nothing was told"
        item = self.items.pop(0)
        if not self.items:
            self._arrived.clear()
        return item


@pytest.mark.broker
def test_connection_that_the_broker_closes_is_lost(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, connect: Callable[..., ChannelLink]
) -> None:
    link = connect(rabbitmq_uri)
    link.on_lost = lost = Told()
    channel = link.channel()
    channel.on_closed = closed = Told()
    rabbitmq.close_connections("maintenance")
    assert isinstance(lost.take(), ConnectionLost)
    assert isinstance(closed.take(), ConnectionLost)
    with pytest.raises(ConnectionLost):
        channel.declare_queue("q")
    with pytest.raises(ConnectionLost):
        link.channel()


@pytest.mark.broker
def test_silent_broker_is_found_by_missing_heartbeats(
    rabbitmq: RabbitMQNode, connect: Callable[..., ChannelLink]
) -> None:
    """The publisher that waits for its confirm is freed too."""
    with TcpProxy(rabbitmq.uri) as proxy:
        link = connect(proxy.uri, heartbeat=1)
        link.on_lost = lost = Told()
        channel = link.channel(confirms=True)
        proxy.black_hole()
        outcome = Told()

        def publish() -> None:
            try:
                outcome(channel.publish(Message("", "q", b"", {})))
            except ConnectionLost as exc:
                outcome(exc)

        green().spawn(publish)
        assert isinstance(lost.take(), ConnectionLost)
        assert isinstance(outcome.take(), ConnectionLost)


@pytest.mark.broker
def test_blocked_publisher_is_told_and_goes_on(
    rabbitmq: RabbitMQNode, rabbitmq_uri: str, connect: Callable[..., ChannelLink]
) -> None:
    link = connect(rabbitmq_uri)
    link.on_blocked = blocked = Told()
    channel = link.channel(confirms=True)
    confirmed = Told()
    channel.on_confirm = lambda sequences, multiple, taken: confirmed((*sequences, taken))
    rabbitmq.block_publishers()
    try:
        # The first one makes the broker say so; it is the second one that has to wait.
        channel.publish(Message("", "nowhere", b"", {}))
        green().spawn(channel.publish, Message("", "nowhere", b"", {}))
        assert "blocked" in blocked.take()
        assert confirmed.take() == (1, True)
    finally:
        rabbitmq.unblock_publishers()
    assert blocked.take() is None
    assert confirmed.take() == (2, True)


@pytest.mark.broker
def test_refusing_the_login_is_told(rabbitmq: RabbitMQNode) -> None:
    link = ChannelLink(rabbitmq.uri.replace(PASSWORD_PREFIX, "wrong-"), green())
    with pytest.raises(ConnectionLost, match=r"cannot connect to .*ACCESS_REFUSED"):
        link.connect()
