"""Run as ``mixed_service.py FRAMEWORK CONFIG INSTANCE``: one service, as nameko's Python runs it and as ours does.

FRAMEWORK is nameko, ours, or drop-in: what is written for nameko, run by us. CONFIG is a JSON object.
"""
# ruff: noqa: E402, for eventlet has to patch before anything else is imported

import sys

FRAMEWORK, GIVEN, INSTANCE = sys.argv[1:]

if FRAMEWORK == "nameko":
    import eventlet

    eventlet.monkey_patch()
else:
    import rpcservice.testing.patch  # noqa: F401, patches as well
if FRAMEWORK == "drop-in":
    from rpcservice.compat import nameko

    nameko.install()

import json
import logging
import signal

import eventlet
from kombu import Exchange, Queue

CONFIG = {**json.loads(GIVEN), "PREFETCH_COUNT": 1, "max_workers": 1}

if FRAMEWORK != "ours":
    import nameko_both
    from nameko.events import BROADCAST, SERVICE_POOL, SINGLETON, EventDispatcher, EventHandler, event_handler
    from nameko.messaging import Publisher, consume
    from nameko.rpc import rpc

    nameko_both.setup(CONFIG)
    runner = nameko_both.make_runner(CONFIG)
else:
    from rpcservice import BROADCAST, SERVICE_POOL, SINGLETON, EventDispatcher, ServiceRunner, event_handler, rpc
    from rpcservice.amqp.events import EventHandler
    from rpcservice.amqp.queues import Publisher, consume

    runner = ServiceRunner(CONFIG)

orders = Exchange("orders", type="direct", durable=True)
orders_queue = Queue("orders-queue", orders, routing_key="order", queue_arguments={"x-max-length": 1000})
limits_queue = Queue("limits", Exchange("limits", type="fanout"), max_priority=5, message_ttl=60, expires=300)


def say(**line):
    print(json.dumps({**line, "instance": INSTANCE}), flush=True)


class NamedHandler(EventHandler):
    """Has a queue that outlives the instances."""

    broadcast_identifier = "named"


named_handler = NamedHandler.decorator


class Mixed:
    name = "mixed"
    dispatch = EventDispatcher()
    publish = Publisher(exchange=orders, declare=[orders_queue, limits_queue])

    @rpc
    def who(self):
        return INSTANCE

    @rpc
    def hold(self, seconds):
        say(holding=seconds)
        eventlet.sleep(seconds)
        return INSTANCE

    @rpc
    def emit(self, event_type, payload):
        self.dispatch(event_type, payload)

    @rpc
    def order(self, payload):
        self.publish(payload, routing_key="order")

    @event_handler("mixed", "pooled", handler_type=SERVICE_POOL)
    def on_pooled(self, payload):
        say(handler="pooled", payload=payload)

    @event_handler("mixed", "pooled_lossy", handler_type=SERVICE_POOL, reliable_delivery=False)
    def on_pooled_lossy(self, payload):
        say(handler="pooled_lossy", payload=payload)

    @event_handler("mixed", "single", handler_type=SINGLETON)
    def on_single(self, payload):
        say(handler="single", payload=payload)

    @event_handler("mixed", "single_lossy", handler_type=SINGLETON, reliable_delivery=False)
    def on_single_lossy(self, payload):
        say(handler="single_lossy", payload=payload)

    @event_handler("mixed", "everywhere", handler_type=BROADCAST, reliable_delivery=False)
    def on_everywhere(self, payload):
        say(handler="everywhere", payload=payload)

    @named_handler("mixed", "named", handler_type=BROADCAST)
    def on_named(self, payload):
        say(handler="named", payload=payload)

    @consume(orders_queue)
    def on_order(self, payload):
        say(handler="order", payload=payload)

    @consume(limits_queue)
    def on_limits(self, payload):
        say(handler="limits", payload=payload)


logging.basicConfig(level=logging.INFO)
runner.add_service(Mixed)
signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(runner.stop))
runner.start()
say(ready=True)
runner.wait()
