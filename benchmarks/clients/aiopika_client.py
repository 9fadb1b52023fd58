"""aio-pika's client: its RPC pattern with JSON, or a channel with confirms, driven by tasks."""

import json

import aio_pika
import load
import uvloop
from aio_pika.abc import AbstractChannel
from aio_pika.patterns import JsonRPC

plan = load.read_plan()


async def run_calls(channel: AbstractChannel) -> None:
    rpc = await JsonRPC.create(channel)
    method = f"{plan.service}.{plan.method}"

    async def call() -> None:
        answer = await rpc.call(method, plan.arguments)
        assert answer == plan.answer, answer

    await load.run_tasks(plan, call)
    await rpc.close()


async def run_events(channel: AbstractChannel) -> None:
    exchange = await channel.declare_exchange("bench_client_aiopika.events", aio_pika.ExchangeType.TOPIC, durable=True)

    async def publish() -> None:
        message = aio_pika.Message(
            json.dumps(plan.event).encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )
        # Events may have no listener: mandatory, each would come back.
        await exchange.publish(message, "published", mandatory=False)

    await load.run_tasks(plan, publish)


async def main() -> None:
    connection = await aio_pika.connect_robust(plan.uri)
    async with connection:
        channel = await connection.channel()
        await (run_events(channel) if plan.task == "publish" else run_calls(channel))


uvloop.run(main())
