"""@websocket_rpc, @on_connect and @on_disconnect, and WebSocketHubProvider: what services with websockets declare."""

from typing import Any, ClassVar

from werkzeug.exceptions import HTTPException

from rpcservice.core.context import CALL_ID_STACK, WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.errors import (
    BadRequest,
    ContainerBeingKilled,
    DeclarationError,
    IncorrectSignature,
    WebSocketRefused,
)
from rpcservice.web.answer import http_status
from rpcservice.web.websocket_hub import WebSocketHub
from rpcservice.web.websocket_server import SocketRequest, WebSocketServer


class WebSocketEntrypoint(Entrypoint):
    """Base of the entrypoints that websockets fire."""

    server_cls: ClassVar[type[WebSocketServer]] = WebSocketServer
    """The endpoint that it belongs to."""

    def setup(self) -> None:
        """Ask for the endpoint."""
        self._queue_timeout: float | None = self.bound_to.config.http_queue_timeout
        self.server = self.bound_to.resource(self.server_cls)

    def where(self) -> str:
        """Name the method that is fired."""
        return f"{self.bound_to.service_name}.{self.method_name}"

    def is_expected(self, error: BaseException) -> bool:
        """Say whether an exception is an answer rather than a fault: the client's mistakes are."""
        return isinstance(error, BadRequest) or super().is_expected(error)

    def run(self, request: SocketRequest, args: tuple[Any, ...], kwargs: dict[str, Any]) -> WorkerContext:
        """Run the method; what the call adds to its context data is there for the next one of the same websocket.

        Raises:
            WorkerPoolFull: No worker came free in time.
            ContainerBeingKilled: The service takes no more work.
        """
        socket = request.socket
        before = socket.context_data
        ctx: WorkerContext = self.bound_to.run_worker(
            self, args, kwargs, context_data=before, message=request, wait=self._queue_timeout
        )
        socket.context_data = ctx.data
        if CALL_ID_STACK in before:
            socket.context_data[CALL_ID_STACK] = before[CALL_ID_STACK]
        return ctx


class WebSocketRpc(WebSocketEntrypoint):
    """Fires its method ``(self, socket_id, **data)`` when a websocket's client calls it by name.

    Args:
        options: As for every entrypoint: ``expected_exceptions``, ``sensitive_arguments``, ``concurrency``,
            ``time_limit``.
    """

    def setup(self) -> None:
        """Register with the endpoint."""
        super().setup()
        self.server.add_method(self)

    def stop(self) -> None:
        """Take no more requests; the one that each websocket waits for is answered."""
        self.server.remove_method(self)

    kill = stop

    def handle_message(self, socket: Any, data: Any, correlation_id: Any) -> None:
        """Run the method for a request of a client, and send its result.

        Raises:
            IncorrectSignature: The data does not fit the method.
            WorkerPoolFull: No worker came free in time.
            ContainerBeingKilled: The service takes no more work.
        """
        if not isinstance(data, dict):
            raise IncorrectSignature(f"the data of a request is an object, not {type(data).__name__}")
        args = (socket.socket_id,)
        self.check_signature(args, data)
        self.run(SocketRequest(socket, correlation_id), args, data)

    def encode(self, ctx: WorkerContext) -> None:
        """Turn the outcome into a frame, so that what cannot be sent is never committed."""
        correlation_id = getattr(ctx.message, "correlation_id", None)
        if ctx.error is not None:
            ctx.reply = self.server.encode_error(ctx.error, correlation_id)
        else:
            ctx.reply = self.server.encode_result(ctx.result, correlation_id)

    def settle(self, ctx: WorkerContext) -> None:
        """Send the frame."""
        if isinstance(ctx.message, SocketRequest):
            ctx.message.socket.answer(ctx.reply)

    def give_back(self, ctx: WorkerContext) -> None:
        """Tell the client of a request that was not finished."""
        if isinstance(ctx.message, SocketRequest):
            error = ctx.error or ContainerBeingKilled("the service is stopping")
            ctx.message.socket.answer(self.server.encode_error(error, ctx.message.correlation_id))

    def describe(self) -> str:
        """Name the method that clients call."""
        return f"websocket rpc {self.method_name}"


class OnConnect(WebSocketEntrypoint):
    """Fires its method ``(self, socket_id, request)`` before a websocket is opened; what it raises refuses it.

    The request is the werkzeug Request of the handshake, with headers, cookies and query. WebSocketRefused closes
    with a code and a reason; an HTTPException, or an exception with an ``http_status``, answers the handshake; a
    BadRequest closes with code 1008 and its text, anything else with 1011.
    """

    def setup(self) -> None:
        """Register with the endpoint.

        Raises:
            DeclarationError: The method takes other arguments.
        """
        super().setup()
        _check_arguments(self, "request")
        self.server.add_connect_hook(self)

    def stop(self) -> None:
        """Let no more websockets in."""
        self.server.remove_connect_hook(self)

    kill = stop

    def fire(self, socket: Any, request: Any) -> WorkerContext:
        """Run the method for a websocket that is to be opened."""
        return self.run(SocketRequest(socket), (socket.socket_id, request), {})

    def is_expected(self, error: BaseException) -> bool:
        """Say whether an exception refuses the websocket rather than being a fault."""
        status = error.code if isinstance(error, HTTPException) else http_status(error)
        return isinstance(error, WebSocketRefused) or (status or 500) < 500 or super().is_expected(error)

    def describe(self) -> str:
        """Say when the method is fired."""
        return f"websocket connect -> {self.method_name}"


class OnDisconnect(WebSocketEntrypoint):
    """Fires its method ``(self, socket_id, code)`` when a websocket that was let in has gone.

    Its subscriptions are still known then. The code is the close code; 1006 means that the client went without a
    word.
    """

    # Websockets are closed when the sources of work have stopped, and then their methods still have to run.
    stop_phase: ClassVar[str] = "serving"

    def setup(self) -> None:
        """Register with the endpoint.

        Raises:
            DeclarationError: The method takes other arguments.
        """
        super().setup()
        _check_arguments(self, "code")
        # It waits as long as it takes: nobody tries again for a client that has gone.
        self._queue_timeout = None
        self.server.door.disconnect_hooks.append(self)

    def stop(self) -> None:
        """Wait until the websockets that are being closed are gone."""
        if self.server.is_closing:
            self.server.close_all()
        self.kill()

    def kill(self) -> None:
        """Take no more part."""
        if self in self.server.door.disconnect_hooks:
            self.server.door.disconnect_hooks.remove(self)

    def fire(self, socket: Any, code: int) -> WorkerContext:
        """Run the method for a websocket that has gone."""
        return self.run(SocketRequest(socket), (socket.socket_id, code), {})

    def describe(self) -> str:
        """Say when the method is fired."""
        return f"websocket disconnect -> {self.method_name}"


def _check_arguments(entrypoint: WebSocketEntrypoint, second: str) -> None:
    try:
        entrypoint.check_signature((None, None), {})
    except IncorrectSignature as exc:
        raise DeclarationError(
            f"{entrypoint.where()} is called with socket_id and {second}: "
            f"write def {entrypoint.method_name}(self, socket_id, {second})"
        ) from exc


class WebSocketHubProvider(DependencyProvider):
    """Injects a :class:`~rpcservice.web.websocket_hub.WebSocketHub`: subscriptions, and events for websockets.

    Args:
        namespace: Whose channels these are. Hubs of the same name share them, in all processes on the broker; by
            default it is the name of the service.
        serves: Whether websockets are opened in this process; without them the hub can still broadcast.
    """

    server_cls: ClassVar[type[WebSocketServer]] = WebSocketServer

    def __init__(self, namespace: str | None = None, *, serves: bool = True) -> None:
        self._namespace = namespace
        self._serves = serves

    def setup(self) -> None:
        """Ask for the hub."""
        host = self.bound_to
        self.hub = host.resource(WebSocketHub, (self.server_cls, self._namespace or host.service_name))
        if self._serves:
            self.hub.attach()

    def get_dependency(self, ctx: WorkerContext) -> WebSocketHub:
        """Give the hub."""
        return self.hub


websocket_rpc = WebSocketRpc.decorator
on_connect = OnConnect.decorator
on_disconnect = OnDisconnect.decorator
