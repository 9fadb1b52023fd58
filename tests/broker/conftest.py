"""What tests that break connections share."""

from collections.abc import Callable, Iterator

import pytest

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
def quick_pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have connections try again after a moment instead of after a second."""

    def shorten() -> None:
        monkeypatch.setattr("rpcservice.amqp.connection.FIRST_PAUSE", 0.05)

    shorten()
    return shorten
