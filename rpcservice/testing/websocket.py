"""VirtualSocket, a websocket client for tests, whose services run in the same process, patched or not."""

import json
import socket as sockets
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from rpcservice.concurrency import green
from rpcservice.core.context import new_id
from rpcservice.core.faults import error_from_data
from rpcservice.errors import (
    ConnectionLost,
    MethodNotFound,
    MissingExtra,
    RpcServiceError,
    RpcTimeout,
    WebSocketRefused,
)

try:
    from wsproto import ConnectionType, WSConnection
    from wsproto.events import AcceptConnection, CloseConnection, Ping, RejectConnection, Request, TextMessage
    from wsproto.utilities import LocalProtocolError
except ImportError as exc:
    raise MissingExtra('VirtualSocket needs wsproto; install it with: pip install "rpcservice[websocket]"') from exc

LIMIT = 10.0
"""Seconds to wait for what is to come, unless told otherwise."""


class HandshakeRefused(RpcServiceError, ConnectionRefusedError):
    """Raised when the server answers the handshake with an HTTP status instead of opening a websocket.

    Attributes:
        status: The status code.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake was answered with status {status}")
        self.status = status


class EventQueue:
    """The events of one type that have come and have not been taken."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._items: deque[tuple[str, Any]] = deque()
        self._arrived = green().event()

    def put(self, item: tuple[str, Any]) -> None:
        """Add one; called by the socket."""
        self._items.append(item)
        self._arrived.set()

    def get(self, timeout: float = LIMIT) -> tuple[str, Any]:
        """Take the oldest, as (type, data); waits for it at most ``timeout`` seconds.

        Raises:
            TimeoutError: None came in time.
        """
        if not self._items:
            self._arrived.clear()
            if not self._arrived.wait(timeout):
                raise TimeoutError(f"no event {self._event!r} came within {timeout:g} s")
        return self._items.popleft()

    def qsize(self) -> int:
        """Give how many there are."""
        return len(self._items)

    def empty(self) -> bool:
        """Say whether there is none."""
        return not self._items


class _Call:
    def __init__(self) -> None:
        self.done = green().event()
        self.frame: dict[str, Any] | None = None


class VirtualSocket:
    """A client of a websocket endpoint; a context manager that connects and closes.

    A thread reads, which in a patched process is a greenlet; everything else belongs to the thread that made it.

    Args:
        host: Where the server listens.
        port: Its port.
        path: The endpoint, with a query if need be.
        headers: Further header fields of the handshake, such as Cookie and Origin.

    Attributes:
        socket_id: The id that the server gave; empty before it did.
        close_code: The code that the websocket was closed with; None while it is open.
        close_reason: The reason that came with it.
    """

    def __init__(self, host: str, port: int, path: str = "/ws", *, headers: Mapping[str, str] | None = None) -> None:
        self.socket_id = ""
        self.close_code: int | None = None
        self.close_reason = ""
        self._request = Request(
            host=f"{host}:{port}",
            target=path,
            extra_headers=[(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        )
        self._address = (host, port)
        self._backend = green()
        self._events: dict[str, EventQueue] = {}
        self._calls: dict[Any, _Call] = defaultdict(_Call)
        self._failure: Exception | None = None
        self._ready = self._backend.event()
        self._closed = self._backend.event()
        self._wire = WSConnection(ConnectionType.CLIENT)
        self._lock = threading.Lock()
        self._socket: sockets.socket | None = None

    def connect(self) -> Self:
        """Open the websocket; gives it when the server has said its id.

        Raises:
            WebSocketRefused: The server closed it at once.
            HandshakeRefused: The server opened none.
            ConnectionLost: The connection broke.
        """
        threading.Thread(target=self._run, daemon=True).start()
        if not self._ready.wait(LIMIT):
            raise ConnectionLost(f"the server did not open the websocket within {LIMIT:g} s")
        if self._failure is not None:
            raise self._failure
        return self

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self) -> None:
        code, reason, failure = 1006, "", None
        try:
            self._socket = sockets.create_connection(self._address, LIMIT)
            self._socket.settimeout(None)
            self._send(self._request)
            code, reason = self._read(self._socket)
        except Exception as exc:
            failure = exc
        finally:
            if self._socket is not None:
                self._socket.close()
            self._backend.post(self._end, code, reason, failure)

    def _read(self, sock: sockets.socket) -> tuple[int, str]:
        while data := sock.recv(65536):
            with self._lock:
                self._wire.receive_data(data)
                events = list(self._wire.events())
            for event in events:
                if isinstance(event, TextMessage):
                    # Messages of a server fit one frame, but not always one read.
                    self._collect(event)
                elif isinstance(event, Ping):
                    self._send(event.response())
                elif isinstance(event, RejectConnection):
                    raise HandshakeRefused(event.status_code)
                elif isinstance(event, CloseConnection):
                    self._answer_close(event)
                    return int(event.code), event.reason or ""
                else:
                    assert isinstance(event, AcceptConnection), event
        return 1006, ""

    def _collect(self, event: TextMessage) -> None:
        self._parts = [*getattr(self, "_parts", ()), event.data]
        if event.message_finished:
            frame = json.loads("".join(self._parts))
            self._parts = []
            self._backend.post(self._take, frame)

    def _answer_close(self, event: CloseConnection) -> None:
        try:
            self._send(event.response())
        except LocalProtocolError:
            return  # it is the answer to ours

    def _send(self, event: Any) -> None:
        with self._lock:
            assert self._socket is not None
            self._socket.sendall(self._wire.send(event))

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "event":
            if frame["event"] == "connected":
                self.socket_id = frame["data"]["socket_id"]
            self.get_event_queue(frame["event"]).put((frame["event"], frame["data"]))
            self._ready.set()
        else:
            call = self._calls.pop(frame["correlation_id"], None)
            if call is not None:
                call.frame = frame
                call.done.set()

    def _end(self, code: int, reason: str, failure: Exception | None) -> None:
        self.close_code, self.close_reason = code, reason
        if failure is None:
            try:
                failure = WebSocketRefused(code, reason)
            except ValueError:
                failure = ConnectionLost(f"the server closed with code {code} {reason}")
        self._failure = self._failure or failure
        for call in list(self._calls.values()):
            call.done.set()
        self._ready.set()
        self._closed.set()

    def rpc(self, method: str, /, **data: Any) -> Any:
        """Call a method and give its result.

        Raises:
            ConnectionLost: The websocket was closed before the result came.
            RpcTimeout: No result came in time.
            Exception: What the method raised: itself where its class is registered, else a RemoteError.
        """
        correlation_id = new_id()
        call = self._calls[correlation_id]
        self.send(json.dumps({"method": method, "data": data, "correlation_id": correlation_id}))
        if not call.done.wait(LIMIT):
            raise RpcTimeout("the websocket", method, LIMIT)
        if call.frame is None:
            raise ConnectionLost(f"the websocket was closed with code {self.close_code}", maybe_executed=True)
        if call.frame["success"]:
            return call.frame["data"]
        error = error_from_data(call.frame["error"])
        if isinstance(error, MethodNotFound):
            error.decorator = "@websocket_rpc"
        raise error

    def send(self, text: str) -> None:
        """Send a text message as it is.

        Raises:
            ConnectionLost: The websocket is closed.
        """
        if self.close_code is not None:
            raise ConnectionLost(f"the websocket was closed with code {self.close_code}")
        self._beside(lambda: self._send(TextMessage(data=text)))

    def _beside(self, call: Callable[[], object]) -> None:
        """Run what blocks while the server, which may run in this thread, goes on."""
        done = self._backend.event()
        errors: list[Exception] = []

        def run() -> None:
            try:
                call()
            except Exception as exc:
                errors.append(exc)
            self._backend.post(done.set)

        threading.Thread(target=run, daemon=True).start()
        if not done.wait(LIMIT):
            raise ConnectionLost(f"the server took nothing for {LIMIT:g} s")
        if errors:
            raise ConnectionLost(f"nothing was sent: {errors[0]}") from errors[0]

    def get_event_queue(self, event: str) -> EventQueue:
        """Give the queue of the events of one type."""
        if event not in self._events:
            self._events[event] = EventQueue(event)
        return self._events[event]

    def wait_for_event(self, event: str, timeout: float = LIMIT) -> tuple[str, Any]:
        """Take the next event of a type, as (type, data).

        Raises:
            TimeoutError: None came within ``timeout`` seconds.
        """
        return self.get_event_queue(event).get(timeout)

    def wait_closed(self, timeout: float = LIMIT) -> int:
        """Wait until the websocket is closed; gives the code.

        Raises:
            TimeoutError: It still was not after ``timeout`` seconds.
        """
        if not self._closed.wait(timeout):
            raise TimeoutError(f"the websocket was not closed within {timeout:g} s")
        assert self.close_code is not None
        return self.close_code

    def run_forever(self) -> None:
        """Wait until the websocket is closed."""
        self._closed.wait()

    def close(self) -> None:
        """Close the websocket; without effect when it is closed already."""
        if self._socket is not None and self.close_code is None:
            try:
                self._beside(lambda: self._send(CloseConnection(code=1000)))
            except ConnectionLost:
                return  # the server was faster
            self._closed.wait(LIMIT)


def make_virtual_socket(host: str, port: int, path: str = "/ws") -> tuple[VirtualSocket, Callable[[], VirtualSocket]]:
    """Give a client and the function that connects it, under nameko's name.

    The first has ``run_forever()`` and ``close()``; what the second gives has ``rpc``, ``wait_for_event`` and
    ``get_event_queue``.
    """
    socket = VirtualSocket(host, port, path)
    return socket, socket.connect
