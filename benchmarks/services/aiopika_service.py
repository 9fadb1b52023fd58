"""aio-pika's service: its RPC pattern with JSON, and a consumer of events, as its documentation shows them."""

import asyncio
import json
import os

import aio_pika
import uvloop
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.patterns import JsonRPC
from counting import EventCount

NAME = "bench_aiopika"

_count = EventCount()


async def hello(*, name: str) -> str:
    return f"Hello, {name}!"


async def echo(*, text: str) -> str:
    return text


async def count(message: AbstractIncomingMessage) -> None:
    async with message.process():
        _count.add(json.loads(message.body))


async def main() -> None:
    connection = await aio_pika.connect_robust(os.environ["BENCH_AMQP_URI"])
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=int(os.environ["BENCH_MAX_WORKERS"]))
        exchange = await channel.declare_exchange(
            "bench_source_aiopika.events", aio_pika.ExchangeType.TOPIC, durable=True
        )
        queue = await channel.declare_queue(f"evt-{NAME}.count", durable=True)
        await queue.bind(exchange, "counted")
        await queue.consume(count)
        rpc = await JsonRPC.create(channel)
        await rpc.register(f"{NAME}.echo", echo, durable=True)
        await rpc.register(f"{NAME}.hello", hello, durable=True)
        await asyncio.Event().wait()


uvloop.run(main())
