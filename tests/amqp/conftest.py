"""Services on either broker, and a client that sees what is on the wire."""

from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from rpcservice import ClusterRpc, EventDispatcher
from rpcservice.amqp.connection import connection_key, make_link
from rpcservice.amqp.link import Delivery, Message
from rpcservice.concurrency import Backend, green
from rpcservice.config import make_settings
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import dummy, entrypoint_hook

# The same examples each time, however slow the machine: what hypothesis finds at random is no news of the day.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

LIMIT = 10.0
"""Seconds that anything may take before a test fails."""


_ON_RABBITMQ = pytest.mark.broker
_LINKS = ["memory", pytest.param("frames", marks=_ON_RABBITMQ), pytest.param("channels", marks=_ON_RABBITMQ)]


@pytest.fixture(params=_LINKS[:2])
def broker(request: pytest.FixtureRequest) -> str:
    """Run the test on the embedded broker and on RabbitMQ; the marker of the second one chooses the URI."""
    name: str = request.param
    return name


@pytest.fixture(params=_LINKS)
def link_kind(request: pytest.FixtureRequest) -> str:
    """Run the test on each kind of link: the embedded broker, RabbitMQ by frames, RabbitMQ by kombu's channels."""
    name: str = request.param
    return name


@pytest.fixture
def config(request: pytest.FixtureRequest, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of this test's services, with the kind of link."""
    kind = request.getfixturevalue("link_kind") if "link_kind" in request.fixturenames else "any"
    return {**config, "link": "channel"} if kind == "channels" else config


class Inbox:
    """Collects what it is called with; waits for it with a limit."""

    def __init__(self, backend: Backend) -> None:
        self._items: deque[Any] = deque()
        self._arrived = backend.event()

    def __call__(self, item: Any = None) -> None:
        self._items.append(item)
        self._arrived.set()

    def take(self, limit: float = LIMIT) -> Any:
        deadline = monotonic() + limit
        while not self._items:
            self._arrived.clear()
            assert self._arrived.wait(max(0, deadline - monotonic())), f"nothing arrived within {limit:g} s"
        return self._items.popleft()

    def __len__(self) -> int:
        return len(self._items)


class Wire:
    """A connection of the test's own: publishes raw messages, and sees those of others."""

    def __init__(self, uri: str, backend: Backend) -> None:
        settings = make_settings({"AMQP_URI": uri})
        self.backend = backend
        self.link = make_link(connection_key(settings), uri, settings, backend)
        self.link.connect()
        self.channel = self.link.channel()
        self._publisher = self.link.channel(confirms=True)
        self._confirms = Inbox(backend)
        self._publisher.on_confirm = lambda sequence, multiple, taken: self._confirms(sequence)

    def tap(self, exchange: str, routing_key: str = "#") -> Inbox:
        """See what goes to a topic exchange from now on."""
        self.channel.declare_exchange(exchange, "topic")
        queue = self.channel.declare_queue("", exclusive=True, durable=False).name
        self.channel.bind_queue(queue, exchange, routing_key)
        received = Inbox(self.backend)
        self.channel.consume(queue, received, no_ack=True)
        return received

    def publish(self, exchange: str, routing_key: str, body: bytes, **properties: Any) -> None:
        """Publish and see the broker take it."""
        sequence = self._publisher.publish(Message(exchange, routing_key, body, properties))
        while self._confirms.take() < sequence:
            continue

    def request(self, routing_key: str, body: bytes = b'{"args": [], "kwargs": {}}', **properties: Any) -> Delivery:
        """Send a request as any client may; gives the reply."""
        reply_to = f"wire-{id(body)}-{monotonic()}"
        replies = self.tap("nameko-rpc", reply_to)
        given = {"content_type": "application/json", "correlation_id": "id", "reply_to": reply_to, **properties}
        self.publish("nameko-rpc", routing_key, body, **given)
        reply: Delivery = replies.take()
        return reply


@pytest.fixture
def inbox() -> Callable[[], Inbox]:
    """Make inboxes."""
    return lambda: Inbox(green())


@pytest.fixture
def wire(broker_uri: str) -> Iterator[Wire]:
    """A raw client of this test's broker."""
    made = Wire(broker_uri, green())
    yield made
    made.link.close()


@pytest.fixture
def start(runner_factory: Callable[..., ServiceRunner]) -> Callable[..., ServiceRunner]:
    """Start services in one runner: ``start(Products, Orders, max_workers=2)``."""

    def make(*services: type, **settings: Any) -> ServiceRunner:
        runner = runner_factory(*services, config=settings)
        runner.start()
        return runner

    return make


class Caller:
    """Runs a function of the test in a worker."""

    name = "caller"
    cluster = ClusterRpc()
    dispatch = EventDispatcher()

    @dummy
    def run(self, function: Callable[[Any], Any]) -> Any:
        return function(self)


@pytest.fixture
def caller() -> type[Caller]:
    """The service class to host for :func:`run_in`."""
    return Caller


@pytest.fixture
def run_in() -> Callable[..., Any]:
    """Run a function in a worker of a runner's ``caller``: ``run_in(runner, lambda caller: caller.cluster...)``."""

    def run(runner: ServiceRunner, function: Callable[[Any], Any], **context_data: Any) -> Any:
        with entrypoint_hook(runner.containers["caller"], "run", context_data) as hook:
            return hook(function)

    return run
