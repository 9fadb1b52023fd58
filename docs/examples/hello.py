"""Two services: ``greeter`` answers RPC calls, ``web`` turns HTTP requests into them."""

from werkzeug import Request

from rpcservice import ServiceRpc, http, rpc


class Greeter:
    """Knows how to greet."""

    name = "greeter"

    @rpc
    def hello(self, name: str) -> str:
        return f"Hello, {name}!"


class Web:
    """Speaks HTTP, and has the greeter do the work."""

    name = "web"

    greeter = ServiceRpc("greeter", timeout=5)

    @http("GET", "/hello/<name>")
    def hello(self, request: Request, name: str) -> str:
        greeting: str = self.greeter.hello(name)
        return greeting
