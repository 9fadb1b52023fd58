"""WebSocketServer, the endpoint that all websocket entrypoints of a process share, and its sockets."""

import json
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from werkzeug import Request
from werkzeug.exceptions import Forbidden, HTTPException
from werkzeug.routing import Rule

from rpcservice.concurrency import Timer
from rpcservice.core.context import CALL_ID_STACK, new_id
from rpcservice.core.faults import error_to_data, safe_text
from rpcservice.core.resource import Resource
from rpcservice.errors import (
    BadRequest,
    ConnectionNotFound,
    DeclarationError,
    MalformedRequest,
    MethodNotFound,
    MissingExtra,
    UnserializableValueError,
)
from rpcservice.web.answer import Answer, answer_from_error, encode_json
from rpcservice.web.request import WebRequest
from rpcservice.web.routes import unavailable
from rpcservice.web.server import WebServer
from rpcservice.web.websocket_door import Door, Hook

if TYPE_CHECKING:
    from rpcservice.web.websocket_protocol import Message
    from rpcservice.web.websocket_socket import WebSocket

_log = logging.getLogger(__name__)

_GOING_AWAY = 1001


def event_payload(event: str, data: Any) -> dict[str, Any]:
    """Give what the frame of an event says."""
    return {"type": "event", "event": event, "data": data}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _check_sendable(correlation_id: Any) -> None:
    """Raise UnserializableValueError where an id could not be sent back: 1e999 and half of a surrogate pair."""
    if correlation_id is not None and not (isinstance(correlation_id, str) and correlation_id.isascii()):
        encode_json(correlation_id)


def _printable(value: Any) -> Any:
    """Give the data of an error with halves of surrogate pairs, which cannot be sent, written out."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


class SocketRequest:
    """What fired a websocket entrypoint, for ``ctx.message``.

    Attributes:
        request: The request that opened the websocket, with its headers, cookies and query.
        socket: The websocket.
        correlation_id: What the client knows its call by.
    """

    __slots__ = ("correlation_id", "request", "socket")

    def __init__(self, socket: "WebSocket", correlation_id: Any = None) -> None:
        self.socket = socket
        self.request = socket.request
        self.correlation_id = correlation_id


class Method(Protocol):
    """What an entrypoint of a method that clients call offers to the server."""

    @property
    def method_name(self) -> str:
        """What clients call it."""
        ...

    def handle_message(self, socket: "WebSocket", data: Any, correlation_id: Any) -> None:
        """Run the method and send its result."""
        ...

    def where(self) -> str:
        """Say which method it is."""
        ...


class Hub(Protocol):
    """What a hub offers to the server."""

    def forget(self, socket_id: str) -> None:
        """Drop the subscriptions of a socket that is gone."""
        ...


class WebSocketServer(Resource):
    """Opens websockets at ``websocket_path``, and hands requests to the methods of all services of a process.

    A subclass is another endpoint, with websockets of its own; entrypoints and hub providers whose ``server_cls`` it
    is belong to it. It may override ``get_url_rule``, ``get_context_data``, ``deserialize_ws_frame``,
    ``serialize_for_ws`` and ``serialize_event``.

    Attributes:
        describe: Gives the error object of a frame.
    """

    describe: Callable[[BaseException], dict[str, Any]] = staticmethod(error_to_data)

    def setup(self) -> None:
        """Register with the web server.

        Raises:
            MissingExtra: wsproto is not installed.
        """
        try:
            from rpcservice.web import websocket_protocol
        except ImportError as exc:
            raise MissingExtra('websockets need wsproto; install it with: pip install "rpcservice[websocket]"') from exc
        self._encoder = websocket_protocol.Encoder()
        self.sockets: dict[str, WebSocket] = {}
        self.hubs: list[Hub] = []
        self.door = Door()
        self._methods: dict[str, Method] = {}
        self._sources = 0
        self.is_closing = False
        self._sweep: Timer | None = None
        self._one_parted = self.backend.event()
        self.web_server = self.resources.get(WebServer)
        self.web_server.add_route(self)

    @property
    def path(self) -> str:
        """Where websockets are opened."""
        return self.get_url_rule().rule

    @property
    def url(self) -> str:
        """The URL that websockets are opened at from this machine."""
        return f"ws{self.web_server.url.removeprefix('http')}{self.path}"

    def get_url_rule(self) -> Rule:
        """Give the rule of the URL to open websockets at."""
        return Rule(self.config.websocket_path, methods=["GET"])

    def where(self) -> str:
        """Say who answers the URL."""
        return "the websockets' endpoint"

    def add_method(self, method: Method) -> None:
        """Have a method called by clients.

        Raises:
            DeclarationError: Another one has its name already.
        """
        taken = self._methods.setdefault(method.method_name, method)
        if taken is not method:
            raise DeclarationError(
                f"{taken.where()} and {method.where()} are both called as {method.method_name!r}; rename one"
            )
        self._sources += 1

    def remove_method(self, method: Method) -> None:
        """Have a method called no more; when nothing else takes requests, websockets are closed."""
        if self._methods.get(method.method_name) is method:
            del self._methods[method.method_name]
            self._remove_source()

    def add_connect_hook(self, hook: Hook) -> None:
        """Have a hook called for each websocket that is opened."""
        self.door.connect_hooks.append(hook)
        self._sources += 1

    def remove_connect_hook(self, hook: Hook) -> None:
        """Have a hook called no more."""
        if hook in self.door.connect_hooks:
            self.door.connect_hooks.remove(hook)
            self._remove_source()

    def _remove_source(self) -> None:
        self._sources -= 1
        if not self._sources:
            self.close_idle()

    def get_context_data(self, request: Request) -> Mapping[str, Any]:
        """Give the context data that the calls of a websocket start with: none, but for the client's X-Request-ID."""
        request_id = cast(WebRequest, request).head.request_id
        return {CALL_ID_STACK: [request_id]} if request_id is not None else {}

    def deserialize_ws_frame(self, payload: str) -> tuple[Any, Any, Any]:
        """Give the method, data and correlation id of a request.

        Raises:
            MalformedRequest: It is none, or its correlation id could not be sent back.
        """
        try:
            request = _decoder.decode(payload)
            name, data, correlation_id = request["method"], request.get("data") or {}, request.get("correlation_id")
            _check_sendable(correlation_id)
            return name, data, correlation_id
        except Exception as exc:
            raise MalformedRequest("Invalid JSON data") from exc

    def serialize_for_ws(self, payload: Any) -> str:
        """Give a frame as text.

        Raises:
            UnserializableValueError: It has a part that JSON does not know.
        """
        return encode_json(payload).decode()

    def serialize_event(self, event: str, data: Any) -> str:
        """Give the frame of an event as text."""
        return self.serialize_for_ws(event_payload(event, data))

    def encode(self, text: str) -> "Message":
        """Give a text as a message that can be sent to many."""
        return self._encoder.encode(text)

    def encode_result(self, result: Any, correlation_id: Any) -> "Message":
        """Give the message that says how a call ended."""
        return self.encode(
            self.serialize_for_ws({"type": "result", "success": True, "data": result, "correlation_id": correlation_id})
        )

    def encode_error(self, error: BaseException, correlation_id: Any) -> "Message":
        """Give the message that says how a call failed."""
        described = self.describe(error)
        # For callers within the cluster; what else there is is nobody's business outside.
        described.pop("names", None)
        frame = {"type": "result", "success": False, "error": described, "correlation_id": correlation_id}
        try:
            return self.encode(self.serialize_for_ws(frame))
        except UnserializableValueError:
            return self.encode(self.serialize_for_ws({**frame, "error": _printable(described)}))

    def find(self, socket_id: str) -> "WebSocket":
        """Give an open websocket of this process.

        Raises:
            ConnectionNotFound: There is none of this id.
        """
        socket = self.sockets.get(socket_id)
        if socket is None or not socket.is_open:
            raise ConnectionNotFound(socket_id)
        return socket

    def handle(self, socket: "WebSocket", text: str) -> None:
        """Carry out a request and answer it."""
        correlation_id = None
        try:
            name, data, correlation_id = self.deserialize_ws_frame(text)
            method = self._methods.get(name) if isinstance(name, str) else None
            if method is None:
                raise MethodNotFound(f"{name}", decorator="@websocket_rpc")
            method.handle_message(socket, data, correlation_id)
        except Exception as exc:
            if isinstance(exc, BadRequest):
                _log.info("websocket %s: a request was refused: %s", socket.socket_id, safe_text(exc))
            else:
                text = safe_text(exc)
                _log.error("websocket %s: a request failed before its worker: %s", socket.socket_id, text, exc_info=exc)
            try:
                answer = self.encode_error(exc, correlation_id)
            except Exception as unsent:
                _log.error("websocket %s: an error cannot be sent: %s", socket.socket_id, unsent, exc_info=unsent)
                answer = self.encode_error(unsent, None)
            socket.answer(answer)

    def respond(self, request: WebRequest) -> Answer:
        """Open a websocket and serve it to its end: what the web server calls."""
        from rpcservice.web.websocket_handshake import accept, check_handshake, check_origin
        from rpcservice.web.websocket_protocol import Wire, negotiate_deflate

        head, config = request.head, self.config
        try:
            check_handshake(head)
            check_origin(head, config.websocket_origins)
            if self.is_closing:
                raise unavailable("The services are stopping.")
        except HTTPException as exc:
            # A page of another origin may be one that is to be listed.
            level = logging.WARNING if isinstance(exc, Forbidden) else logging.INFO
            _log.log(level, "a websocket for %s was refused: %s", request.remote_addr, exc)
            return answer_from_error(exc, accept=head.headers.get("accept", ""))
        deflate = None
        if config.websocket_compression:
            offers = head.headers.get("sec-websocket-extensions", "")
            deflate = negotiate_deflate(offers, config.websocket_max_message_size)
        wire = Wire(config.websocket_max_message_size, deflate[0] if deflate is not None else None)
        return self._serve(request, accept(head, deflate[1] if deflate is not None else None), wire)

    def _serve(self, request: WebRequest, opening: Answer, wire: Any) -> Answer:
        from rpcservice.web.websocket_socket import WebSocket

        socket = WebSocket(new_id(), request, dict(self.get_context_data(request)), self, wire)
        self._add(socket)
        entered: list[Any] = []
        try:
            socket.send(self.encode(self.serialize_event("connected", {"socket_id": socket.socket_id})))
            refusal = self.door.enter(socket, entered)
            if refusal is not None:
                return refusal
            stream, rest = request.exchange.switch_protocols(opening)
            socket.run(stream, rest)
            return opening
        finally:
            socket.lose("its connection has ended")
            try:
                self.door.leave(socket, entered)
            finally:
                self._remove(socket)

    def _add(self, socket: "WebSocket") -> None:
        self.sockets[socket.socket_id] = socket
        interval = self.config.websocket_ping_interval
        if interval and self._sweep is None:
            self._sweep = self.backend.call_later(interval / 2, self._check_all, interval)

    def _remove(self, socket: "WebSocket") -> None:
        for hub in self.hubs:
            hub.forget(socket.socket_id)
        del self.sockets[socket.socket_id]
        self._one_parted.set()

    def has_parted(self, socket: "WebSocket") -> None:
        """Note that a socket's connection has ended."""
        self._one_parted.set()

    def _check_all(self, interval: float) -> None:
        now = monotonic()
        for socket in list(self.sockets.values()):
            socket.check(now, interval)
        self._sweep = self.backend.call_later(interval / 2, self._check_all, interval) if self.sockets else None

    def close_idle(self) -> None:
        """Open no more websockets, and close each when the request at hand has been answered; never waits."""
        self.is_closing = True
        self.web_server.withdraw(self)
        for socket in list(self.sockets.values()):
            socket.finish()

    def close_all(self) -> None:
        """Close what is left; waits a few seconds until all are gone, but for those whose calls do not end."""
        from rpcservice.web.websocket_socket import CLOSE_TIMEOUT

        self.close_idle()
        for socket in list(self.sockets.values()):
            socket.close(_GOING_AWAY)
        deadline = monotonic() + CLOSE_TIMEOUT + 1
        while any(not socket.awaits_call for socket in self.sockets.values()):
            self._one_parted.clear()
            if not self._one_parted.wait(max(0, deadline - monotonic())):
                _log.warning("%d websockets are left behind", len(self.sockets))
                return

    def stop(self) -> None:
        """Close what is left."""
        self.close_all()

    def kill(self) -> None:
        """Break all connections."""
        self.close_idle()
        for socket in list(self.sockets.values()):
            socket.lose("the services are killed")
        if self._sweep is not None:
            self._sweep.cancel()
