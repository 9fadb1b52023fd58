"""Services on either broker, and a client that sees what is on the wire."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from wire import Inbox, Wire

from rpcservice import ClusterRpc, EventDispatcher
from rpcservice.amqp import waiting
from rpcservice.concurrency import green
from rpcservice.core.runner import ServiceRunner
from rpcservice.testing import dummy, entrypoint_hook

# The same examples each time, however slow the machine: what hypothesis finds at random is no news of the day.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

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


@pytest.fixture
def grown_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have quorum queues used for waits at once, however new they are."""
    monkeypatch.setattr(waiting, "YOUTH", 0)


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
