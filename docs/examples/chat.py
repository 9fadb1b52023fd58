"""A page that talks by websocket: what one browser says, all others hear, whichever process serves them."""

from pathlib import Path

from werkzeug import Request

from rpcservice import WebSocketHubProvider, WebSocketRefused, http, on_connect, on_disconnect, websocket_rpc

PAGE = Path(__file__).with_name("chat.html")


class Chat:
    """Serves the page, and the websockets that it opens."""

    name = "chat"

    hub = WebSocketHubProvider()

    @http("GET", "/")
    def page(self, request: Request) -> tuple[int, dict[str, str], str]:
        """Give the page."""
        return 200, {"Content-Type": "text/html; charset=utf-8"}, PAGE.read_text(encoding="utf-8")

    @on_connect
    def enter(self, socket_id: str, request: Request) -> None:
        """Let in who says a name."""
        if not request.args.get("name"):
            raise WebSocketRefused(4001, "say who you are: /ws?name=...")

    @websocket_rpc
    def join(self, socket_id: str, room: str) -> list[str | int]:
        """Hear what is said in a room; gives the rooms that are heard now."""
        self.hub.subscribe(socket_id, room)
        return list(self.hub.get_subscriptions(socket_id))

    @websocket_rpc
    def say(self, socket_id: str, room: str, text: str) -> None:
        """Tell all who are in a room."""
        self.hub.broadcast(room, "said", {"room": room, "text": text})

    @on_disconnect
    def leave(self, socket_id: str, code: int) -> None:
        """Tell the others."""
        for room in self.hub.get_subscriptions(socket_id):
            self.hub.broadcast(room, "left", {"room": room})
