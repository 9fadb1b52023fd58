"""Door, the hooks of all services that let websockets in and see them go."""

import logging
from typing import TYPE_CHECKING, Any, Protocol, cast

from werkzeug.exceptions import HTTPException

from rpcservice.core.context import WorkerContext
from rpcservice.core.faults import safe_text
from rpcservice.errors import BadRequest, ContainerBeingKilled, WebSocketRefused, WorkerPoolFull
from rpcservice.web.answer import Answer, answer_from_error, http_status
from rpcservice.web.request import WebRequest
from rpcservice.web.routes import unavailable

if TYPE_CHECKING:
    from rpcservice.web.websocket_socket import WebSocket

_log = logging.getLogger(__name__)

_POLICY, _FAILED = 1008, 1011


class Hook(Protocol):
    """What an entrypoint offers whose method is called when websockets come or go."""

    host: Any

    def fire(self, socket: "WebSocket", *args: Any) -> WorkerContext:
        """Run the method."""
        ...


class Door:
    """Asks the hooks of every service; one that let a websocket in learns when it has gone.

    Attributes:
        connect_hooks: Called before a websocket is opened.
        disconnect_hooks: Called when it has gone.
    """

    def __init__(self) -> None:
        self.connect_hooks: list[Hook] = []
        self.disconnect_hooks: list[Hook] = []

    def enter(self, socket: "WebSocket", entered: list[Any]) -> Answer | None:
        """Ask whether a websocket may be opened; who lets it in is added to ``entered``.

        One that is refused with a close code is told to close. What is given is the answer to one that is refused
        before it is open.
        """
        for hook in list(self.connect_hooks):
            try:
                error = hook.fire(socket, socket.request).error
            except Exception as exc:
                error = exc
            if error is not None:
                entered[:] = [host for host in entered if host is not hook.host]
                return _refuse(socket, error)
            entered.append(hook.host)
        entered.extend(hook.host for hook in self.disconnect_hooks)
        return None

    def leave(self, socket: "WebSocket", entered: list[Any]) -> None:
        """Tell those who let a websocket in that it has gone."""
        for hook in list(self.disconnect_hooks):
            if hook.host in entered:
                try:
                    hook.fire(socket, socket.close_code)
                except Exception as exc:
                    _log.warning("websocket %s: on_disconnect was not called: %s", socket.socket_id, exc)


def _refuse(socket: "WebSocket", error: BaseException) -> Answer | None:
    if isinstance(error, WebSocketRefused):
        socket.drop(error.code, error.reason)
        return None
    if isinstance(error, WorkerPoolFull):
        error = unavailable("All workers are busy.")
    elif isinstance(error, ContainerBeingKilled):
        error = unavailable("The service is stopping.")
    if isinstance(error, HTTPException) or http_status(error) is not None:
        return answer_from_error(error, accept=cast(WebRequest, socket.request).head.headers.get("accept", ""))
    if isinstance(error, BadRequest):
        socket.drop(_POLICY, safe_text(error))
    else:
        socket.drop(_FAILED, "the service failed")
    return None
