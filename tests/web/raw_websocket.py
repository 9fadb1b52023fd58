"""RawWebSocket, a blocking client that shows what is on the wire; for threads, while services run in the test's."""

import json
import socket
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping, Pong, RejectConnection, Request
from wsproto.extensions import PerMessageDeflate

LIMIT = 10.0


class RawWebSocket:
    """A client that reads only when it is asked to, and answers neither pings nor closes by itself.

    Attributes:
        status: What the handshake was answered with.
        headers: The header of that answer.
    """

    def __init__(
        self,
        address: tuple[str, int],
        path: str = "/ws",
        *,
        headers: dict[str, str] | None = None,
        deflate: bool = False,
        receive_buffer: int | None = None,
    ) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(LIMIT)
        self._socket.connect(address)
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._events: list[Any] = []
        extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        extensions = [PerMessageDeflate()] if deflate else []
        self.send_event(
            Request(host=f"{address[0]}:{address[1]}", target=path, extra_headers=extra, extensions=extensions)
        )
        opening = self.next_event()
        assert isinstance(opening, AcceptConnection | RejectConnection), opening
        self.status = 101 if isinstance(opening, AcceptConnection) else opening.status_code
        self.headers = {
            name.decode().lower(): value.decode()
            for name, value in (opening.headers if self.status != 101 else opening.extra_headers)
        }
        self.extensions = getattr(opening, "extensions", [])

    def send_event(self, event: Any) -> None:
        self._socket.sendall(self._wire.send(event))

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def call(self, method: str, correlation_id: Any = None, **data: Any) -> None:
        from wsproto.events import TextMessage

        self.send_event(
            TextMessage(data=json.dumps({"method": method, "data": data, "correlation_id": correlation_id}))
        )

    def next_event(self) -> Any:
        """Give the next thing that the server sent; None at the end of the connection."""
        while not self._events:
            data = self._socket.recv(65536)
            if not data:
                return None
            self._wire.receive_data(data)
            self._events.extend(self._wire.events())
        return self._events.pop(0)

    def next_frame(self) -> Any:
        """Give the next text message, decoded."""
        text = ""
        while True:
            event = self.next_event()
            assert isinstance(event, Message), event
            text += event.data
            if event.message_finished:
                return json.loads(text)

    def read_to_close(self) -> tuple[list[Any], int]:
        """Read on until the server closes, answer that, and see the connection end; gives the events and the code."""
        seen: list[Any] = []
        while not isinstance(event := self.next_event(), CloseConnection):
            assert event is not None, f"the connection ended without a close, after {seen[-3:]}"
            seen.append(event)
        if self._wire.state.name == "REMOTE_CLOSING":
            self.send_event(event.response())
        assert self._socket.recv(1) == b"", "the server did not end the connection"
        return seen, int(event.code)

    def pong(self, ping: Ping) -> None:
        self.send_event(Pong(payload=ping.payload))

    def end(self) -> None:
        self._socket.close()

    def __enter__(self) -> "RawWebSocket":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end()
