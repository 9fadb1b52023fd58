"""20 FastStream services for one process, 5 subscribers each: one router a service."""

import os

from faststream import FastStream
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue, RabbitRouter

COUNT = 20

broker = RabbitBroker(os.environ["BENCH_AMQP_URI"])
app = FastStream(broker)


def make_router(number: int) -> RabbitRouter:
    service = f"many_faststream_{number}"
    following = f"many_faststream_{(number + 1) % COUNT}"
    own_events = RabbitExchange(f"{service}.events", type=ExchangeType.TOPIC, durable=True)
    other_events = RabbitExchange(f"{following}.events", type=ExchangeType.TOPIC, durable=True)
    router = RabbitRouter()

    # Before the others, for subscribers start in this order: who answers has its exchanges declared.
    def subscribe(event: str) -> None:
        @router.subscriber(RabbitQueue(f"evt-{service}.{event}", durable=True, routing_key=event), other_events)
        async def handle(payload: dict) -> None:
            return None

    for event in ("first", "second", "third"):
        subscribe(event)

    @router.subscriber(RabbitQueue(f"{service}.hello", durable=True))
    async def hello(name: str) -> str:
        return f"Hello, {name}!"

    @router.subscriber(RabbitQueue(f"{service}.relay", durable=True))
    async def relay(name: str) -> str:
        await broker.publish({"name": name}, exchange=own_events, routing_key="first", persist=True)
        answer = await broker.request(name, queue=f"{following}.hello")
        return await answer.decode()

    return router


for _number in range(COUNT):
    broker.include_router(make_router(_number))
