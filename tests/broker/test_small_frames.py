"""Dead letters on a broker with AMQP's smallest frames, into which all headers of a message have to fit."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Queue
from waiting import wait_until
from wire import Wire

from rpcservice import Retry, ServiceContainer, consume
from rpcservice.amqp.deadletters import revived
from rpcservice.concurrency import green
from rpcservice.testing import RabbitMQNode

pytestmark = pytest.mark.broker

SMALLEST = 4096
WIDE = "\N{PILE OF POO}"
"""Four bytes."""


@pytest.fixture(scope="module")
def small() -> Iterator[RabbitMQNode]:
    """A node whose frames have 4096 bytes at most."""
    with RabbitMQNode(settings={"frame_max": str(SMALLEST)}) as node:
        yield node


@pytest.fixture
def uri(small: RabbitMQNode) -> str:
    """A virtual host of the test's own."""
    return small.vhost()


@pytest.fixture(params=["frames", "channel"])
def config(uri: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"AMQP_URI": uri, "link": request.param}


@pytest.fixture
def wire(uri: str) -> Iterator[Wire]:
    made = Wire(uri, green())
    yield made
    made.link.close()


def failing(queue: str, text: str, **options: Any) -> type:
    class Failing:
        name = "failing"
        payloads: list[Any] = []

        @consume(Queue(queue), dead_letter=True, **options)
        def work(self, payload: Any) -> None:
            self.payloads.append(payload)
            raise ConnectionError(text)

    return Failing


def letter_of(wire: Wire, queue: str) -> Any:
    """Give the one dead letter of a queue, which is empty itself."""
    letter = wait_until(lambda: wire.channel.get(f"{queue}.dead", no_ack=True))
    wait_until(lambda: wire.channel.declare_queue(queue, passive=True).messages == 0)
    assert wire.channel.get(f"{queue}.dead", no_ack=True) is None
    return letter


def send(wire: Wire, queue: str, **properties: Any) -> None:
    wire.publish("", queue, b'{"id": 7}', content_type="application/json", **properties)


def test_the_traceback_goes_first(container_factory: Callable[..., ServiceContainer], wire: Wire) -> None:
    service = failing("plain", "no bank " + "x" * 1950)
    container_factory(service).start()
    send(wire, "plain", headers={"language": "en"})
    headers = letter_of(wire, "plain").headers
    assert headers["language"] == "en"
    assert headers["rpcservice-error"].startswith("ConnectionError: no bank")
    assert "rpcservice-traceback" not in headers
    assert service.payloads == [{"id": 7}]


def test_then_go_the_headers_of_the_sender(container_factory: Callable[..., ServiceContainer], wire: Wire) -> None:
    service = failing("crowded", "no bank")
    container_factory(service).start()
    send(wire, "crowded", headers={"large": "x" * 3700})
    headers = letter_of(wire, "crowded").headers
    assert "large" not in headers
    assert headers["rpcservice-error"] == "ConnectionError: no bank"
    assert headers["rpcservice-attempts"] == {"crowded": 1}
    assert service.payloads == [{"id": 7}]


def test_then_the_ends_of_texts(container_factory: Callable[..., ServiceContainer], wire: Wire) -> None:
    service = failing("wide", WIDE * 2000)
    container_factory(service).start()
    send(wire, "wide")
    headers = letter_of(wire, "wide").headers
    assert headers["rpcservice-error"] == "ConnectionError: " + WIDE * 83
    assert headers["rpcservice-method"] == "work"
    assert service.payloads == [{"id": 7}]


@pytest.mark.parametrize("retry", [None, Retry(max_attempts=2, initial=0.05, jitter=0)], ids=["once", "twice"])
def test_at_last_there_is_what_a_replay_needs(
    container_factory: Callable[..., ServiceContainer], wire: Wire, retry: Retry | None
) -> None:
    """Whatever names and properties a message has; else it would come again at once, and without end."""
    queue = f"{'q' * 240}{'once' if retry is None else 'twice'}"
    service = failing(queue, WIDE * 2000, retry=retry)
    container_factory(service).start()
    texts = {name: name[0] * 255 for name in ("correlation_id", "reply_to", "message_id", "type", "app_id")}
    send(wire, queue, headers={"some": "x" * 800}, content_encoding="utf-8", **texts)
    letter = letter_of(wire, queue)
    assert letter.headers["rpcservice-error"] == "ConnectionError: " + WIDE * 83
    assert letter.properties["message_id"] == "m" * 255
    message = revived(letter)
    assert message is not None
    assert (message.exchange, message.routing_key, json.loads(message.body)) == ("", queue, {"id": 7})
    assert 1 <= len(service.payloads) <= 2
