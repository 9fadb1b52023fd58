"""What a caller that is not ours is owed: a persistent reply that the broker has confirmed before the ack."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waiting import wait_until

from rpcservice import ServiceContainer, rpc
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.link import Delivery, Message
from rpcservice.concurrency import Event, green
from rpcservice.testing import RabbitMQNode

EXCHANGE = "nameko-rpc"
REQUEST = b'{"args": [], "kwargs": {}}'


class Counter:
    name = "counter"
    runs: list[int] = []
    gate: Event

    @rpc
    def count(self) -> int:
        self.runs.append(1)
        return len(self.runs)

    @rpc
    def hold(self) -> str:
        self.runs.append(1)
        self.gate.wait(30)
        return "held"


class RawCaller:
    """Sends requests and takes replies as a program that is not ours would."""

    def __init__(self, uri: str) -> None:
        self.link = FrameLink(uri, green())
        self.link.connect()
        self.channel = self.link.channel()
        self.replies: list[Delivery] = []
        self.changed = threading.Condition()

    def listen(self, **arguments: Any) -> None:
        self.channel.declare_queue("replies", durable=True, arguments=arguments)
        self.channel.bind_queue("replies", EXCHANGE, "the-caller")
        self.channel.consume("replies", self._take, no_ack=True)

    def _take(self, delivery: Delivery) -> None:
        with self.changed:
            self.replies.append(delivery)
            self.changed.notify_all()

    def request(self, method: str = "count", **properties: Any) -> None:
        content = {"content_type": "application/json", "content_encoding": "utf-8", "reply_to": "the-caller"}
        self.channel.publish(Message(EXCHANGE, f"counter.{method}", REQUEST, {**content, **properties}))

    def reply(self) -> Delivery:
        with self.changed:
            assert self.changed.wait_for(lambda: self.replies, 10)
        return self.replies.pop(0)


@pytest.fixture
def counter(container_factory: Callable[..., ServiceContainer]) -> Iterator[ServiceContainer]:
    Counter.runs.clear()
    Counter.gate = green().event()
    container = container_factory(Counter)
    container.start()
    yield container
    Counter.gate.set()


@pytest.fixture
def caller(counter: ServiceContainer, rabbitmq_uri: str) -> Iterator[RawCaller]:
    raw = RawCaller(rabbitmq_uri)
    yield raw
    raw.link.close()


def test_namekos_reply_is_persistent(caller: RawCaller) -> None:
    caller.listen()
    caller.request()
    assert caller.reply().properties["delivery_mode"] == 2


def test_our_own_reply_is_transient(caller: RawCaller) -> None:
    caller.listen()
    caller.request(app_id="rpcservice")
    assert caller.reply().properties["delivery_mode"] == 1


def test_a_request_is_not_acked_when_its_reply_is_refused(
    caller: RawCaller, rabbitmq: RabbitMQNode, rabbitmq_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The reply queue takes nothing, so the broker refuses the reply; the request is tried once more, then dropped."""
    caller.listen(**{"x-max-length": 0, "x-overflow": "reject-publish"})
    caller.request()
    wait_until(lambda: len(Counter.runs) == 2)
    wait_until(lambda: rabbitmq.queues(rabbitmq_uri)["rpc-counter"]["messages"] == 0)
    assert len(Counter.runs) == 2
    assert "the reply to counter.count was not taken by the broker" in caplog.text


def test_our_own_request_is_acked_without_a_confirm(
    caller: RawCaller, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    caller.listen(**{"x-max-length": 0, "x-overflow": "reject-publish"})
    caller.request(app_id="rpcservice")
    wait_until(lambda: Counter.runs and rabbitmq.queues(rabbitmq_uri)["rpc-counter"]["messages"] == 0)
    assert len(Counter.runs) == 1


def test_a_correlation_id_that_is_absent_stays_absent(caller: RawCaller) -> None:
    caller.listen()
    caller.request()
    assert "correlation_id" not in caller.reply().properties


def test_a_request_without_reply_to_runs_and_its_result_is_dropped(caller: RawCaller) -> None:
    """It kills a nameko service."""
    caller.listen()
    caller.request(reply_to=None)
    caller.request()
    assert json.loads(caller.reply().body) == {"result": 2, "error": None}


def test_a_call_that_ends_during_the_stop_is_answered_and_acked(
    caller: RawCaller, counter: ServiceContainer, rabbitmq: RabbitMQNode, rabbitmq_uri: str
) -> None:
    """The connection stays until the broker has confirmed the last reply."""
    caller.listen()
    caller.request("hold")
    wait_until(lambda: Counter.runs, "the call")
    stopping = green().spawn(counter.stop)
    Counter.gate.set()
    assert json.loads(caller.reply().body) == {"result": "held", "error": None}
    assert stopping.wait(10)
    assert rabbitmq.queues(rabbitmq_uri)["rpc-counter"]["messages"] == 0
