"""Broadcasts to websockets over RabbitMQ: between processes, and when the broker goes away and comes back."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_process import Running
from waiting import wait_until

from rpcservice import ServiceContainer, WebSocketHubProvider, websocket_rpc
from rpcservice.amqp.broadcast import EXCHANGE, AmqpBroadcastBus
from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.errors import ConnectionLost, MessageTooLarge
from rpcservice.testing import TcpProxy, VirtualSocket
from rpcservice.web.websocket_hub import WebSocketHub
from rpcservice.web.websocket_server import WebSocketServer

pytestmark = pytest.mark.broker

Containers = Callable[..., ServiceContainer]

SERVICE = """
from rpcservice import WebSocketHubProvider, rpc, websocket_rpc

class Rooms:
    name = "rooms"
    hub = WebSocketHubProvider()

    @websocket_rpc
    def join(self, socket_id: str, room: str) -> None:
        self.hub.subscribe(socket_id, room)

    @rpc
    def tell(self, room: str, text: str) -> None:
        self.hub.broadcast(room, "told", text)
"""


class Rooms:
    name = "rooms"
    hub = WebSocketHubProvider()

    @websocket_rpc
    def join(self, socket_id: str, room: str) -> None:
        self.hub.subscribe(socket_id, room)


def hub_of(container: ServiceContainer) -> WebSocketHub:
    return container.resource(WebSocketHub, (WebSocketServer, "rooms"))


def client_of(container: ServiceContainer) -> VirtualSocket:
    return VirtualSocket(*container.resource(WebSocketServer).web_server.address)


def start(container_factory: Containers, **config: Any) -> ServiceContainer:
    container = container_factory(Rooms, config or None)
    container.start()
    return container


@pytest.fixture
def other_process(rabbitmq_uri: str, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Where another process serves websockets of the same service."""
    (tmp_path / "rooms.py").write_text(SERVICE)
    command = [sys.executable, "-m", "rpcservice", "run", str(tmp_path / "rooms.py"), "--broker", rabbitmq_uri]
    process = Running([*command, "-d", "WEB_SERVER_ADDRESS=127.0.0.1:0"])
    try:
        host, _, port = process.wait_for("Web server: http").split("//")[1].partition(":")
        process.wait_for("services are up")
        yield host, int(port)
        process.process.terminate()
        assert process.wait() == 0, process.err
    finally:
        process.close()


def test_a_broadcast_reaches_websockets_of_another_process(
    container_factory: Containers, other_process: tuple[str, int]
) -> None:
    container = start(container_factory)
    with VirtualSocket(*other_process) as there, client_of(container) as here:
        for socket in (there, here):
            socket.rpc("join", room="tea")
        hub_of(container).broadcast("tea", "told", {"n": 1})
        assert [socket.wait_for_event("told") for socket in (there, here)] == [("told", {"n": 1})] * 2


def test_the_other_process_reaches_websockets_of_this_one(
    container_factory: Containers, other_process: tuple[str, int], rpc: Any
) -> None:
    """In the order in which it was told, and each once."""
    container = start(container_factory)
    with client_of(container) as here:
        here.rpc("join", room="tea")
        for number in range(20):
            rpc["rooms"].tell("tea", number)
        assert [here.wait_for_event("told")[1] for _ in range(20)] == list(range(20))
        assert here.get_event_queue("told").empty()


def test_broadcasts_go_on_when_the_connection_has_come_back(
    proxy: TcpProxy, container_factory: Containers, quick_pauses: None
) -> None:
    near, far = start(container_factory), start(container_factory, AMQP_URI=proxy.uri)
    with client_of(far) as client:
        client.rpc("join", room="tea")
        hub_of(near).broadcast("tea", "told", "before")
        assert client.wait_for_event("told")[1] == "before"
        consumer = far.resource(AmqpBroadcastBus)._consumer
        before = consumer._queue
        proxy.drop()
        wait_until(lambda: consumer._queue != before and consumer._consuming_on is not None, "a new queue")

        def tell() -> bool:
            hub_of(near).broadcast("tea", "told", "after")
            return not client.get_event_queue("told").empty()

        wait_until(tell, "an event after the reconnect")
        assert client.close_code is None


def test_websockets_of_the_process_are_served_while_the_broker_is_away(
    proxy: TcpProxy, container_factory: Containers
) -> None:
    """They have the event; that the others do not is an error for who broadcasts."""
    container = start(container_factory, AMQP_URI=proxy.uri, publish_timeout=0.2)
    with client_of(container) as client:
        client.rpc("join", room="tea")
        proxy.refuse()
        connection = container.resource(AmqpConnection, connection_key(container.config))
        wait_until(connection.health, "the end of the connection")
        with pytest.raises(ConnectionLost, match="nothing was sent"):
            hub_of(container).broadcast("tea", "told", "alone")
        assert client.wait_for_event("told")[1] == "alone"


def test_a_broadcast_that_is_too_large_is_refused(container_factory: Containers) -> None:
    container = start(container_factory, max_message_size=100)
    with pytest.raises(MessageTooLarge):
        hub_of(container).broadcast("tea", "told", "x" * 100)


def test_queues_go_with_their_process(container_factory: Containers, rabbitmq_uri: str) -> None:
    from echo import raw_channel

    container = start(container_factory)
    queue = container.resource(AmqpBroadcastBus)._consumer._queue
    assert queue.startswith(f"{EXCHANGE}-")
    container.stop()
    with raw_channel(rabbitmq_uri) as channel:
        # What does not exist is made by this, and would be locked if it belonged to somebody.
        assert channel.declare_queue(queue, durable=False, exclusive=True, auto_delete=True).messages == 0
