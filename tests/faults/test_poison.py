"""Scenario 6: 10,000 messages that are wrong in every way: each comes to an end that is told of, no service dies."""

import json
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import amqp
import pytest
from kombu import Queue
from poison import frames, http_requests, messages
from waiting import wait_until
from websocket import ABNF, WebSocket, create_connection
from wire import Wire

from rpcservice import (
    BROADCAST,
    Retry,
    ServiceRpc,
    ServiceRunner,
    WebSocketHubProvider,
    consume,
    event_handler,
    http,
    rpc,
    websocket_rpc,
)
from rpcservice.amqp.broadcast import EXCHANGE, AmqpBroadcastBus
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.deadletters import dead_letter_queue
from rpcservice.amqp.drops import Drops
from rpcservice.amqp.link import Delivery
from rpcservice.amqp.replies import ReplyListener
from rpcservice.concurrency import green
from rpcservice.testing import RabbitMQNode
from rpcservice.web.server import WebServer

pytestmark = [pytest.mark.broker, pytest.mark.faults, pytest.mark.timeout(600)]

EACH = 1000
"""For each of the queues, which makes 12,000, and for HTTP and websockets."""
SECONDS = 240
REPLIES = "poison-replies"
DROPS_LOG, REPLIES_LOG = "rpcservice.amqp.drops", "rpcservice.amqp.replies"


class Victim:
    """Fails for some of what it is given."""

    name = "victim"
    own = ServiceRpc("victim", timeout=30)
    hub = WebSocketHubProvider()

    @rpc
    def take(self, value: Any, other: Any = None) -> Any:
        return self._work(value)

    @rpc(dead_letter=True)
    def keep(self, value: Any, other: Any = None) -> Any:
        return self._work(value)

    @event_handler("source", "lost")
    def lose(self, payload: Any) -> None:
        self._work(payload)

    @event_handler("source", "kept", dead_letter=True)
    def hear(self, payload: Any) -> None:
        self._work(payload)

    @event_handler("source", "retried", retry=Retry(max_attempts=2, initial=0.1))
    def retry(self, payload: Any) -> None:
        self._work(payload)

    @event_handler("source", "told", handler_type=BROADCAST, reliable_delivery=False)
    def be_told(self, payload: Any) -> None:
        self._work(payload)

    @event_handler("source", "done", idempotent=True)
    def do_once(self, payload: Any) -> None:
        self._work(payload)

    @event_handler("source", "named", idempotent=lambda payload: payload["args"][0], dead_letter=True)
    def do_once_by_name(self, payload: Any) -> None:
        self._work(payload)

    @consume(Queue("parcels"))
    def unpack(self, payload: Any) -> None:
        self._work(payload)

    @http("POST", "/take")
    def post(self, request: Any) -> Any:
        return {"value": self._work(request.get_json(force=True))}

    @websocket_rpc
    def take_frame(self, socket_id: str, value: Any, other: Any = None) -> Any:
        return self._work(value)

    def _work(self, value: Any) -> Any:
        if isinstance(value, list):
            raise ValueError(value[:1])
        return len(str(value))


@dataclass
class Tally(logging.Handler):
    """What became of each message, by its id: from the workers and from the log.

    Attributes:
        strays: How many replies are told of that nobody waits for.
    """

    runs: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    strays: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = logging.Handler.__hash__

    def around_worker(self, ctx: Any, call: Callable[[Any], Any]) -> Any:
        """Note how a worker ended."""
        outcome = call(ctx)
        number = getattr(ctx.message, "properties", {}).get("message_id")
        self.runs[number] += 1
        self.successes[number] += ctx.error is None
        return outcome

    def emit(self, record: logging.LogRecord) -> None:
        """Note a drop, or how many replies were dropped."""
        told: Any = record.args
        if record.name == REPLIES_LOG:
            self.strays += told[1]
        else:
            self.dropped[told[2]] += 1


@pytest.fixture
def tally(caplog: pytest.LogCaptureFixture) -> Iterator[Tally]:
    tally, logs = Tally(), [logging.getLogger(name) for name in (DROPS_LOG, REPLIES_LOG)]
    # pytest would keep all that is logged.
    caplog.set_level(logging.CRITICAL)
    for log in logs:
        log.setLevel(logging.WARNING)
        log.propagate = False
        log.addHandler(tally)
    yield tally
    for log in logs:
        log.removeHandler(tally)
        log.propagate = True
        log.setLevel(logging.NOTSET)


@pytest.fixture
def runner(runner_factory: Callable[..., ServiceRunner], tally: Tally) -> ServiceRunner:
    runner = runner_factory(Victim, hooks=[tally], config={"idempotency_store": "memory:"})
    runner.start()
    return runner


@pytest.fixture
def channel(rabbitmq: RabbitMQNode, rabbitmq_uri: str, runner: ServiceRunner) -> Iterator[Any]:
    """A client that checks nothing of what it sends."""
    user, _, rest = rabbitmq_uri.removeprefix("amqp://").partition(":")
    password, _, rest = rest.partition("@")
    host, _, vhost = rest.partition("/")
    with amqp.Connection(host, user, password, virtual_host=vhost) as connection:
        channel = connection.channel()
        channel.queue_declare(REPLIES, auto_delete=False)
        # Replies to wherever; requests come along.
        channel.queue_bind(REPLIES, "nameko-rpc", "#")
        yield channel


@pytest.fixture
def count(rabbitmq: RabbitMQNode, rabbitmq_uri: str) -> Callable[[], dict[str, int]]:
    return lambda: {name: queue["messages"] for name, queue in rabbitmq.queues(rabbitmq_uri).items()}


@pytest.fixture
def take_all(rabbitmq_uri: str) -> Iterator[Callable[[str], Iterator[Delivery]]]:
    """Empty a queue; not by py-amqp, which does not read what it has sent."""
    wire = Wire(rabbitmq_uri, green())

    def take(queue: str) -> Iterator[Delivery]:
        while (message := wire.channel.get(queue)) is not None:
            yield message
            message.ack()

    yield take
    wire.link.close()


def send(channel: Any, exchange: str, routing_key: str, name: str) -> dict[str, bool]:
    """Send poison; gives the ids, and whether each asks for a reply."""
    sent = {}
    for number, (body, properties) in enumerate(messages(EACH)):
        message_id = f"{name}-{number}"
        sent[message_id] = "reply_to" in properties
        message = amqp.Message(body, message_id=message_id, correlation_id=message_id, **properties)
        channel.basic_publish(message, exchange, routing_key)
    return sent


def is_broadcast(body: bytes) -> bool:
    """Say whether it is what the hub sends: a channel and a frame, as JSON."""
    try:
        channel, _ = json.loads(body)
        hash(channel)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def test_each_message_on_each_queue_is_handled_answered_kept_or_dropped_and_counted(
    runner: ServiceRunner,
    channel: Any,
    tally: Tally,
    take_all: Callable[[str], Iterator[Delivery]],
    count: Callable[[], dict[str, int]],
    report: Callable[..., None],
    rpc: Any,
) -> None:
    plain = send(channel, "nameko-rpc", "victim.take", "take")
    kept_requests = send(channel, "nameko-rpc", "victim.keep", "keep")
    nowhere = send(channel, "nameko-rpc", "victim.nowhere", "nowhere")
    listener = runner.resources.get(ReplyListener, connection_key(runner.config))
    stray = send(channel, "nameko-rpc", listener.routing_key, "stray")
    lost = send(channel, "", "parcels", "unpack")
    for event_type in ("lost", "told", "done"):
        lost |= send(channel, "source.events", event_type, event_type)
    kept = {}
    for event_type in ("kept", "retried", "named"):
        kept |= send(channel, "source.events", event_type, event_type)
    (topic,) = runner.resources.get(AmqpBroadcastBus)._listeners
    broadcast = send(channel, EXCHANGE, topic, "hub")

    left = [name for name in count() if not name.endswith(dead_letter_queue("")) and name != REPLIES]
    wait_until(lambda: not any(count()[name] for name in left), "the last of them", timeout=SECONDS)
    assert channel.is_open and runner.containers["victim"].wait(0) is False

    dead = Counter(
        message.properties["message_id"]
        for queue in count()
        if queue.endswith(dead_letter_queue(""))
        for message in take_all(queue)
    )
    answered = Counter(
        message.properties["correlation_id"]
        for message in take_all(REPLIES)
        if message.properties["message_id"] != message.properties["correlation_id"]
    )
    assert rpc["victim"].take("afterwards") == rpc["victim"].keep("afterwards") == len("afterwards")
    requests = plain | kept_requests | nowhere
    # Each request that asks for a reply has one, and no other has.
    assert answered == Counter(number for number, wants_reply in requests.items() if wants_reply)
    for number, wants_reply in (plain | nowhere | dict.fromkeys(lost, False)).items():
        assert wants_reply or tally.runs[number] + tally.dropped[number] == 1, number
    for number in kept_requests | kept:
        assert tally.successes[number] + dead[number] == 1, number
    # What the hub can read it hands to those who have subscribed to it, who are none here.
    unread = {number for number, (body, _) in zip(broadcast, messages(EACH), strict=True) if not is_broadcast(body)}
    assert {number for number in tally.dropped if number in broadcast} == unread
    assert not tally.dropped.keys() - plain.keys() - nowhere.keys() - lost.keys() - unread
    assert listener.unclaimed == len(stray)
    # The first one is told of at once, the others when it is looked at for them again, at the end at the latest.
    runner.stop()
    assert tally.strays == len(stray)
    assert runner.resources.get(Drops).counts.total() == tally.dropped.total()
    report(
        sent=len(requests) + len(stray) + len(lost) + len(kept) + len(broadcast),
        handled=len(tally.runs) + len(broadcast) - len(unread),
        answered=answered.total(),
        dead_letters=dead.total(),
        dropped=tally.dropped.total(),
        stray_replies=len(stray),
    )


def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes and end; gives all that comes back."""
    with socket.create_connection(address, 60) as sock:
        answer = b""
        try:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent; the answer is there
        while data := sock.recv(65536):
            answer += data
        return answer


def test_each_http_request_is_answered(runner: ServiceRunner, report: Callable[..., None]) -> None:
    address = runner.resources.get(WebServer).address
    requests = http_requests(EACH)
    answers = [ask(address, request) for request in requests]
    assert all(answer.startswith(b"HTTP/1.1 ") for answer in answers), next(
        request[:1000] for request, answer in zip(requests, answers, strict=True) if not answer.startswith(b"HTTP/1.1 ")
    )
    statuses = Counter(answer.split()[1].decode() for answer in answers)
    good = ask(address, b'POST /take HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\n"good"')
    assert good.startswith(b"HTTP/1.1 200 ") and good.endswith(b"4}")
    assert runner.containers["victim"].wait(0) is False
    report(sent=len(requests), **statuses)


def test_each_message_of_a_websocket_is_answered_or_ends_it(runner: ServiceRunner, report: Callable[..., None]) -> None:
    url = runner.resources.get(WebServer).url.replace("http", "ws") + "/ws"

    def connect() -> WebSocket:
        websocket = create_connection(url, timeout=60)
        assert b'"connected"' in websocket.recv_data()[1]
        return websocket

    websocket, outcomes = connect(), Counter[str]()
    for is_text, payload in frames(EACH):
        websocket.send(payload, ABNF.OPCODE_TEXT if is_text else ABNF.OPCODE_BINARY)
        opcode, answer = websocket.recv_data()
        if opcode == ABNF.OPCODE_CLOSE:
            outcomes[f"closed with {int.from_bytes(answer[:2], 'big')}"] += 1
            websocket.shutdown()
            websocket = connect()
        else:
            assert b'"type": "result"' in answer or b'"type":"result"' in answer
            outcomes["answered"] += 1
    websocket.send('{"method": "take_frame", "data": {"value": "good"}, "correlation_id": 1}')
    assert b'"data":4' in websocket.recv_data()[1].replace(b" ", b"")
    websocket.shutdown()
    assert runner.containers["victim"].wait(0) is False
    report(sent=outcomes.total(), **outcomes)
