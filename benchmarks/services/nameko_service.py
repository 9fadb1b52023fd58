"""nameko's service, run with ``nameko run``."""

from counting import EventCount
from nameko.events import event_handler
from nameko.rpc import rpc
from nameko.web.handlers import http

_count = EventCount()


class Bench:
    name = "bench_nameko"

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"

    @rpc
    def echo(self, text):
        return text

    @event_handler("bench_source_nameko", "counted")
    def count(self, payload):
        _count.add(payload)

    @http("GET", "/hello/<name>")
    def hello_http(self, request, name):
        return f"Hello, {name}!"
