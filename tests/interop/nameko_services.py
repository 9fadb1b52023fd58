"""Run as ``nameko_services.py URI INSTANCE``, a nameko service that prints what it sees.

By nameko's own Python; or by ours, with ``drop-in`` behind it.
"""
# ruff: noqa: E402, for eventlet has to patch before anything else is imported

import sys

import eventlet

URI, INSTANCE = sys.argv[1:3]
eventlet.monkey_patch()
if "drop-in" in sys.argv:
    from rpcservice.compat import nameko

    nameko.install()

import json
import logging

import nameko_both
import odd_outcomes
from nameko.events import BROADCAST, SERVICE_POOL, SINGLETON, EventDispatcher, EventHandler, event_handler
from nameko.exceptions import MalformedRequest, deserialize_to_instance
from nameko.extensions import DependencyProvider
from nameko.rpc import rpc
from shop_errors import OutOfStock

CONFIG = {"AMQP_URI": URI, "ACCEPT": ["json", "pickle", "yaml", "msgpack"]}


OPTIONS = {"compression": "gzip", "priority": 5, "expiration": 30, "delivery_mode": 1, "headers": {"own": "ü"}}


def say(**line):
    print(json.dumps(line, default=str), flush=True)


def caught(call):
    """Call; tell how it ended."""
    try:
        return {"result": call()}
    except Exception as exc:
        return {
            "type": type(exc).__name__,
            "module": type(exc).__module__,
            "text": str(exc),
            "args": [str(arg) for arg in exc.args],
        }


deserialize_to_instance(OutOfStock)
nameko_both.setup(CONFIG)


class Context(DependencyProvider):
    def get_dependency(self, worker_ctx):
        return dict(worker_ctx.context_data)


class Trouble(DependencyProvider):
    """Fails in the hook that the context data name."""

    def _run(self, hook, worker_ctx):
        if worker_ctx.context_data.get("trouble") == hook:
            raise RuntimeError(f"trouble in {hook}")

    def get_dependency(self, worker_ctx):
        self._run("get_dependency", worker_ctx)

    def worker_setup(self, worker_ctx):
        self._run("worker_setup", worker_ctx)

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        self._run("worker_result", worker_ctx)

    def worker_teardown(self, worker_ctx):
        self._run("worker_teardown", worker_ctx)


class NamedHandler(EventHandler):
    """Has a queue for each instance that outlives it."""

    @property
    def broadcast_identifier(self):
        return INSTANCE


named_handler = NamedHandler.decorator


class NamekoShop:
    name = "nameko_shop"
    context = Context()
    trouble = Trouble()
    ours = nameko_both.ServiceRpc("our_shop")
    ours_packed = nameko_both.ServiceRpc("our_shop", **OPTIONS)
    nobody = nameko_both.ServiceRpc("nobody_there")
    dispatch = EventDispatcher()

    @rpc
    def echo(self, *args, **kwargs):
        return {"args": args, "kwargs": kwargs}

    @rpc
    def length(self, value):
        return [len(value), len(value["big"])]

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
    def outcome(self, kind, name):
        return odd_outcomes.outcome(kind, name)

    @rpc
    def hold(self, seconds):
        say(holding=seconds)
        eventlet.sleep(seconds)
        return INSTANCE

    @rpc
    def see_context(self):
        return self.context

    @rpc
    def see_instance(self):
        return INSTANCE

    @rpc
    def ask_ours(self, method, *args, **kwargs):
        return getattr(self.ours, method)(*args, **kwargs)

    @rpc
    def ask_ours_packed(self, method, *args):
        return getattr(self.ours_packed, method)(*args)

    @rpc
    def ask_ours_many_times(self, method, arguments):
        calls = [getattr(self.ours, method).call_async(argument) for argument in arguments]
        return [call.result() for call in reversed(calls)]

    @rpc
    def catch_of_ours(self, method, *args):
        return caught(lambda: getattr(self.ours, method)(*args))

    @rpc
    def catch_of_nobody(self):
        return caught(lambda: self.nobody.anything())

    @rpc
    def emit(self, event_type, payloads):
        for payload in payloads:
            self.dispatch(event_type, payload)

    @event_handler("our_shop", "pooled", handler_type=SERVICE_POOL)
    def on_pooled(self, payload):
        say(handler="pooled", payload=payload, instance=INSTANCE, context=self.context)

    @event_handler("our_shop", "pooled_lossy", handler_type=SERVICE_POOL, reliable_delivery=False)
    def on_pooled_lossy(self, payload):
        say(handler="pooled_lossy", payload=payload, instance=INSTANCE)

    @event_handler("our_shop", "single", handler_type=SINGLETON)
    def on_single(self, payload):
        say(handler="single", payload=payload, instance=INSTANCE)

    @event_handler("our_shop", "single_lossy", handler_type=SINGLETON, reliable_delivery=False)
    def on_single_lossy(self, payload):
        say(handler="single_lossy", payload=payload, instance=INSTANCE)

    @event_handler("our_shop", "everywhere", handler_type=BROADCAST, reliable_delivery=False)
    def on_everywhere(self, payload):
        say(handler="everywhere", payload=payload, instance=INSTANCE)

    @named_handler("our_shop", "everywhere_kept", handler_type=BROADCAST)
    def on_everywhere_kept(self, payload):
        say(handler="everywhere_kept", payload=payload, instance=INSTANCE)

    @event_handler("our_shop", "by.*.pattern.#")
    def on_pattern(self, payload):
        say(handler="pattern", payload=payload, instance=INSTANCE)

    @event_handler("our_shop", "fails")
    def on_fails(self, payload):
        say(handler="fails", payload=payload, instance=INSTANCE)
        raise ValueError(payload)

    @event_handler("our_shop", "fails_and_comes_back", requeue_on_error=True)
    def on_fails_and_comes_back(self, payload):
        say(handler="fails_and_comes_back", payload=payload, instance=INSTANCE)
        FAILED.append(payload)
        if FAILED.count(payload) == 1:
            raise ValueError(payload)


FAILED = []

logging.basicConfig(level=logging.INFO)
runner = nameko_both.make_runner(CONFIG)
runner.add_service(NamekoShop)
runner.start()
say(ready=INSTANCE)
runner.wait()
