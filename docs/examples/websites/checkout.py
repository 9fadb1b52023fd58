"""An asyncio program: it places orders side by side, and tells the world."""

import asyncio
import os
import sys

from rpcservice import RemoteError, RpcTimeout
from rpcservice.aio import ClusterRpcClient, EventDispatcher

CONFIG = {"AMQP_URI": os.environ["AMQP_URI"]}


async def check_out(skus: list[str]) -> int:
    async with ClusterRpcClient(CONFIG, timeout=5) as cluster, EventDispatcher(CONFIG) as dispatch:
        placed = await asyncio.gather(*(cluster.orders.place(sku, 1) for sku in skus))
        await dispatch("checkout", "basket_paid", {"skus": skus})
        return sum(order["cents"] for order in placed)


async def price(sku: str) -> str:
    async with ClusterRpcClient(CONFIG) as cluster:
        call = cluster["orders"]["place"].with_options(timeout=2).call_async(sku, quantity=10)
        # The call is under way; here is time for other things.
        try:
            order = await call
        except RemoteError as exc:
            return f"{sku} is not sold: {exc.exc_type}"
        except RpcTimeout as exc:
            return f"no answer within {exc.seconds} seconds"
        return f"10 x {sku}: {order['cents']}"


if __name__ == "__main__":
    print(asyncio.run(check_out(sys.argv[1:])))
    print(asyncio.run(price("pot")))
    print(asyncio.run(price("coffee")))
