"""A nameko service with websockets; called with a port, prints {"ready": port} when it takes connections."""

import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402

from nameko.web.websocket import WebSocketHubProvider, rpc  # noqa: E402
from nameko_both import make_runner  # noqa: E402


class Rooms:
    """As of test_websocket_frames.py."""

    name = "rooms"
    hub = WebSocketHubProvider()

    @rpc
    def say(self, socket_id: str, text: Any = "nothing") -> Any:
        return text

    @rpc
    def fail(self, socket_id: str) -> None:
        raise ValueError("no luck", 3)

    @rpc
    def join(self, socket_id: str, room: str) -> Any:
        self.hub.subscribe(socket_id, room)
        self.hub.broadcast(room, "joined", {"room": [room, None, 1.5]})
        return self.hub.get_subscriptions(socket_id)

    @rpc
    def part(self, socket_id: str, room: str) -> Any:
        self.hub.unsubscribe(socket_id, room)
        return self.hub.get_subscriptions(socket_id)

    @rpc
    def tell(self, socket_id: str, to: str) -> bool:
        told: bool = self.hub.unicast(to or socket_id, "told", {"to": to})
        return told

    @rpc
    def lose(self, socket_id: str) -> None:
        self.hub.subscribe("nobody", "tea")
