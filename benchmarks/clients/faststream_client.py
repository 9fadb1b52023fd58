"""FastStream's client: one broker object, driven by tasks."""

import load
import uvloop
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange

plan = load.read_plan()
broker = RabbitBroker(plan.uri)
publisher = broker.publisher(
    exchange=RabbitExchange("bench_client_faststream.events", type=ExchangeType.TOPIC, durable=True),
    routing_key="published",
    persist=True,
    # Events may have no listener: mandatory, each would come back.
    mandatory=False,
)


async def call() -> None:
    reply = await broker.request(plan.argument, queue=f"{plan.service}.{plan.method}", persist=True)
    answer = await reply.decode()
    assert answer == plan.answer, answer


async def publish() -> None:
    await publisher.publish(plan.event)


async def main() -> None:
    await broker.start()
    await load.run_tasks(plan, publish if plan.task == "publish" else call)
    await broker.stop()


uvloop.run(main())
