"""The Flask application of the documentation, with a view for the tests, and a call before its server forks."""

import os
from typing import Any

from flask_app import app, cluster

if "CALL_EARLY" in os.environ:
    cluster.orders.place("tea", 1)


@app.get("/meet/<int:count>/<name>")
def meet(count: int, name: str) -> dict[str, Any]:
    return {"name": cluster.meeting.meet(count, name), "pid": os.getpid()}


@app.get("/views")
def views() -> dict[str, int]:
    counted: dict[str, int] = cluster.orders.page_views()
    return counted
