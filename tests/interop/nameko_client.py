"""Run by nameko's own Python: ``nameko_client.py URI``, nameko's standalone clients at the command of a test.

Each line of input is a JSON object with the name of a function here as ``op``, its keyword arguments, and an ``id``.
"""

import datetime
import decimal
import json
import logging
import sys
import uuid

import nameko_both
from nameko.exceptions import deserialize_to_instance
from shop_errors import OutOfStock

CONFIG = {"AMQP_URI": sys.argv[1]}


deserialize_to_instance(OutOfStock)
nameko_both.setup(CONFIG)


def call(service, method, args=(), kwargs=None, context=None, serializer="json", timeout=15):
    """Call a method by the client for all services, and wait."""
    config = {**CONFIG, "serializer": serializer}
    with nameko_both.cluster_client(config, timeout=timeout, context_data=context) as cluster:
        return {"result": getattr(getattr(cluster, service), method)(*args, **(kwargs or {}))}


def call_one_service(service, method, args=(), kwargs=None, context=None):
    """Call a method by the client for one service, and wait."""
    with nameko_both.service_client(service, CONFIG, timeout=15, context_data=context) as client:
        return {"result": getattr(client, method)(*args, **(kwargs or {}))}


def call_many(service, method, arguments):
    """Start a call for each argument, and take the results in reverse."""
    with nameko_both.cluster_client(CONFIG, timeout=15) as cluster:
        calls = [getattr(getattr(cluster, service), method).call_async(argument) for argument in arguments]
        return {"result": [one.result() for one in reversed(calls)]}


def call_after_a_time_out(service, slow_method, args, method):
    """Have one call time out; tell how that ended, and what the next call of the same client gives."""
    with nameko_both.service_client(service, CONFIG, timeout=0.3) as client:
        try:
            getattr(client, slow_method)(*args)
        except Exception as exc:
            first = type(exc).__name__
        return {"first": first, "result": getattr(client, method)(1)}


def call_with_big_argument(service, method, size, serializer="json"):
    """Send and get a long text; too long for the pipe to the test, so its length alone is told."""
    big = "nameko" * (size // 6)
    came_back = call(service, method, [big], serializer=serializer)["result"]["args"]
    return {"result": len(came_back[0]) if list(came_back) == [big] else None}


def call_with_types(service, method, serializer="json"):
    """Send and get values that JSON has no types for; tells which came back equal."""
    values = [
        datetime.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=datetime.UTC),
        datetime.datetime(2024, 2, 29, 12, 30, 15),
        datetime.date(2024, 2, 29),
        datetime.time(12, 30),
        decimal.Decimal("12.30"),
        uuid.UUID("b4b5ef8f-2e19-4a6b-a9ae-1d4f1e4f2a11"),
    ]
    came_back = call(service, method, values, serializer=serializer)["result"]["args"]
    return {"result": [type(value).__name__ for value, back in zip(values, came_back, strict=True) if value == back]}


def dispatch(source, event_type, payload, **options):
    """Send an event."""
    nameko_both.event_dispatcher(CONFIG, **options)(source, event_type, payload)
    return {"result": None}


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
    print(json.dumps({"id": number, **outcome}, default=str), flush=True)
