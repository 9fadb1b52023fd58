"""What tests that break connections share."""

from collections.abc import Callable, Iterator

import pytest
from echo import Echo

from rpcservice import ServiceContainer
from rpcservice.concurrency import Event, green
from rpcservice.testing import TcpProxy


@pytest.fixture
def proxy(rabbitmq_uri: str) -> Iterator[TcpProxy]:
    """A network to this test's virtual host that can be made to fail."""
    with TcpProxy(rabbitmq_uri) as proxy:
        yield proxy


@pytest.fixture
def gate() -> Iterator[Event]:
    """An event that opened at the end, so that no worker waits for it for ever."""
    event = green().event()
    yield event
    event.set()


@pytest.fixture
def echo(container_factory: Callable[..., ServiceContainer], gate: Event) -> ServiceContainer:
    """The service of echo.py, running; its calls of ``hold`` wait for the gate."""
    Echo.entered, Echo.heard, Echo.gate = [], [], gate
    container = container_factory(Echo)
    container.start()
    return container


@pytest.fixture
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have connections try again after a moment instead of after a second."""
    monkeypatch.setattr("rpcservice.amqp.connection.FIRST_PAUSE", 0.05)
