"""A service that answers, and can be made to wait before it does; and looks behind the scenes of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from waiting import wait_until

from rpcservice import BROADCAST, EventDispatcher, ServiceContainer, event_handler, rpc
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.framelink import FrameLink
from rpcservice.amqp.link import LinkChannel
from rpcservice.concurrency import Event, green
from rpcservice.core.context import WorkerContext

COMES_AGAIN = "its message has come again and is not run a second time here"
"""What the log says when a delivery is given to the worker that has it already."""


class Echo:
    """Answers, and can be made to wait before it does."""

    name = "echo"
    dispatch = EventDispatcher()
    entered: list[str] = []
    heard: list[str] = []
    kept: list[str] = []
    gate: Event

    @rpc
    def say(self, text: str) -> str:
        return text

    @rpc
    def hold(self, text: str) -> str:
        self.entered.append(text)
        self.gate.wait(30)
        return text

    @rpc
    def emit(self, text: str) -> None:
        self.dispatch("said", text)

    @event_handler("echo", "said", handler_type=BROADCAST, reliable_delivery=False)
    def hear(self, text: str) -> None:
        self.heard.append(text)

    @event_handler("echo", "kept")
    def keep(self, text: str) -> None:
        self.kept.append(text)


def connection_of(container: ServiceContainer) -> AmqpConnection:
    return container.resources.get(AmqpConnection, connection_key(container.config))


def dispatch_of(container: ServiceContainer) -> Any:
    """Give the function that a worker of the service would send events with."""
    (provider,) = container.dependencies
    return provider.get_dependency(WorkerContext(container, container.entrypoints[0]))


def start_holding(rpc: Any, text: str = "held") -> Any:
    """Start a call that does not end before the gate opens, and see it run."""
    call = rpc["echo"].hold.call_async(text)
    wait_until(lambda: text in Echo.entered, "the start of the call")
    return call


@contextmanager
def raw_channel(uri: str) -> Iterator[LinkChannel]:
    """A channel of somebody else's."""
    link = FrameLink(uri, green())
    link.connect()
    try:
        yield link.channel()
    finally:
        link.close()
