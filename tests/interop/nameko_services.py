"""Run by nameko's own Python: ``nameko_services.py URI INSTANCE``, a nameko service that prints what it sees."""
# ruff: noqa: E402, for eventlet has to patch before anything else is imported

import eventlet

eventlet.monkey_patch()

import json
import logging
import sys

from nameko.events import BROADCAST, SERVICE_POOL, SINGLETON, EventDispatcher, event_handler
from nameko.exceptions import MalformedRequest, deserialize_to_instance
from nameko.extensions import DependencyProvider
from nameko.rpc import RpcProxy, rpc
from nameko.runners import ServiceRunner
from shop_errors import OutOfStock

URI, INSTANCE = sys.argv[1:3]


def say(**line):
    print(json.dumps(line), flush=True)


deserialize_to_instance(OutOfStock)


class Context(DependencyProvider):
    def get_dependency(self, worker_ctx):
        return dict(worker_ctx.context_data)


class NamekoShop:
    name = "nameko_shop"
    context = Context()
    ours = RpcProxy("our_shop")
    nobody = RpcProxy("nobody_there")
    dispatch = EventDispatcher()

    @rpc
    def echo(self, *args, **kwargs):
        return {"args": args, "kwargs": kwargs}

    @rpc
    def add(self, left, right=1):
        return left + right

    @rpc
    def fail(self):
        raise ValueError("no", 3)

    @rpc
    def sell_out(self):
        raise OutOfStock("lamp", 7)

    @rpc
    def call_it_malformed(self):
        raise MalformedRequest("not like this")

    @rpc
    def unserializable(self):
        return object()

    @rpc
    def see_context(self):
        return self.context

    @rpc
    def ask_ours(self, method, *args, **kwargs):
        return getattr(self.ours, method)(*args, **kwargs)

    @rpc
    def catch_of_ours(self, method, *args):
        return self._caught(lambda: getattr(self.ours, method)(*args))

    @rpc
    def catch_of_nobody(self):
        return self._caught(lambda: self.nobody.anything())

    def _caught(self, call):
        try:
            return {"result": call()}
        except Exception as exc:
            return {
                "type": type(exc).__name__,
                "module": type(exc).__module__,
                "text": str(exc),
                "args": [str(arg) for arg in exc.args],
            }

    @rpc
    def emit(self, event_type, payloads):
        for payload in payloads:
            self.dispatch(event_type, payload)

    @event_handler("our_shop", "pooled", handler_type=SERVICE_POOL)
    def on_pooled(self, payload):
        say(handler="pooled", payload=payload, instance=INSTANCE, context=self.context)

    @event_handler("our_shop", "single", handler_type=SINGLETON)
    def on_single(self, payload):
        say(handler="single", payload=payload, instance=INSTANCE)

    @event_handler("our_shop", "everywhere", handler_type=BROADCAST, reliable_delivery=False)
    def on_everywhere(self, payload):
        say(handler="everywhere", payload=payload, instance=INSTANCE)


logging.basicConfig(level=logging.INFO)
runner = ServiceRunner(config={"AMQP_URI": URI})
runner.add_service(NamekoShop)
runner.start()
say(ready=INSTANCE)
runner.wait()
