"""A Flask application: one client for all threads of a process.

gunicorn --worker-class gthread --workers 2 --threads 16 flask_app:app
"""

import os
from typing import Any

from flask import Flask, request
from flask.typing import ResponseReturnValue

from rpcservice import ClusterRpcClient, ConnectionLost, RemoteError, RpcTimeout, event_dispatcher

CONFIG = {"AMQP_URI": os.environ["AMQP_URI"], "rpc_timeout": 5}

app = Flask(__name__)
cluster = ClusterRpcClient(CONFIG)
dispatch = event_dispatcher(CONFIG)


@app.post("/orders")
def place_order() -> ResponseReturnValue:
    order = request.get_json()
    placed: dict[str, Any] = cluster.orders.place(order["sku"], order["quantity"])
    return placed, 201


@app.get("/products/<sku>")
def show_product(sku: str) -> ResponseReturnValue:
    dispatch("website", "page_viewed", {"page": f"/products/{sku}"})
    return {"sku": sku}


@app.errorhandler(RemoteError)
def refuse(error: RemoteError) -> ResponseReturnValue:
    return {"error": f"{error.exc_type}: {error.value}"}, 422


@app.errorhandler(ConnectionLost)
@app.errorhandler(RpcTimeout)
def give_up(error: Exception) -> ResponseReturnValue:
    return {"error": str(error)}, 503
