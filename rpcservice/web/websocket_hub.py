"""WebSocketHub, which knows who has subscribed to what, and sends events to them."""

import json
from typing import Any

from rpcservice.core.broadcast import BroadcastBus, bus_class
from rpcservice.core.resource import Resource
from rpcservice.errors import ConnectionNotFound
from rpcservice.web.answer import encode_json
from rpcservice.web.websocket_server import WebSocketServer, event_payload

Channel = Any
"""A text or a whole number, and in a process alone anything that can be the key of a dictionary."""


class WebSocketHub(Resource):
    """The subscriptions of one namespace: those of this process's websockets, and by the bus those of all others.

    Its key is (class of the server, namespace).
    """

    key: tuple[type[WebSocketServer], str]

    def setup(self) -> None:
        """Ask for the bus."""
        self._subscribers: dict[Channel, dict[str, None]] = {}
        self._channels: dict[str, set[Channel]] = {}
        self._server: WebSocketServer | None = None
        self._bus: BroadcastBus = self.resources.get(bus_class(self.config))
        self._topic = f"websocket.{self.key[1]}"

    def attach(self) -> None:
        """Have websockets in this process, that may subscribe here; call it in ``setup``."""
        if self._server is None:
            self._server = self.resources.get(self.key[0])
            self._server.hubs.append(self)
            self._bus.subscribe(self._topic, self._receive)

    def subscribe(self, socket_id: str, channel: Channel) -> None:
        """Have a websocket of this process get what is broadcast on a channel.

        Raises:
            ConnectionNotFound: There is no such websocket here, or not any more.
        """
        if self._server is None:
            raise ConnectionNotFound(socket_id)
        self._server.find(socket_id)
        self._check(channel)
        self._subscribers.setdefault(channel, {})[socket_id] = None
        self._channels.setdefault(socket_id, set()).add(channel)

    def unsubscribe(self, socket_id: str, channel: Channel) -> None:
        """Undo :meth:`subscribe`; without effect where there is nothing to undo."""
        channels = self._channels.get(socket_id, set())
        channels.discard(channel)
        if not channels:
            self._channels.pop(socket_id, None)
        self._drop(socket_id, channel)

    def _drop(self, socket_id: str, channel: Channel) -> None:
        subscribers = self._subscribers.get(channel, {})
        subscribers.pop(socket_id, None)
        if not subscribers:
            self._subscribers.pop(channel, None)

    def forget(self, socket_id: str) -> None:
        """Drop the subscriptions of a websocket that is gone."""
        for channel in self._channels.pop(socket_id, ()):
            self._drop(socket_id, channel)

    def get_subscriptions(self, socket_id: str) -> list[Channel]:
        """Give the channels of a websocket, in order; none when it is not known here."""
        return sorted(self._channels.get(socket_id, ()), key=lambda channel: (type(channel).__name__, channel))

    def broadcast(self, channel: Channel, event: str, data: Any) -> None:
        """Send an event to all subscribers of a channel: at once to those of this process, then to all others.

        Raises:
            UnserializableValueError: JSON does not know a part of the data; nobody got it.
            PublishError: The broker did not take it; those of this process have got it.
        """
        self._check(channel)
        frame = self._serialize(event, data)
        self._deliver(channel, frame)
        if not self._bus.is_alone:
            self._bus.publish(self._topic, encode_json([channel, frame]))

    def unicast(self, socket_id: str, event: str, data: Any) -> bool:
        """Send an event to one websocket of this process; False when it is not here or does not get it any more."""
        frame = self._serialize(event, data)
        socket = self._server.sockets.get(socket_id) if self._server is not None else None
        return socket is not None and self._server is not None and socket.send(self._server.encode(frame))

    def _serialize(self, event: str, data: Any) -> str:
        if self._server is None:
            return encode_json(event_payload(event, data)).decode()
        return self._server.serialize_event(event, data)

    def _receive(self, body: bytes) -> None:
        channel, frame = json.loads(body)
        self._deliver(channel, frame)

    def _deliver(self, channel: Channel, frame: str) -> None:
        subscribers = self._subscribers.get(channel)
        if not subscribers or self._server is None:
            return
        message = self._server.encode(frame)
        for socket_id in list(subscribers):
            socket = self._server.sockets.get(socket_id)
            if socket is not None:
                socket.send(message)

    def _check(self, channel: Channel) -> None:
        if self._bus.is_alone or (isinstance(channel, str | int) and not isinstance(channel, bool)):
            return
        raise TypeError(f"the channel {channel!r} cannot be named to other processes; give a text or a whole number")
