"""nameko's websocket client for tests, over the package ``websocket-client``."""

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from eventlet.event import Event
from eventlet.queue import Queue

from rpcservice.compat.nameko.exceptions import deserialize
from rpcservice.core.context import new_id
from rpcservice.errors import MissingExtra

__all__ = ("make_virtual_socket",)


class Socket:
    """Calls methods over a websocket and receives events.

    Args:
        send: Sends a text.
    """

    app: Any = None

    def __init__(self, send: Callable[[str], object]) -> None:
        self._send = send
        self._event_queues: dict[str, Any] = defaultdict(Queue)
        self._results: dict[str, Any] = {}

    def get_event_queue(self, event_type: str) -> Any:
        """Give the queue of the events of a type, as pairs of type and data."""
        return self._event_queues[event_type]

    def wait_for_event(self, event_type: str) -> tuple[str, Any]:
        """Wait for the next event of a type; gives type and data."""
        event: tuple[str, Any] = self.get_event_queue(event_type).get()
        return event

    def rpc(self, _method: str, **data: Any) -> Any:
        """Call a method and wait for its result; raises what the service answers as an error."""
        call_id = new_id()
        answered = self._results[call_id] = Event()
        self._send(json.dumps({"method": _method, "data": data, "correlation_id": call_id}))
        answer = answered.wait()
        if answer["success"]:
            return answer["data"]
        raise deserialize(answer["error"])

    def receive(self, text: str) -> None:
        """Take what the server has sent."""
        frame = json.loads(text)
        if frame["type"] == "event":
            self.get_event_queue(frame["event"]).put((frame["event"], frame["data"]))
        elif frame["type"] == "result":
            answered = self._results.pop(frame["correlation_id"], None)
            if answered is not None:
                answered.send(frame)


def make_virtual_socket(host: str, port: int, path: str = "/ws") -> tuple[Any, Callable[[], Socket]]:
    """Make a websocket client.

    Args:
        host: The web server's host.
        port: Its port.
        path: Where it opens websockets.

    Returns:
        The client, whose ``run_forever`` is to run in a greenlet of its own; and what waits until it is connected
        and gives its :class:`Socket`, or raises why it is not.

    Raises:
        MissingExtra: ``websocket-client`` is not installed.
    """
    try:
        from websocket import WebSocketApp
    except ImportError as exc:
        raise MissingExtra('make_virtual_socket needs websocket-client; pip install "rpcservice[nameko]"') from exc
    opened = Event()

    def note_open(error: BaseException | None) -> None:
        if not opened.ready():
            opened.send(error)

    app = WebSocketApp(
        f"ws://{host}:{port}{path}",
        on_message=lambda _, text: socket.receive(text),
        on_open=lambda _: note_open(None),
        on_error=lambda _, error: note_open(error),
    )
    socket = Socket(app.send)

    def connect_socket() -> Socket:
        error = opened.wait()
        if error is not None:
            raise error
        return socket

    return app, connect_socket
