"""The FastAPI application of the documentation, with a view for the tests."""

import os
from typing import Any

from fastapi_app import app, cluster


@app.get("/meet/{count}/{name}")
async def meet(count: int, name: str) -> dict[str, Any]:
    return {"name": await cluster.meeting.meet(count, name), "pid": os.getpid()}


@app.get("/views")
async def views() -> dict[str, int]:
    counted: dict[str, int] = await cluster.orders.page_views()
    return counted
