"""What a Link promises, with the same assertions on the embedded broker and on RabbitMQ, for every implementation."""

from __future__ import annotations

import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from waiting import wait_until

from rpcservice.amqp.channellink import ChannelLink
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.link import Delivery, Link, LinkChannel, Message, Returned
from rpcservice.amqp.memory import MemoryLink
from rpcservice.amqp.memory_broker import forget_broker
from rpcservice.concurrency import Backend, green, threads
from rpcservice.errors import ChannelClosed, ConnectionLost, MessageTooLarge, NameTooLong, UnserializableValueError

LIMIT = 10.0
"""Seconds that anything may take before the test fails."""


class Inbox:
    """Collects what callbacks are called with; waits for it with a limit."""

    def __init__(self, backend: Backend) -> None:
        self._items: deque[Any] = deque()
        self._arrived = backend.event()

    def __call__(self, *args: Any) -> None:
        self._items.append(args[0] if len(args) == 1 else args)
        self._arrived.set()

    def take(self) -> Any:
        deadline = monotonic() + LIMIT
        while not self._items:
            self._arrived.clear()
            if not self._items and not self._arrived.wait(deadline - monotonic()):
                raise AssertionError(f"nothing arrived within {LIMIT} s")
        return self._items.popleft()

    def take_bodies(self, count: int) -> list[bytes]:
        return [self.take().body for _ in range(count)]

    @property
    def is_empty(self) -> bool:
        return not self._items


class Rig:
    """One broker, links to it, and short names for what every test does."""

    def __init__(self, make: Callable[..., Link], uri: str, backend: Backend) -> None:
        self.make = make
        self.uri = uri
        self.backend = backend
        self.links: list[Link] = []
        self.link = self.connect()
        self.channel = self.link.channel()
        self._publisher = self.link.channel(confirms=True)
        self._confirms = self.inbox()
        self._publisher.on_confirm = self._confirms

    def connect(self, uri: str = "") -> Link:
        link = self.make(uri or self.uri, self.backend)
        link.connect()
        self.links.append(link)
        return link

    def inbox(self) -> Inbox:
        return Inbox(self.backend)

    def put(self, exchange: str, routing_key: str, body: bytes = b"", **properties: Any) -> None:
        """Publish and see the broker take it."""
        sequence = self._publisher.publish(Message(exchange, routing_key, body, properties))
        while self._confirms.take()[0][-1] < sequence:
            continue

    def consume(self, queue: str, channel: LinkChannel | None = None, **options: Any) -> Inbox:
        inbox = self.inbox()
        (channel or self.channel).consume(queue, inbox, **options)
        return inbox

    def bodies(self, queue: str) -> list[bytes]:
        """Take all that is ready out of a queue."""
        bodies = []
        while (delivery := self.channel.get(queue, no_ack=True)) is not None:
            bodies.append(delivery.body)
        return bodies

    def fence(self) -> None:
        """See a message go through: what was to be delivered before it on this channel has been."""
        name = self.channel.declare_queue(exclusive=True).name
        inbox = self.consume(name, no_ack=True)
        self.put("", name)
        inbox.take()
        self.channel.delete_queue(name)

    def wait_unroutable(self, routing_key: str) -> None:
        """Publish mandatory messages to the default exchange until one comes back."""
        channel = self.link.channel(confirms=True)
        returned, confirms = self.inbox(), self.inbox()
        channel.on_return, channel.on_confirm = returned, confirms
        deadline = monotonic() + LIMIT
        while returned.is_empty:
            assert monotonic() < deadline, f"{routing_key} still takes messages"
            channel.publish(Message("", routing_key, b"", {}, mandatory=True))
            confirms.take()
        channel.close()

    def close(self) -> None:
        for link in self.links:
            link.close()


def _is_patched() -> bool:
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("socket"))


@pytest.fixture(
    params=[
        "memory-green",
        "memory-threads",
        pytest.param("frame", marks=pytest.mark.broker),
        pytest.param("channel", marks=pytest.mark.broker),
    ]
)
def link_factory(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A rig for each implementation of Link; on RabbitMQ with a virtual host of its own."""
    kind = request.param
    if kind.startswith("memory"):
        host = secrets.token_hex(6)
        rig = Rig(MemoryLink, f"memory://{host}/", green() if kind == "memory-green" else threads())
        yield rig
        rig.close()
        forget_broker(host)
    else:
        uri = request.getfixturevalue("rabbitmq_uri")
        rig = Rig(FrameLink if kind == "frame" else ChannelLink, uri, green() if _is_patched() else threads())
        yield rig
        rig.close()


@pytest.fixture
def rig(link_factory: Rig) -> Rig:
    return link_factory


@pytest.fixture
def channel(rig: Rig) -> LinkChannel:
    return rig.channel


def queue_bound_to(channel: LinkChannel, exchange: str, *keys: str, **arguments: Any) -> str:
    name = channel.declare_queue().name
    for key in keys:
        channel.bind_queue(name, exchange, key, arguments or None)
    return name


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Give the code with which the broker refuses."""
    with pytest.raises(ChannelClosed) as caught:
        function(*args, **kwargs)
    return caught.value.code


# Routing


def test_default_exchange_routes_to_the_queue_of_that_name(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("one")
    channel.declare_queue("two")
    rig.put("", "one", b"hello")
    assert (rig.bodies("one"), rig.bodies("two")) == ([b"hello"], [])


def test_direct_exchange_routes_by_equal_key(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("d", "direct")
    queue = queue_bound_to(channel, "d", "a", "b")
    for key in ("a", "b", "c", "a.b", ""):
        rig.put("d", key, key.encode())
    assert rig.bodies(queue) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("#", ["", "a", "a.b", "a.b.c", "x.a", "a..b"]),
        ("a.#", ["a", "a.b", "a.b.c", "a..b"]),
        ("#.a", ["a", "x.a"]),
        ("a.#.b", ["a.b", "a..b"]),
        ("*", ["a"]),
        ("a.*", ["a.b"]),
        ("*.*.*", ["a.b.c", "a..b"]),
        ("#.*", ["a", "a.b", "a.b.c", "x.a", "a..b"]),
        ("a", ["a"]),
        ("", [""]),
        ("a.*.#.b", ["a..b"]),
    ],
)
def test_topic_exchange_matches_words(rig: Rig, channel: LinkChannel, pattern: str, keys: list[str]) -> None:
    """``*`` is one word, an empty one too, ``#`` any number, none included."""
    channel.declare_exchange("t", "topic")
    queue = queue_bound_to(channel, "t", pattern)
    for key in ("", "a", "a.b", "a.b.c", "x.a", "a..b"):
        rig.put("t", key, key.encode())
    assert [body.decode() for body in rig.bodies(queue)] == keys


def test_fanout_exchange_routes_to_all(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("f", "fanout")
    queues = [queue_bound_to(channel, "f", key) for key in ("x", "")]
    rig.put("f", "any", b"hello")
    assert [rig.bodies(queue) for queue in queues] == [[b"hello"], [b"hello"]]


@pytest.mark.parametrize(
    ("arguments", "matching"),
    [
        ({"x-match": "all", "a": 1, "b": "x"}, ["both", "more"]),
        ({"a": 1, "b": "x"}, ["both", "more"]),
        ({"x-match": "any", "a": 1, "b": "x"}, ["one", "both", "more"]),
        ({"x-match": "all", "b": None}, ["other", "both", "more"]),
        ({"x-match": "all"}, ["none", "one", "other", "text", "both", "more"]),
        ({"x-match": "any"}, []),
        ({"x-match": "all", "a": 1, "x-c": 2}, ["one", "both", "more"]),
        ({"x-match": "all-with-x", "a": 1, "x-c": 2}, ["more"]),
        ({"x-match": "any-with-x", "x-c": 2}, ["more"]),
    ],
)
def test_headers_exchange_compares_headers(
    rig: Rig, channel: LinkChannel, arguments: dict[str, Any], matching: list[str]
) -> None:
    channel.declare_exchange("h", "headers")
    queue = channel.declare_queue().name
    channel.bind_queue(queue, "h", "", arguments)
    for name, headers in (
        ("none", {}),
        ("one", {"a": 1}),
        ("other", {"b": "y"}),
        ("text", {"a": "1"}),
        ("both", {"a": 1, "b": "x"}),
        ("more", {"a": 1, "b": "x", "x-c": 2}),
    ):
        rig.put("h", "", name.encode(), headers=headers)
    assert [body.decode() for body in rig.bodies(queue)] == matching


def test_headers_exchange_refuses_an_unknown_x_match(channel: LinkChannel) -> None:
    channel.declare_exchange("h", "headers")
    name = channel.declare_queue().name
    assert refusal(channel.bind_queue, name, "h", "", {"x-match": "some"}) == 406


def test_exchange_bound_to_an_exchange_passes_messages_on(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("source", "topic")
    channel.declare_exchange("target", "direct")
    channel.bind_exchange("target", "source", "a.#")
    queue = queue_bound_to(channel, "target", "a.b")
    rig.put("source", "a.b", b"through")
    rig.put("source", "a.c", b"lost")
    assert rig.bodies(queue) == [b"through"]


def test_exchanges_bound_in_a_circle_pass_a_message_on_once(rig: Rig, channel: LinkChannel) -> None:
    for name in ("e1", "e2"):
        channel.declare_exchange(name, "fanout")
    channel.bind_exchange("e1", "e2")
    channel.bind_exchange("e2", "e1")
    queue = queue_bound_to(channel, "e2", "")
    rig.put("e1", "", b"once")
    assert rig.bodies(queue) == [b"once"]


def test_two_matching_bindings_give_one_message(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("t", "topic")
    queue = queue_bound_to(channel, "t", "a.*", "a.#")
    rig.put("t", "a.b", b"once")
    assert rig.bodies(queue) == [b"once"]


def test_binding_takes_effect_after_a_message_went_the_same_way(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("t", "topic")
    first = queue_bound_to(channel, "t", "a")
    rig.put("t", "a", b"1")
    second = queue_bound_to(channel, "t", "#")
    rig.put("t", "a", b"2")
    assert (rig.bodies(first), rig.bodies(second)) == ([b"1", b"2"], [b"2"])


def test_unbound_queue_gets_no_more(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("d", "direct")
    queue = queue_bound_to(channel, "d", "a", "b")
    rig.put("d", "a", b"before")
    channel.unbind_queue(queue, "d", "a")
    rig.put("d", "a", b"after")
    rig.put("d", "b", b"other key")
    assert rig.bodies(queue) == [b"before", b"other key"]


def test_unbinding_what_is_not_bound_is_no_error(channel: LinkChannel) -> None:
    channel.declare_exchange("d", "direct")
    queue = channel.declare_queue().name
    channel.unbind_queue(queue, "d", "a")
    assert channel.is_open


def test_alternate_exchange_takes_what_has_no_route(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("rest", "fanout")
    channel.declare_exchange("d", "direct", arguments={"alternate-exchange": "rest"})
    known, rest = queue_bound_to(channel, "d", "a"), queue_bound_to(channel, "rest", "")
    rig.put("d", "a", b"1")
    rig.put("d", "b", b"2")
    assert (rig.bodies(known), rig.bodies(rest)) == ([b"1"], [b"2"])


@pytest.mark.parametrize(
    ("exchange", "key"), [("amq.direct", "k"), ("amq.topic", "k"), ("amq.fanout", ""), ("amq.headers", "")]
)
def test_predeclared_exchange_routes(rig: Rig, channel: LinkChannel, exchange: str, key: str) -> None:
    queue = queue_bound_to(channel, exchange, key)
    rig.put(exchange, key, b"hello")
    assert rig.bodies(queue) == [b"hello"]


def test_virtual_hosts_are_apart(rig: Rig, channel: LinkChannel, request: pytest.FixtureRequest) -> None:
    if rig.uri.startswith("memory:"):
        other = rig.connect(rig.uri + "other")
    else:
        node = request.getfixturevalue("rabbitmq")
        other = rig.connect(node.vhost())
    channel.declare_queue("q")
    assert refusal(other.channel().declare_queue, "q", passive=True) == 404


# What a message carries


def test_message_arrives_with_all_that_it_carries(rig: Rig, channel: LinkChannel) -> None:
    properties = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {
            "text": "é",
            "number": 5,
            "big": 2**40,
            "flag": True,
            "nothing": None,
            "list": ["a", "b"],
            "mixed": [1, ["x"], {"k": "v"}],
            "table": {"k": [1]},
            "fraction": 1.5,
        },
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "message_id": "m",
        "timestamp": 1_700_000_000,
        "type": "t",
        "app_id": "rpcservice",
    }
    channel.declare_queue("q")
    inbox = rig.consume("q", consumer_tag="mine")
    rig.put("", "q", b"\x00\xff", **properties)
    delivery: Delivery = inbox.take()
    assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"\x00\xff", "", "q")
    assert (delivery.channel, delivery.consumer_tag, delivery.redelivered) == (channel, "mine", False)
    assert delivery.properties == properties


def test_property_of_none_is_left_out(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q", b"", correlation_id=None, headers=None, type="t")
    delivery = channel.get("q", no_ack=True)
    assert delivery is not None and delivery.properties == {"type": "t"}


def test_message_without_properties_has_none(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q")
    delivery = channel.get("q", no_ack=True)
    assert delivery is not None and (delivery.properties, delivery.headers, delivery.body) == ({}, {}, b"")


def test_large_body_arrives_whole(rig: Rig, channel: LinkChannel) -> None:
    body = bytes(range(256)) * 2000
    channel.declare_queue("q")
    inbox = rig.consume("q", no_ack=True)
    rig.put("", "q", body)
    assert inbox.take().body == body


def test_what_the_publisher_changes_afterwards_does_not_show(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    message = Message("", "q", b"", {"headers": {"list": ["a"], "table": {"k": "v"}}})
    channel.publish(message)
    message.headers["list"].append("b")
    message.headers["table"]["k"] = "changed"
    message.properties["type"] = "changed"
    delivery = channel.get("q")
    assert delivery is not None
    assert delivery.properties == {"headers": {"list": ["a"], "table": {"k": "v"}}}


def test_what_a_consumer_changes_does_not_show_to_another(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("f", "fanout")
    queues = [queue_bound_to(channel, "f", "") for _ in range(2)]
    inboxes = [rig.consume(queue, no_ack=no_ack) for queue, no_ack in zip(queues, (True, False), strict=True)]
    rig.put("f", "", b"", headers={"list": ["a"]})
    first, second = (inbox.take() for inbox in inboxes)
    first.properties["type"] = "changed"
    first.headers["list"].append("b")
    assert second.properties == {"headers": {"list": ["a"]}}
    second.headers["list"].append("c")
    second.reject(requeue=True)
    assert inboxes[1].take().headers == {"list": ["a"]}


LONG = "ä" * 128
"""256 bytes."""


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("queue", lambda channel: channel.declare_queue(LONG)),
        ("queue", lambda channel: channel.declare_queue(LONG, passive=True)),
        ("queue", lambda channel: channel.delete_queue(LONG)),
        ("queue", lambda channel: channel.purge_queue(LONG)),
        ("queue", lambda channel: channel.consume(LONG, print)),
        ("queue", lambda channel: channel.get(LONG)),
        ("queue", lambda channel: channel.bind_queue(LONG, "e")),
        ("exchange", lambda channel: channel.declare_exchange(LONG)),
        ("exchange", lambda channel: channel.delete_exchange(LONG)),
        ("exchange", lambda channel: channel.bind_queue("q", LONG)),
        ("exchange", lambda channel: channel.bind_exchange("e", LONG)),
        ("exchange", lambda channel: channel.bind_exchange(LONG, "e")),
        ("routing key", lambda channel: channel.bind_queue("q", "e", LONG)),
        ("routing key", lambda channel: channel.unbind_queue("q", "e", LONG)),
        ("routing key", lambda channel: channel.bind_exchange("e", "e", LONG)),
    ],
)
def test_a_name_that_is_too_long_is_an_error_and_costs_nothing_else(
    rig: Rig, what: str, ask: Callable[[LinkChannel], object]
) -> None:
    with pytest.raises(NameTooLong, match=f"the {what} 'ä+'... has 256 bytes, at most 255 are allowed; use a shorter"):
        ask(rig.channel)
    assert rig.channel.declare_queue("q").name == "q"


def test_a_name_of_255_bytes_is_allowed(rig: Rig) -> None:
    name = "q" * 255
    rig.channel.declare_exchange(name)
    rig.channel.declare_queue(name)
    rig.channel.bind_queue(name, name, name)
    rig.put(name, name, b"1")
    got = rig.channel.get(name, no_ack=True)
    assert got is not None
    assert got.body == b"1"


@pytest.mark.parametrize(
    ("routing_key", "properties"),
    [
        ("k" * 256, {}),
        ("é" * 128, {}),
        ("k", {"correlation_id": "c" * 256}),
        ("k", {"headers": {"h" * 256: "x"}}),
        ("k", {"headers": {"h": "x" * 140_000}}),
        ("k", {"headers": {"h": ["x" * 1000] * 140}}),
    ],
)
def test_message_with_a_part_too_large_is_not_sent(
    rig: Rig, channel: LinkChannel, routing_key: str, properties: dict[str, Any]
) -> None:
    """The channel and the connection live on: RabbitMQ would close the whole connection."""
    with pytest.raises(MessageTooLarge):
        channel.publish(Message("", routing_key, b"", properties))
    channel.declare_queue("q")
    rig.put("", "q", b"next", correlation_id="c" * 255)
    assert rig.bodies("q") == [b"next"]


def test_header_that_amqp_does_not_know_is_refused(channel: LinkChannel) -> None:
    with pytest.raises(UnserializableValueError):
        channel.publish(Message("", "q", b"", {"headers": {"h": object()}}))
    assert channel.is_open


# Acknowledging


def test_acked_message_is_done_with(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    rig.put("", "q")
    inbox.take().ack()
    channel.close()
    rig.channel = rig.link.channel()
    assert rig.bodies("q") == []


def test_ack_of_multiple_takes_all_up_to_it(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    for body in (b"1", b"2", b"3"):
        rig.put("", "q", body)
    deliveries = [inbox.take() for _ in range(3)]
    channel.ack(deliveries[1].delivery_tag, multiple=True)
    channel.close()
    rig.channel = rig.link.channel()
    assert rig.bodies("q") == [b"3"]


def test_ack_of_tag_0_takes_all(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    for body in (b"1", b"2"):
        rig.put("", "q", body)
        inbox.take()
    channel.ack(0, multiple=True)
    channel.close()
    rig.channel = rig.link.channel()
    assert rig.bodies("q") == []


def test_requeued_message_comes_back_marked(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    rig.put("", "q", b"again", headers={"h": "x"})
    inbox.take().reject(requeue=True)
    delivery = inbox.take()
    assert (delivery.body, delivery.redelivered, delivery.headers) == (b"again", True, {"h": "x"})


def test_requeued_message_goes_to_its_place(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    for body in (b"1", b"2", b"3", b"4"):
        rig.put("", "q", body)
    first, second, third = (channel.get("q") for _ in range(3))
    assert first is not None and second is not None and third is not None
    third.reject(requeue=True)
    first.reject(requeue=True)
    second.reject(requeue=True)
    assert rig.bodies("q") == [b"1", b"2", b"3", b"4"]


def test_reject_of_multiple_requeues_all_up_to_it(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    for body in (b"1", b"2", b"3"):
        rig.put("", "q", body)
    deliveries = [channel.get("q") for _ in range(3)]
    assert deliveries[1] is not None
    channel.reject(deliveries[1].delivery_tag, requeue=True, multiple=True)
    assert rig.bodies("q") == [b"1", b"2"]


def test_rejected_message_is_dropped(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    rig.put("", "q")
    inbox.take().reject()
    channel.close()
    rig.channel = rig.link.channel()
    assert rig.bodies("q") == []


def test_message_taken_without_acks_is_done_with(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q", no_ack=True)
    rig.put("", "q", b"1")
    assert inbox.take().body == b"1"
    channel.close()
    rig.channel = rig.link.channel()
    assert rig.bodies("q") == []


def test_unknown_delivery_tag_closes_the_channel(rig: Rig, channel: LinkChannel) -> None:
    channel.on_closed = closed = rig.inbox()
    channel.ack(77)
    failure = closed.take()
    assert (type(failure), failure.code, channel.is_open) == (ChannelClosed, 406, False)


def test_settling_on_a_closed_channel_is_without_effect(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    rig.put("", "q", b"1")
    delivery = inbox.take()
    channel.close()
    delivery.ack()
    delivery.reject()
    again = rig.link.channel().get("q")
    assert again is not None and (again.body, again.redelivered) == (b"1", True)


def test_closed_channel_gives_its_messages_back_in_order(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    other = rig.link.channel()
    inbox = rig.consume("q", other)
    for body in (b"1", b"2", b"3"):
        rig.put("", "q", body)
    assert inbox.take_bodies(3) == [b"1", b"2", b"3"]
    other.close()
    deliveries = [channel.get("q") for _ in range(3)]
    assert [(one.body, one.redelivered) for one in deliveries if one] == [(b"1", True), (b"2", True), (b"3", True)]


def test_a_channel_that_is_left_gives_its_messages_back_and_takes_no_more(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    other = rig.link.channel()
    closed: list[Exception] = []
    other.on_closed = closed.append
    inbox = rig.consume("q", other)
    rig.put("", "q", b"1")
    inbox.take()
    other.leave()
    with pytest.raises(ChannelClosed):
        other.publish(Message("", "q", b"2", {}))
    again = wait_until(lambda: channel.get("q"))
    assert (again.body, again.redelivered) == (b"1", True)
    assert not closed


def test_many_channels_may_be_left_and_others_opened(rig: Rig, channel: LinkChannel) -> None:
    """The numbers come back; there are 2047 of them on a connection."""
    for _ in range(200):
        rig.link.channel(confirms=True).leave()
    assert rig.link.channel().declare_queue("q").name == "q"
    assert getattr(rig.link.channel(), "number", 0) < 100


def test_closed_connection_gives_its_messages_back(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    other = rig.connect()
    taken = rig.consume("q", other.channel())
    rig.put("", "q", b"1")
    rig.put("", "q", b"2")
    first = inbox.take()
    assert taken.take().body != first.body
    other.close()
    assert inbox.take().redelivered


# Consuming


def test_prefetch_bounds_what_a_consumer_holds(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    for number in range(5):
        rig.put("", "q", b"%d" % number)
    channel.qos(2)
    inbox = rig.consume("q")
    held = [inbox.take(), inbox.take()]
    rig.fence()
    assert inbox.is_empty
    assert rig.link.channel().declare_queue("q", passive=True).messages == 3
    held[0].ack()
    assert inbox.take().body == b"2"


def test_prefetch_is_of_each_consumer(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    channel.qos(1)
    first = rig.consume("q")
    channel.qos(2)
    second = rig.consume("q")
    for number in range(4):
        rig.put("", "q", b"%d" % number)
    first.take(), second.take(), second.take()
    rig.fence()
    assert first.is_empty and second.is_empty


def test_rejecting_makes_room_for_the_next(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    channel.qos(1)
    inbox = rig.consume("q")
    rig.put("", "q", b"1")
    rig.put("", "q", b"2")
    inbox.take().reject()
    assert inbox.take().body == b"2"


def test_consumers_take_turns(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inboxes = [rig.consume("q"), rig.consume("q", rig.connect().channel()), rig.consume("q")]
    for number in range(6):
        rig.put("", "q", b"%d" % number)
    assert sorted(sorted(inbox.take_bodies(2)) for inbox in inboxes) == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


def test_free_consumer_takes_what_a_busy_one_cannot(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    channel.qos(1)
    busy, free = rig.consume("q"), rig.consume("q")
    for number in range(2):
        rig.put("", "q", b"%d" % number)
    busy.take()
    free.take().ack()
    for number in range(2, 5):
        rig.put("", "q", b"%d" % number)
        delivery = free.take()
        assert delivery.body == b"%d" % number
        delivery.ack()


def test_cancelled_consumer_gets_no_more_and_may_still_ack(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.inbox()
    tag = channel.consume("q", inbox)
    rig.put("", "q", b"1")
    delivery = inbox.take()
    channel.cancel(tag)
    rig.put("", "q", b"2")
    rig.fence()
    assert inbox.is_empty
    delivery.ack()
    assert rig.bodies("q") == [b"2"]


def test_cancelling_an_unknown_consumer_is_no_error(channel: LinkChannel) -> None:
    channel.cancel("nobody")
    assert channel.is_open


def test_queue_that_is_deleted_cancels_its_consumers(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    cancelled = rig.inbox()
    rig.consume("q", on_cancel=lambda: cancelled("told"))
    rig.link.channel().delete_queue("q")
    assert cancelled.take() == "told"


def test_cancelling_a_consumer_oneself_does_not_tell_it(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    cancelled = rig.inbox()
    tag = channel.consume("q", rig.inbox(), on_cancel=lambda: cancelled("told"))
    channel.cancel(tag)
    channel.delete_queue("q")
    rig.fence()
    assert cancelled.is_empty


def test_exclusive_consumer_is_alone(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    tag = channel.consume("q", rig.inbox(), exclusive=True)
    assert refusal(rig.link.channel().consume, "q", rig.inbox()) == 403
    channel.cancel(tag)
    rig.consume("q")
    assert refusal(rig.link.channel().consume, "q", rig.inbox(), exclusive=True) == 403


def test_consuming_a_missing_queue_is_refused(rig: Rig, channel: LinkChannel) -> None:
    assert refusal(channel.consume, "missing", rig.inbox()) == 404


def test_single_active_consumer_is_followed_by_the_next(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-single-active-consumer": True})
    first, second = rig.inbox(), rig.inbox()
    tag = channel.consume("q", first, no_ack=True)
    channel.consume("q", second, no_ack=True)
    for body in (b"1", b"2"):
        rig.put("", "q", body)
    assert first.take_bodies(2) == [b"1", b"2"]
    channel.cancel(tag)
    rig.put("", "q", b"3")
    assert second.take().body == b"3"


def test_long_queue_is_delivered_in_order(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    count = 2500
    for number in range(count):
        channel.publish(Message("", "q", b"%d" % number, {}))
    rig.fence()
    inbox = rig.consume("q")
    assert inbox.take_bodies(count) == [b"%d" % number for number in range(count)]


def test_callback_may_publish_and_ack(rig: Rig, channel: LinkChannel) -> None:
    """As an RPC service does: the reply, then the ack."""
    channel.declare_queue("q")
    channel.declare_queue("reply")

    def answer(delivery: Delivery) -> None:
        channel.publish(Message("", delivery.properties["reply_to"], delivery.body.upper(), {}))
        delivery.ack()

    channel.consume("q", answer)
    replies = rig.consume("reply", no_ack=True)
    rig.put("", "q", b"hello", reply_to="reply")
    assert replies.take().body == b"HELLO"


def test_callback_that_raises_leaves_its_message_and_the_next_ones_come(
    rig: Rig, channel: LinkChannel, caplog: pytest.LogCaptureFixture
) -> None:
    channel.declare_queue("q")
    inbox = rig.inbox()

    def fail_first(delivery: Delivery) -> None:
        if delivery.body == b"1":
            raise ValueError("bad luck")
        inbox(delivery)

    channel.consume("q", fail_first)
    rig.put("", "q", b"1")
    rig.put("", "q", b"2")
    assert inbox.take().body == b"2"
    assert "unacknowledged" in caplog.text and "bad luck" in caplog.text
    channel.close()
    rig.channel = rig.link.channel()
    assert rig.bodies("q") == [b"1", b"2"]


def test_priority_goes_first(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-priority": 5})
    for body, priority in ((b"a", None), (b"b", 3), (b"c", 9), (b"d", 3), (b"e", 5)):
        rig.put("", "q", body, priority=priority)
    assert rig.bodies("q") == [b"c", b"e", b"b", b"d", b"a"]


# Getting


def test_get_gives_a_message_or_none(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q", b"1", type="t", headers={"h": "x"})
    delivery = channel.get("q")
    assert delivery is not None
    assert (delivery.body, delivery.routing_key, delivery.exchange) == (b"1", "q", "")
    assert delivery.properties == {"type": "t", "headers": {"h": "x"}}
    assert channel.get("q") is None


def test_message_from_get_can_be_given_back(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q", b"1")
    delivery = channel.get("q")
    assert delivery is not None and not delivery.redelivered
    delivery.reject(requeue=True)
    again = channel.get("q")
    assert again is not None and again.redelivered
    again.ack()
    assert channel.get("q") is None


def test_get_from_a_missing_queue_is_refused(channel: LinkChannel) -> None:
    assert refusal(channel.get, "missing") == 404


# Publishing


def test_mandatory_message_without_a_route_comes_back(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("d", "direct")
    channel.on_return = returned = rig.inbox()
    channel.publish(Message("d", "nowhere", b"body", {"correlation_id": "c", "headers": {"h": "x"}}, mandatory=True))
    properties = {"correlation_id": "c", "headers": {"h": "x"}}
    assert returned.take() == Returned(312, "NO_ROUTE", "d", "nowhere", properties, b"body")


def test_message_that_is_not_mandatory_is_dropped_silently(rig: Rig) -> None:
    publisher = rig.link.channel(confirms=True)
    publisher.on_return, publisher.on_confirm = returned, confirms = rig.inbox(), rig.inbox()
    publisher.publish(Message("", "nowhere", b"", {}))
    assert confirms.take()[2]
    assert returned.is_empty


def test_return_comes_before_its_confirm(rig: Rig) -> None:
    publisher = rig.link.channel(confirms=True)
    log = rig.inbox()
    publisher.on_return = lambda returned: log("returned")
    publisher.on_confirm = lambda sequences, multiple, taken: log((*sequences, taken))
    publisher.publish(Message("", "nowhere", b"", {}, mandatory=True))
    assert [log.take(), log.take()] == ["returned", (1, True)]


def test_confirms_carry_the_sequence_numbers_that_publish_gave(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    publisher = rig.link.channel(confirms=True)
    publisher.on_confirm = confirms = rig.inbox()
    numbers = [publisher.publish(Message("", "q", b"", {})) for _ in range(50)]
    assert numbers == list(range(1, 51))
    open_numbers = set(numbers)
    while open_numbers:
        sequences, multiple, taken = confirms.take()
        assert taken
        open_numbers -= {
            number for number in open_numbers if number in sequences or (multiple and number < sequences[0])
        }
    assert confirms.is_empty


def test_channel_without_confirms_numbers_nothing(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    assert [channel.publish(Message("", "q", b"", {})) for _ in range(2)] == [0, 0]


def test_full_queue_that_refuses_makes_a_nack(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    publisher = rig.link.channel(confirms=True)
    publisher.on_confirm = confirms = rig.inbox()
    outcomes = []
    for body in (b"1", b"2"):
        publisher.publish(Message("", "q", body, {}))
        sequences, _, taken = confirms.take()
        outcomes.append((*sequences, taken))
    assert outcomes == [(1, True), (2, False)]
    assert rig.bodies("q") == [b"1"]


def test_publishing_to_a_missing_exchange_closes_the_channel_afterwards(rig: Rig, channel: LinkChannel) -> None:
    """``publish`` does not wait, so it is ``on_closed`` that tells."""
    bystander = rig.link.channel()
    channel.on_closed = closed = rig.inbox()
    channel.publish(Message("missing", "k", b"", {}))
    failure = closed.take()
    assert (type(failure), failure.code, channel.is_open) == (ChannelClosed, 404, False)
    with pytest.raises(ChannelClosed):
        channel.publish(Message("", "k", b"", {}))
    assert bystander.declare_queue("q").name == "q"


def test_channel_that_fails_gives_its_messages_back(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    failing = rig.link.channel()
    inbox = rig.consume("q", failing)
    rig.put("", "q", b"1")
    inbox.take()
    failing.publish(Message("missing", "k", b"", {}))
    again = rig.consume("q").take()
    assert (again.body, again.redelivered) == (b"1", True)


@pytest.mark.parametrize("expiration", ["soon", "-1", "1.5"])
def test_expiration_that_is_no_number_closes_the_channel(rig: Rig, channel: LinkChannel, expiration: str) -> None:
    channel.declare_queue("q")
    channel.on_closed = closed = rig.inbox()
    channel.publish(Message("", "q", b"", {"expiration": expiration}))
    assert closed.take().code == 406


# Time, limits, dead letters


def dead_letters_to(channel: LinkChannel, queue: str, **arguments: Any) -> None:
    """Make a queue whose dead letters reach the queue "dead"."""
    channel.declare_exchange("dlx", "topic")
    channel.declare_queue("dead")
    channel.bind_queue("dead", "dlx", "#")
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    channel.declare_queue(queue, arguments={"x-dead-letter-exchange": "dlx", **arguments})


def death_of(delivery: Delivery) -> dict[str, Any]:
    deaths: list[dict[str, Any]] = delivery.headers["x-death"]
    assert len(deaths) == 1
    death = dict(deaths[0])
    age = datetime.now(UTC).replace(tzinfo=None) - death.pop("time")
    assert abs(age) < timedelta(seconds=60)
    return death


def test_expired_message_goes_to_the_dead_letters(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q")
    inbox = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"late", expiration="40", type="t", headers={"h": "x"})
    delivery = inbox.take()
    assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"late", "dlx", "q")
    assert death_of(delivery) == {
        "count": 1,
        "reason": "expired",
        "queue": "q",
        "exchange": "",
        "routing-keys": ["q"],
        "original-expiration": "40",
    }
    assert delivery.headers["h"] == "x"
    assert "expiration" not in delivery.properties and delivery.properties["type"] == "t"


def test_queue_ttl_expires_messages(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q", x_message_ttl=40)
    inbox = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"1", expiration="60000")
    assert death_of(inbox.take())["reason"] == "expired"


def test_shorter_of_both_times_counts(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q", x_message_ttl=60_000)
    inbox = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"1", expiration="40")
    assert inbox.take().body == b"1"


def test_message_with_no_time_at_all_is_still_handed_to_a_waiting_consumer(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    rig.put("", "q", b"now", expiration="0")
    assert inbox.take().body == b"now"


def test_message_with_no_time_at_all_is_gone_without_one(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q", b"now", expiration="0")
    assert channel.get("q") is None


def test_message_expires_in_its_turn(rig: Rig, channel: LinkChannel) -> None:
    """Only the head of a queue expires: what lies behind it waits for it."""
    dead_letters_to(channel, "q")
    inbox = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"first", expiration="80")
    rig.put("", "q", b"second", expiration="1")
    assert inbox.take_bodies(2) == [b"first", b"second"]


def test_message_that_is_held_does_not_expire(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q")
    channel.declare_queue("clock", arguments={"x-dead-letter-exchange": "dlx"})
    dead = rig.consume("dead", no_ack=True)
    held = rig.consume("q")
    rig.put("", "q", b"held", expiration="20")
    held.take()
    rig.put("", "clock", b"tick", expiration="60")
    assert dead.take().body == b"tick"


def test_queue_that_nobody_uses_expires(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-expires": 60})
    rig.wait_unroutable("q")
    assert refusal(channel.declare_queue, "q", passive=True) == 404


def test_queue_with_a_consumer_does_not_expire(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-expires": 60})
    channel.declare_queue("clock", arguments={"x-expires": 150})
    inbox = rig.consume("q", no_ack=True)
    rig.wait_unroutable("clock")
    rig.put("", "q", b"1")
    assert inbox.take().body == b"1"


def test_rejected_message_goes_to_the_dead_letters(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q")
    dead = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"bad", headers={"h": "x"}, expiration="60000")
    rig.consume("q").take().reject()
    delivery = dead.take()
    assert death_of(delivery) == {
        "count": 1,
        "reason": "rejected",
        "queue": "q",
        "exchange": "",
        "routing-keys": ["q"],
        "original-expiration": "60000",
    }
    first = {key: value for key, value in delivery.headers.items() if key.startswith("x-first")}
    assert first == {
        "x-first-death-exchange": "",
        "x-first-death-queue": "q",
        "x-first-death-reason": "rejected",
    }
    assert delivery.headers["h"] == "x"


def test_dead_letters_take_the_routing_key_of_the_queue(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q", x_dead_letter_routing_key="graves.q")
    dead = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"bad")
    rig.consume("q").take().reject()
    assert dead.take().routing_key == "graves.q"


def test_dead_letters_may_go_through_the_default_exchange(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("dead")
    channel.declare_queue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    dead = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"bad")
    rig.consume("q").take().reject()
    assert dead.take().body == b"bad"


def test_dead_letters_without_their_exchange_are_dropped(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-dead-letter-exchange": "missing"})
    rig.put("", "q", b"bad")
    inbox = rig.consume("q")
    inbox.take().reject()
    rig.fence()
    assert inbox.is_empty and channel.is_open


def test_second_death_is_counted(rig: Rig, channel: LinkChannel) -> None:
    """As a retry by way of a waiting queue does: rejected, expired, rejected."""
    channel.declare_queue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "wait"})
    channel.declare_queue(
        "wait",
        arguments={"x-message-ttl": 20, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"},
    )
    inbox = rig.consume("q")
    rig.put("", "q", b"again")
    for _ in range(2):
        inbox.take().reject()
    deaths = inbox.take().headers["x-death"]
    assert [(death["queue"], death["reason"], death["count"]) for death in deaths] == [
        ("wait", "expired", 2),
        ("q", "rejected", 2),
    ]


def test_message_that_expires_in_a_circle_is_dropped(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q", x_message_ttl=20)
    channel.bind_queue("q", "dlx", "q")
    dead = rig.consume("dead", no_ack=True)
    rig.put("", "q", b"first")
    assert death_of(dead.take())["count"] == 1
    rig.put("", "q", b"second")
    assert (dead.take().body, dead.is_empty) == (b"second", True)


def test_full_queue_drops_its_head(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q", x_max_length=2)
    dead = rig.consume("dead", no_ack=True)
    for body in (b"1", b"2", b"3"):
        rig.put("", "q", body)
    delivery = dead.take()
    assert (delivery.body, death_of(delivery)["reason"]) == (b"1", "maxlen")
    assert rig.bodies("q") == [b"2", b"3"]


def test_queue_full_by_bytes_drops_its_head(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", arguments={"x-max-length-bytes": 10})
    for body in (b"1" * 6, b"2" * 4, b"3"):
        rig.put("", "q", body)
    assert rig.bodies("q") == [b"2" * 4, b"3"]


def test_full_queue_that_refuses_may_send_to_the_dead_letters(rig: Rig, channel: LinkChannel) -> None:
    dead_letters_to(channel, "q", x_max_length=1, x_overflow="reject-publish-dlx")
    dead = rig.consume("dead", no_ack=True)
    for body in (b"1", b"2"):
        rig.put("", "q", body)
    delivery = dead.take()
    assert (delivery.body, death_of(delivery)["reason"]) == (b"2", "maxlen")
    assert rig.bodies("q") == [b"1"]


# Declaring


def test_declaring_again_tells_how_full_the_queue_is(rig: Rig, channel: LinkChannel) -> None:
    arguments = {"x-message-ttl": 60_000, "x-expires": 300_000}
    channel.declare_queue("q", arguments=arguments)
    rig.put("", "q")
    rig.put("", "q")
    assert channel.declare_queue("q", arguments=arguments) == ("q", 2, 0)
    rig.consume("q").take()
    assert channel.declare_queue("q", passive=True).consumers == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"durable": False},
        {"auto_delete": True},
        {"arguments": {"x-message-ttl": 5}},
        {"arguments": {}},
        {"arguments": {"x-message-ttl": 1000, "x-max-length": 5}},
    ],
)
def test_declaring_a_queue_differently_is_refused(channel: LinkChannel, changed: dict[str, Any]) -> None:
    same: dict[str, Any] = {"durable": True, "auto_delete": False, "arguments": {"x-message-ttl": 1000}}
    channel.declare_queue("q", **same)
    assert refusal(channel.declare_queue, "q", **(same | changed)) == 406


@pytest.mark.parametrize(
    "changed",
    [{"type": "topic"}, {"durable": False}, {"auto_delete": True}, {"arguments": {"alternate-exchange": "a"}}],
)
def test_declaring_an_exchange_differently_is_refused(channel: LinkChannel, changed: dict[str, Any]) -> None:
    same: dict[str, Any] = {"type": "direct", "durable": True, "auto_delete": False}
    channel.declare_exchange("e", **same)
    channel.declare_exchange("e", **same)
    assert refusal(channel.declare_exchange, "e", **(same | changed)) == 406


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": -1},
        {"x-message-ttl": "soon"},
        {"x-expires": 0},
        {"x-max-length": -1},
        {"x-overflow": "explode"},
        {"x-dead-letter-exchange": 5},
        {"x-dead-letter-routing-key": "k"},
    ],
)
def test_wrong_argument_of_a_queue_is_refused(channel: LinkChannel, arguments: dict[str, Any]) -> None:
    assert refusal(channel.declare_queue, "q", arguments=arguments) == 406


def test_passive_declaration_finds_what_there_is(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", durable=False)
    channel.declare_exchange("e", "fanout")
    channel.declare_exchange("e", passive=True)
    assert channel.declare_queue("q", passive=True) == ("q", 0, 0)
    assert refusal(rig.link.channel().declare_queue, "missing", passive=True) == 404
    assert refusal(rig.link.channel().declare_exchange, "missing", passive=True) == 404


def test_refusal_is_told_and_names_the_thing(rig: Rig, channel: LinkChannel) -> None:
    channel.on_closed = closed = rig.inbox()
    with pytest.raises(ChannelClosed, match="no queue 'missing' in vhost"):
        channel.declare_queue("missing", passive=True)
    assert closed.take().code == 404
    assert not channel.is_open
    assert refusal(channel.declare_queue, "q") == 404


def test_unknown_exchange_type_ends_the_connection(rig: Rig, channel: LinkChannel) -> None:
    rig.link.on_lost = lost = rig.inbox()
    with pytest.raises(ConnectionLost):
        channel.declare_exchange("e", "strange")
    assert isinstance(lost.take(), ConnectionLost)


def test_exclusive_queue_is_locked_to_others(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", exclusive=True)
    channel.declare_exchange("e")
    other = rig.connect()
    for use in (
        lambda it: it.declare_queue("q", exclusive=True),
        lambda it: it.declare_queue("q", passive=True),
        lambda it: it.consume("q", rig.inbox()),
        lambda it: it.get("q"),
        lambda it: it.bind_queue("q", "e"),
        lambda it: it.purge_queue("q"),
        lambda it: it.delete_queue("q"),
    ):
        assert refusal(use, other.channel()) == 405
    assert refusal(channel.declare_queue, "q") == 405


def test_exclusive_queue_goes_with_its_connection(rig: Rig, channel: LinkChannel) -> None:
    other = rig.connect()
    other.channel().declare_queue("q", exclusive=True)
    other.close()
    rig.wait_unroutable("q")
    assert refusal(channel.declare_queue, "q", passive=True) == 404


def test_auto_delete_queue_goes_with_its_last_consumer(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q", auto_delete=True)
    other = rig.link.channel()
    tags = [channel.consume("q", rig.inbox()), other.consume("q", rig.inbox())]
    channel.cancel(tags[0])
    assert channel.declare_queue("q", passive=True).consumers == 1
    other.close()
    rig.wait_unroutable("q")
    assert refusal(channel.declare_queue, "q", passive=True) == 404


def test_auto_delete_exchange_goes_with_its_last_binding(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("e", "direct", auto_delete=True)
    first, second = channel.declare_queue().name, channel.declare_queue().name
    channel.bind_queue(first, "e", "a")
    channel.bind_queue(second, "e", "a")
    channel.unbind_queue(first, "e", "a")
    channel.declare_exchange("e", passive=True)
    channel.delete_queue(second)
    assert refusal(channel.declare_exchange, "e", passive=True) == 404


def test_queue_without_a_name_is_given_one(channel: LinkChannel) -> None:
    names = {channel.declare_queue().name for _ in range(3)}
    assert len(names) == 3 and all(name.startswith("amq.gen-") for name in names)


@pytest.mark.parametrize("name", ["amq.mine", ""])
def test_reserved_exchange_name_is_refused(channel: LinkChannel, name: str) -> None:
    assert refusal(channel.declare_exchange, name, "direct") == 403


def test_reserved_queue_name_is_refused(channel: LinkChannel) -> None:
    assert refusal(channel.declare_queue, "amq.mine") == 403


def test_default_exchange_cannot_be_bound_or_deleted(rig: Rig, channel: LinkChannel) -> None:
    queue = channel.declare_queue().name
    assert refusal(channel.delete_exchange, "") == 403
    assert refusal(rig.link.channel().bind_queue, queue, "", "k") == 403


def test_deleting_a_queue_tells_how_many_messages_went(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q")
    rig.put("", "q")
    assert channel.delete_queue("q") == 2
    assert channel.delete_queue("q") == 0


def test_deleting_a_queue_on_condition(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    rig.put("", "q")
    assert refusal(rig.link.channel().delete_queue, "q", if_empty=True) == 406
    inbox = rig.consume("q")
    inbox.take()
    assert refusal(rig.link.channel().delete_queue, "q", if_unused=True) == 406


def test_messages_of_a_deleted_queue_can_still_be_settled(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    inbox = rig.consume("q")
    rig.put("", "q", b"1")
    rig.put("", "q", b"2")
    first, second = inbox.take(), inbox.take()
    rig.link.channel().delete_queue("q")
    first.ack()
    second.reject(requeue=True)
    assert channel.declare_queue("q").messages == 0


def test_purging_drops_what_is_ready(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    for number in range(3):
        rig.put("", "q", b"%d" % number)
    held = channel.get("q")
    assert channel.purge_queue("q") == 2
    assert held is not None
    held.reject(requeue=True)
    assert rig.bodies("q") == [b"0"]
    assert refusal(channel.purge_queue, "missing") == 404


def test_deleting_an_exchange_removes_it(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("e", "fanout")
    queue = queue_bound_to(channel, "e", "")
    rig.put("e", "", b"1")
    channel.delete_exchange("e")
    channel.delete_exchange("e")
    assert rig.bodies(queue) == [b"1"]
    channel.declare_exchange("e", "fanout")
    rig.put("e", "", b"2")
    assert rig.bodies(queue) == []


def test_binding_what_is_missing_is_refused(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_exchange("e")
    queue = channel.declare_queue().name
    assert refusal(rig.link.channel().bind_queue, "missing", "e") == 404
    assert refusal(rig.link.channel().bind_queue, queue, "missing") == 404
    assert refusal(rig.link.channel().bind_exchange, "missing", "e") == 404


# Ends


def test_closed_channel_takes_nothing_more(rig: Rig, channel: LinkChannel) -> None:
    channel.on_closed = closed = rig.inbox()
    channel.close()
    channel.close()
    with pytest.raises(ChannelClosed):
        channel.declare_queue("q")
    with pytest.raises(ChannelClosed):
        channel.publish(Message("", "q", b"", {}))
    assert closed.is_empty and not channel.is_open


def test_closed_channel_calls_its_consumers_no_more(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    other = rig.link.channel()
    inbox = rig.consume("q", other)
    other.close()
    rig.put("", "q", b"1")
    rig.fence()
    assert inbox.is_empty
    assert rig.bodies("q") == [b"1"]


def test_closing_a_connection_sends_what_was_published(rig: Rig, channel: LinkChannel) -> None:
    channel.declare_queue("q")
    other = rig.connect()
    publisher = other.channel()
    for number in range(20):
        publisher.publish(Message("", "q", b"%d" % number, {}))
    other.close()
    assert rig.consume("q").take_bodies(20) == [b"%d" % number for number in range(20)]


def test_closing_a_connection_is_no_loss(rig: Rig) -> None:
    other = rig.connect()
    other.on_lost = lost = rig.inbox()
    channel = other.channel()
    other.close()
    other.close()
    assert lost.is_empty
    with pytest.raises(ConnectionLost):
        other.channel()
    with pytest.raises(ConnectionLost):
        channel.publish(Message("", "q", b"", {}))
    assert not channel.is_open


def test_link_that_is_not_connected_opens_no_channel(rig: Rig) -> None:
    with pytest.raises(ConnectionLost):
        rig.make(rig.uri, rig.backend).channel()
