"""The floor of the wire: py-amqp in a blocking loop with a window of calls, known by their correlation ids."""

import itertools
import json
from collections import deque
from collections.abc import Iterator

import amqp
import load
from pyamqp_wire import connect

plan = load.read_plan()
connection = connect(plan.uri)
channel = connection.channel()
reply_queue = channel.queue_declare("", exclusive=True).queue
routing_key = f"{plan.service}.{plan.method}"
numbers = itertools.count()

# Collected, not handled: setting up takes what has arrived meanwhile, and calls back when it is not done.
arrived: deque[amqp.Message] = deque()
channel.basic_consume(reply_queue, no_ack=True, callback=arrived.append)


def send() -> str:
    correlation_id = str(next(numbers))
    request = amqp.Message(
        json.dumps(plan.arguments),
        content_type="application/json",
        delivery_mode=2,
        correlation_id=correlation_id,
        reply_to=reply_queue,
    )
    channel.basic_publish(request, "", routing_key)
    return correlation_id


def receive() -> Iterator[str]:
    while not arrived:
        connection.drain_events()
    while arrived:
        reply = arrived.popleft()
        answer = json.loads(reply.body)
        assert answer == plan.answer, answer
        yield reply.properties["correlation_id"]


load.run_window(plan, send, receive)
connection.close()
