"""The floor of the wire: py-amqp in a blocking loop, with durable queues, a prefetch and an ack for each message."""

import json
import os
from collections import deque

import amqp
from counting import EventCount
from pyamqp_wire import connect

NAME = "bench_pyamqp"

_count = EventCount()


def hello(name: str) -> str:
    return f"Hello, {name}!"


def echo(text: str) -> str:
    return text


METHODS = {f"{NAME}.hello": hello, f"{NAME}.echo": echo}

connection = connect(os.environ["BENCH_AMQP_URI"])
channel = connection.channel()
channel.basic_qos(0, int(os.environ["BENCH_MAX_WORKERS"]), False)
# Collected, not handled: setting up takes what has arrived meanwhile, and calls back when it is not done.
arrived: deque[amqp.Message] = deque()

exchange, queue = "bench_source_pyamqp.events", f"evt-{NAME}.count"
channel.exchange_declare(exchange, "topic", durable=True, auto_delete=False)
channel.queue_declare(queue, durable=True, auto_delete=False)
channel.queue_bind(queue, exchange, "counted")
channel.basic_consume(queue, callback=arrived.append)
for method in METHODS:
    channel.queue_declare(method, durable=True, auto_delete=False)
    channel.basic_consume(method, callback=arrived.append)


def handle(message: amqp.Message) -> None:
    payload = json.loads(message.body)
    function = METHODS.get(message.delivery_info["routing_key"])
    if function is None:
        _count.add(payload)
    else:
        reply = amqp.Message(
            json.dumps(function(**payload)),
            content_type="application/json",
            correlation_id=message.properties["correlation_id"],
        )
        channel.basic_publish(reply, "", message.properties["reply_to"])
    channel.basic_ack(message.delivery_tag)


# What there is comes first: requests may have arrived while the consumers were declared.
while True:
    while arrived:
        handle(arrived.popleft())
    connection.drain_events()
