"""Run as ``messages_service.py FRAMEWORK URI NAME``: publishes what it is asked to, and prints what it consumes."""
# ruff: noqa: E402, for eventlet has to patch before anything else is imported

import sys

FRAMEWORK, URI, NAME = sys.argv[1:]

if FRAMEWORK == "nameko":
    import eventlet

    eventlet.monkey_patch()
else:
    import rpcservice.testing.patch  # noqa: F401, patches as well

import base64
import json
import logging
from datetime import date
from decimal import Decimal

from kombu import Exchange, Queue

CONFIG = {"AMQP_URI": URI, "ACCEPT": ["json", "pickle", "yaml", "msgpack"], "fast_json": False}

if FRAMEWORK == "nameko":
    import nameko_both
    from nameko.extensions import DependencyProvider
    from nameko.messaging import Publisher, consume
    from nameko.rpc import rpc

    nameko_both.setup(CONFIG)
    runner = nameko_both.make_runner(CONFIG)
else:
    from rpcservice import DependencyProvider, ServiceRunner, rpc
    from rpcservice.amqp.queues import Publisher, consume

    runner = ServiceRunner(CONFIG)

messages = Exchange("messages", type="topic", durable=True)
queue = Queue(f"messages-{NAME}", messages, routing_key=f"to.{NAME}")
again = Queue(f"again-{NAME}", messages, routing_key=f"again.{NAME}")
VALUES = {"date": date(2024, 2, 29), "decimal": Decimal("1.50"), "bytes": b"\x00\xff", "big": "x" * 1_000_000}
TAKEN = []


def say(**line):
    print(json.dumps(line), flush=True)


def described(payload):
    """Give what tells payloads apart, JSON or not."""
    if isinstance(payload, bytes):
        return ["bytes", base64.b64encode(payload).decode()]
    text = json.dumps(payload, default=repr)
    return [type(payload).__name__, text if len(text) < 1000 else len(text)]


class Context(DependencyProvider):
    def get_dependency(self, worker_ctx):
        return dict(worker_ctx.context_data)


class Messages:
    name = NAME
    context = Context()
    publish = Publisher(exchange=messages)
    publish_to_queue = Publisher()
    publish_with_options = Publisher(exchange=messages, routing_key="to.raw", priority=3, headers={"fixed": "yes"})

    @rpc
    def send(self, payload, options, value=None, publisher="publish"):
        try:
            getattr(self, publisher)(VALUES[value] if value else payload, **options)
        except Exception as exc:
            return type(exc).__name__
        return "sent"

    @consume(queue)
    def take(self, payload):
        say(taken=described(payload), context=self.context)

    @consume(again, requeue_on_error=True)
    def take_again(self, payload):
        say(again=described(payload))
        TAKEN.append(payload)
        if TAKEN.count(payload) == 1:
            raise ValueError(payload)


logging.basicConfig(level=logging.INFO)
runner.add_service(Messages)
runner.start()
say(ready=True)
runner.wait()
