"""FastStream's service, run with ``faststream run``."""

import os

from counting import EventCount
from faststream import FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue

NAME = "bench_faststream"

broker = RabbitBroker(
    os.environ["BENCH_AMQP_URI"],
    default_channel=Channel(prefetch_count=int(os.environ["BENCH_MAX_WORKERS"])),
)
app = FastStream(broker)
_count = EventCount()


@broker.subscriber(RabbitQueue(f"{NAME}.hello", durable=True))
async def hello(name: str) -> str:
    return f"Hello, {name}!"


@broker.subscriber(RabbitQueue(f"{NAME}.echo", durable=True))
async def echo(text: str) -> str:
    return text


@broker.subscriber(
    RabbitQueue(f"evt-{NAME}.count", durable=True, routing_key="counted"),
    RabbitExchange("bench_source_faststream.events", type=ExchangeType.TOPIC, durable=True),
)
async def count(payload: dict) -> None:
    _count.add(payload)
