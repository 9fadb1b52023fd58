"""The broadcast bus on the embedded broker: who hears what, and what happens to errors."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waiting import wait_until

from rpcservice.amqp.broadcast import AmqpBroadcastBus
from rpcservice.amqp.drops import Drops
from rpcservice.concurrency import green
from rpcservice.config import make_settings
from rpcservice.core.broadcast import BroadcastBus
from rpcservice.core.resource import Resources


@pytest.fixture
def make_bus(config: dict[str, Any]) -> Iterator[Callable[..., AmqpBroadcastBus]]:
    """Start the bus of one more process: ``make_bus(topic=function)``."""
    made: list[Resources] = []

    def make(**listeners: Any) -> AmqpBroadcastBus:
        resources = Resources(make_settings(config), green())
        made.append(resources)
        bus = resources.get(AmqpBroadcastBus)
        for topic, listener in listeners.items():
            bus.subscribe(topic, listener)
        resources.start()
        return bus

    yield make
    for resources in made:
        resources.kill()


def test_all_others_hear_a_topic_once(make_bus: Callable[..., AmqpBroadcastBus]) -> None:
    heard: list[tuple[str, bytes]] = []
    speaker = make_bus(news=lambda body: heard.append(("self", body)))
    for name in ("a", "b"):
        make_bus(news=lambda body, name=name: heard.append((name, body)))
    speaker.publish("news", b"1")
    speaker.publish("news", b"2")
    wait_until(lambda: len(heard) >= 4)
    assert sorted(heard) == [("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", b"2")]


def test_other_topics_are_not_heard(make_bus: Callable[..., AmqpBroadcastBus]) -> None:
    heard: list[str] = []
    speaker = make_bus()
    make_bus(sports=lambda body: heard.append("sports"), news=lambda body: heard.append("news"))
    for topic in ("weather", "sports", "news"):
        speaker.publish(topic, b"")
    wait_until(lambda: "news" in heard)
    assert heard == ["sports", "news"]


def test_a_topic_nobody_listens_to_is_no_error(make_bus: Callable[..., AmqpBroadcastBus]) -> None:
    make_bus().publish("news", b"")


def test_all_listeners_of_a_process_hear(make_bus: Callable[..., AmqpBroadcastBus]) -> None:
    heard: list[int] = []
    listener = make_bus(news=lambda body: heard.append(1))
    listener.subscribe("news", lambda body: heard.append(2))
    make_bus().publish("news", b"")
    wait_until(lambda: heard == [1, 2])


def test_a_message_that_a_listener_cannot_take_is_done_with(
    make_bus: Callable[..., AmqpBroadcastBus], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and counted, and what follows is heard."""
    heard: list[bytes] = []

    def listen(body: bytes) -> None:
        if body == b"bad":
            raise ValueError("no luck")
        heard.append(body)

    listener, speaker = make_bus(news=listen), make_bus()
    for body in (b"bad", b"good"):
        speaker.publish("news", body)
    wait_until(lambda: heard == [b"good"])
    failed, dropped = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert failed == "a broadcast for news could not be handed on"
    assert dropped.startswith("message news for rpcservice.broadcast is dropped (message_id ")
    assert dropped.endswith("; no. 1 that is dropped there): no luck")
    assert listener.resources.get(Drops).counts == {"rpcservice.broadcast": 1}


def test_a_bus_that_has_stopped_hears_no_more(make_bus: Callable[..., AmqpBroadcastBus]) -> None:
    heard: list[bytes] = []
    listener, other = make_bus(news=heard.append), make_bus(news=heard.append)
    listener.stop()
    make_bus().publish("news", b"late")
    wait_until(lambda: heard)
    assert heard == [b"late"]
    assert other is not listener


def test_the_bus_of_one_process_tells_nobody() -> None:
    resources = Resources(make_settings({}), green())
    bus = resources.get(BroadcastBus)
    bus.subscribe("news", pytest.fail)
    bus.publish("news", b"1")
