"""The services that the tests of security attack: run as a process of their own, with small limits."""

from typing import Any

from werkzeug import Request, Response
from werkzeug.utils import redirect

from rpcservice import WebSocketHubProvider, http, websocket_rpc


class Attacked:
    """Answers like many services, and counts what only a smuggled request reaches."""

    name = "attacked"
    hub = WebSocketHubProvider()
    smuggled: list[str] = []

    @http("GET", "/ok")
    def ok(self, request: Request) -> str:
        return "ok"

    @http("POST", "/echo")
    def echo(self, request: Request) -> bytes:
        return request.get_data()

    @http("GET", "/environ")
    def environ(self, request: Request) -> dict[str, str]:
        return {name: value for name, value in request.environ.items() if isinstance(value, str)}

    @http("GET,POST,HEAD,DELETE", "/smuggled")
    def smuggle(self, request: Request) -> str:
        self.smuggled.append(request.method)
        return "smuggled"

    @http("GET", "/count")
    def count(self, request: Request) -> str:
        return str(len(self.smuggled))

    @http("GET", "/files/<path:name>")
    def files(self, request: Request, name: str) -> dict[str, str]:
        return {"name": name}

    @http("GET", "/items/<name>")
    def items(self, request: Request, name: str) -> dict[str, str]:
        return {"item": name}

    @http("GET", "/secret")
    def secret(self, request: Request) -> str:
        return "secret"

    @http("GET", "/folder/")
    def folder(self, request: Request) -> str:
        return "folder"

    @http("GET", "/answer/<how>")
    def answer(self, request: Request, how: str) -> Any:
        """Put what the client sent where it may break out of the answer."""
        value = request.args["value"]
        answers: dict[str, Any] = {
            "header": lambda: (200, {"X-Given": value}, "body"),
            "name": lambda: (200, {value: "1"}, "body"),
            "pairs": lambda: (200, [("X-Given", value)], "body"),
            "content-type": lambda: (200, {"Content-Type": value}, "body"),
            "status": lambda: (f"200 {value}", "body"),
            "status-of-response": lambda: Response("body", status=f"200 {value}"),
            "header-of-response": lambda: Response("body", headers={"X-Given": value}),
            "type-of-response": lambda: Response("body", content_type=value),
            "redirect": lambda: redirect(value),
            "cookie": lambda: self._with_cookie(value),
            "framing": lambda: (200, {"Content-Length": "1", "Transfer-Encoding": "gzip", "Connection": value}, "body"),
            "number": lambda: Response("body", status=int(value)),
        }
        return answers[how]()

    def _with_cookie(self, value: str) -> Response:
        response = Response("body")
        response.set_cookie("given", value, path=value if value.startswith("/") else "/")
        return response

    @websocket_rpc
    def shout(self, socket_id: str, text: str = "") -> str:
        return text.upper()
