"""nameko's websockets: methods that clients call, and a hub that sends them events."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from werkzeug import Request
from werkzeug.routing import Rule

from rpcservice.compat.nameko._handling import is_plain
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko._stages import handle_by_event
from rpcservice.compat.nameko.exceptions import describe
from rpcservice.compat.nameko.extensions import DependencyProvider, Entrypoint, SharedExtension
from rpcservice.compat.nameko.web.server import WebServer
from rpcservice.core.context import WorkerContext
from rpcservice.web import websocket as web
from rpcservice.web import websocket_server
from rpcservice.web.websocket_hub import WebSocketHub as WebSocketHub

__all__ = (
    "Connection",
    "WebSocketHub",
    "WebSocketHubProvider",
    "WebSocketRpc",
    "WebSocketServer",
    "rpc",
)

__getattr__ = missing_names(
    __name__,
    {
        "SocketInfo": "the server keeps its sockets itself; WebSocketHubProvider's hub reaches them by their ids",
        "IDENTIFY_WEBSOCKET_RULES": "leave it out: the server tells the routes of websockets from others itself",
    },
)


class Connection:
    """A websocket's subscriptions.

    Args:
        socket_id: Its id.
        context_data: What its calls have in common.
    """

    def __init__(self, socket_id: str, context_data: dict[str, Any]) -> None:
        self.socket_id = socket_id
        self.context_data = context_data
        self.subscriptions: set[Any] = set()


class WebSocketServer(SharedExtension):
    """Where websockets are opened, and what their frames look like.

    A subclass may override the methods; those who use it say so by their attribute ``server``. Of the server of the
    process, which does the work, they are given :class:`Endpoint` in that place.
    """

    wsgi_server: Any = WebServer()
    endpoint_cls: ClassVar[type["Endpoint"]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # Each class has websockets of its own.
        cls.endpoint_cls = type(f"{cls.__name__}Endpoint", (Endpoint,), {"extension_cls": cls})

    def get_url_rule(self) -> Rule:
        """Give the rule of the URL to open websockets at."""
        return Rule("/ws", methods=["GET"])

    def deserialize_ws_frame(self, payload: str) -> tuple[Any, Any, Any]:
        """Give the method, data and correlation id of a request."""
        return websocket_server.WebSocketServer.deserialize_ws_frame(_unbound(self), payload)

    def serialize_for_ws(self, payload: Any) -> str:
        """Give a frame as text."""
        return websocket_server.WebSocketServer.serialize_for_ws(_unbound(self), payload)

    def serialize_event(self, event: str, data: Any) -> str:
        """Give the frame of an event as text."""
        return self.serialize_for_ws({"type": "event", "event": event, "data": data})

    def setup(self) -> None:
        """Have the endpoint ask this one."""
        self.container.resource(self.endpoint_cls).extension = self


def _unbound(extension: WebSocketServer) -> Any:
    # These methods of the core's server need nothing of it.
    return extension


class Endpoint(websocket_server.WebSocketServer):
    """The server of the process, which asks an extension for what can be overridden."""

    extension_cls: ClassVar[type[WebSocketServer]] = WebSocketServer
    describe = staticmethod(describe)

    def setup(self) -> None:
        """Register with the web server."""
        # For the URL; the bound ones follow.
        self.extension = self.extension_cls()
        super().setup()

    def get_url_rule(self) -> Rule:
        """Give the rule of the URL to open websockets at."""
        rule = self.extension.get_url_rule()
        # The web server looks at the URL alone; what is no handshake is refused afterwards.
        rule.websocket = False
        return rule

    def get_context_data(self, request: Request) -> Mapping[str, Any]:
        """Give the context data of a websocket's calls."""
        data: Mapping[str, Any] = self.extension.wsgi_server.context_data_from_headers(request)
        return data

    def deserialize_ws_frame(self, payload: str) -> tuple[Any, Any, Any]:
        """Give the method, data and correlation id of a request."""
        return self.extension.deserialize_ws_frame(payload)

    def serialize_for_ws(self, payload: Any) -> str:
        """Give a frame as text."""
        return self.extension.serialize_for_ws(payload)

    def serialize_event(self, event: str, data: Any) -> str:
        """Give the frame of an event as text."""
        return self.extension.serialize_event(event, data)


WebSocketServer.endpoint_cls = Endpoint


class WebSocketRpc(Entrypoint, web.WebSocketRpc):
    """Fires its method ``(self, socket_id, **data)`` when a websocket's client calls it by name.

    Args:
        options: As for every entrypoint.
    """

    server: Any = WebSocketServer()

    @property
    def server_cls(self) -> type[Endpoint]:  # type: ignore[override]  # another for each extension
        """The endpoint that it belongs to."""
        endpoint_cls: type[Endpoint] = self.server.endpoint_cls
        return endpoint_cls

    def setup(self) -> None:
        """Register with the endpoint."""
        if not is_plain(self, "handle_result", WebSocketRpc):
            self._nameko_handler = partial(handle_by_event, self.handle_result)
        super().setup()

    def handle_result(self, event: Any, worker_ctx: WorkerContext, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Called where it is overridden: send an outcome by an eventlet event; give what dependencies are to see."""
        event.send(result, exc_info)
        return result, exc_info


class WebSocketHubProvider(DependencyProvider, web.WebSocketHubProvider):
    """Injects a hub, which knows who has subscribed to what."""

    server: Any = WebSocketServer()
    hub: Any = None

    def __init__(self) -> None:
        web.WebSocketHubProvider.__init__(self)

    @property
    def server_cls(self) -> type[Endpoint]:  # type: ignore[override]  # another for each extension
        """The endpoint that it belongs to."""
        endpoint_cls: type[Endpoint] = self.server.endpoint_cls
        return endpoint_cls

    def get_dependency(self, worker_ctx: WorkerContext) -> Any:
        """Give the hub."""
        return self.hub


rpc = WebSocketRpc.decorator
