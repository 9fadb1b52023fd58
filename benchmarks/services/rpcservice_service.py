"""rpcservice's service, run with ``rpcservice run``."""

import os

from counting import EventCount

from rpcservice import event_handler, http, rpc

_count = EventCount()


class Bench:
    name = os.environ.get("BENCH_SERVICE", "bench_rpcservice")

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"

    @rpc
    def echo(self, text):
        return text

    @event_handler("bench_source_rpcservice", "counted")
    def count(self, payload):
        _count.add(payload)

    @http("GET", "/hello/<name>")
    def hello_http(self, request, name):
        return f"Hello, {name}!"
