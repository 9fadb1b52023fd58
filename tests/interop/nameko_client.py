"""Run by nameko's own Python: ``nameko_client.py URI``, nameko's standalone clients at the command of a test.

Each line of input is a JSON object with the name of a function here as ``op``, its keyword arguments, and an ``id``.
"""

import datetime
import decimal
import json
import logging
import sys
import uuid

from kombu import Connection, Exchange, Producer, Queue
from nameko.exceptions import deserialize_to_instance
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ClusterRpcProxy
from shop_errors import OutOfStock

CONFIG = {"AMQP_URI": sys.argv[1]}


deserialize_to_instance(OutOfStock)


def call(service, method, args=(), kwargs=None, context=None, serializer="json"):
    """Call a method and wait."""
    config = {**CONFIG, "serializer": serializer}
    with ClusterRpcProxy(config, timeout=15, context_data=context) as cluster:
        return {"result": getattr(cluster[service], method)(*args, **(kwargs or {}))}


def call_many(service, method, arguments):
    """Start a call for each argument, and take the results in reverse."""
    with ClusterRpcProxy(CONFIG, timeout=15) as cluster:
        calls = [getattr(cluster[service], method).call_async(argument) for argument in arguments]
        return {"result": [one.result() for one in reversed(calls)]}


def call_with_big_argument(service, method, size):
    """Send and get a long text; too long for the pipe to the test, so its length alone is told."""
    big = "nameko" * (size // 6)
    came_back = call(service, method, [big])["result"]["args"]
    return {"result": len(came_back[0]) if came_back == [big] else None}


def call_with_types(service, method, serializer="json"):
    """Send and get values that JSON has no types for; tells which came back equal."""
    values = [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC),
        datetime.date(2024, 2, 29),
        decimal.Decimal("12.30"),
        uuid.UUID("b4b5ef8f-2e19-4a6b-a9ae-1d4f1e4f2a11"),
    ]
    came_back = call(service, method, values, serializer=serializer)["result"]["args"]
    return {"result": [type(value).__name__ for value, back in zip(values, came_back, strict=True) if value == back]}


def dispatch(source, event_type, payload):
    """Send an event."""
    event_dispatcher(CONFIG)(source, event_type, payload)
    return {"result": None}


def raw(routing_key, body, content_type="application/json", headers=None):
    """Send a request that no nameko client would send, and give the reply as it came."""
    exchange = Exchange("nameko-rpc", "topic", durable=True)
    key = str(uuid.uuid4())
    queue = Queue(f"rpc.reply-raw-{key}", exchange, routing_key=key, expires=300)
    replies = []
    with Connection(CONFIG["AMQP_URI"]) as connection:
        channel = connection.channel()
        queue(channel).declare()
        Producer(channel).publish(
            body.encode("utf-8"),
            exchange=exchange,
            routing_key=routing_key,
            content_type=content_type,
            content_encoding="utf-8",
            reply_to=key,
            correlation_id="the-correlation",
            headers=headers or {},
        )
        with connection.Consumer(queue, channel=channel, callbacks=[lambda _, message: replies.append(message)]):
            while not replies:
                connection.drain_events(timeout=15)
        replies[0].ack()
    return {"body": replies[0].body, "properties": dict(replies[0].properties)}


logging.basicConfig(level=logging.WARNING)
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    number, operation = request.pop("id"), globals()[request.pop("op")]
    try:
        outcome = operation(**request)
    except Exception as exc:
        outcome = {
            "type": type(exc).__name__,
            "module": type(exc).__module__,
            "text": str(exc),
            "args": [str(arg) for arg in exc.args],
        }
    if isinstance(outcome.get("body"), bytes):
        outcome["body"] = outcome["body"].decode("utf-8")
    print(json.dumps({"id": number, **outcome}, default=str), flush=True)
