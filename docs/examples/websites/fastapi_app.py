"""A FastAPI application: one asyncio client for all requests of a process.

uvicorn fastapi_app:app --workers 2
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from rpcservice import ConnectionLost, RemoteError, RpcTimeout
from rpcservice.aio import ClusterRpcClient, EventDispatcher

CONFIG = {"AMQP_URI": os.environ["AMQP_URI"], "rpc_timeout": 5}

cluster = ClusterRpcClient(CONFIG)
dispatch = EventDispatcher(CONFIG)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with cluster, dispatch:
        yield


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    sku: str
    quantity: int


@app.post("/orders", status_code=201)
async def place_order(order: Order) -> dict[str, Any]:
    placed: dict[str, Any] = await cluster.orders.place(order.sku, order.quantity)
    return placed


@app.get("/products/{sku}")
async def show_product(sku: str) -> dict[str, str]:
    await dispatch("website", "page_viewed", {"page": f"/products/{sku}"})
    return {"sku": sku}


@app.exception_handler(RemoteError)
async def refuse(request: Request, error: RemoteError) -> JSONResponse:
    return JSONResponse({"error": f"{error.exc_type}: {error.value}"}, 422)


@app.exception_handler(ConnectionLost)
@app.exception_handler(RpcTimeout)
async def give_up(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 503)
