"""A service with nameko-tracer, on entrypoints of three kinds."""

from nameko.events import EventDispatcher, event_handler
from nameko.rpc import rpc
from nameko.web.handlers import http
from nameko_tracer import Tracer


class TracingService:
    name = "tracing"

    tracer = Tracer()
    dispatch = EventDispatcher()

    @rpc(sensitive_arguments="secret", expected_exceptions=ValueError)
    def check(self, amount, secret):
        if amount < 0:
            raise ValueError("below nothing")
        self.dispatch("checked", {"amount": amount})
        return amount * 2

    @event_handler("tracing", "checked")
    def on_checked(self, payload):
        """Only traced."""

    @http("GET", "/traced/<int:number>")
    def show(self, request, number):
        return f"number {number}"
