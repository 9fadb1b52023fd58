"""FastStream's HTTP side: its documentation sends HTTP to FastAPI, with the broker as a router of the same app."""

import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from faststream.rabbit.fastapi import RabbitRouter

router = RabbitRouter(os.environ["BENCH_AMQP_URI"])
app = FastAPI()


@app.get("/hello/{name}", response_class=PlainTextResponse)
async def hello(name: str) -> str:
    return f"Hello, {name}!"


app.include_router(router)
