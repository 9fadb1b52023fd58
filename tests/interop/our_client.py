"""Run by our Python: ``our_client.py URI``, our standalone clients, on threads, at the command of a test.

Its operations are those of ``nameko_client.py``.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from shop_errors import OutOfStock

from rpcservice import deserialize_to_instance
from rpcservice.aio import ServiceRpcClient as AsyncServiceRpcClient
from rpcservice.standalone import ClusterRpcClient, ServiceRpcClient, event_dispatcher

CONFIG = {"AMQP_URI": sys.argv[1], "rpc_timeout": 15, "ACCEPT": ["json", "pickle", "yaml", "msgpack"]}

deserialize_to_instance(OutOfStock)


def call(
    service: str,
    method: str,
    args: Any = (),
    kwargs: Any = None,
    context: Any = None,
    serializer: str = "json",
    timeout: float = 15,
) -> dict[str, Any]:
    """Call a method by the client for all services, and wait."""
    with ClusterRpcClient({**CONFIG, "serializer": serializer}, timeout=timeout, context_data=context) as cluster:
        return {"result": cluster[service][method](*args, **(kwargs or {}))}


def call_one_service(service: str, method: str, args: Any = (), kwargs: Any = None) -> dict[str, Any]:
    """Call a method by the client for one service, and wait."""
    with ServiceRpcClient(service, CONFIG) as client:
        return {"result": client[method](*args, **(kwargs or {}))}


def call_from_asyncio(service: str, method: str, args: Any = ()) -> dict[str, Any]:
    """Call a method from a coroutine."""

    async def one_call() -> Any:
        async with AsyncServiceRpcClient(service, CONFIG) as client:
            return await client[method](*args)

    return {"result": asyncio.run(one_call())}


def call_from_threads(service: str, method: str, arguments: list[Any]) -> dict[str, Any]:
    """Have as many threads as arguments call by one client."""
    with ServiceRpcClient(service, CONFIG) as client, ThreadPoolExecutor(len(arguments)) as pool:
        return {"result": list(pool.map(client[method], arguments))}


def call_after_a_time_out(service: str, slow_method: str, args: Any, method: str) -> dict[str, Any]:
    """Have one call time out; tell how that ended, and what the next call of the same client gives."""
    with ServiceRpcClient(service, CONFIG) as client:
        try:
            client[slow_method].with_options(timeout=0.3)(*args)
        except Exception as exc:
            first = type(exc).__name__
        return {"first": first, "result": client[method](1)}


def dispatch(source: str, event_type: str, payload: Any, **options: Any) -> dict[str, Any]:
    """Send an event."""
    with event_dispatcher(CONFIG, **options) as send:
        send(source, event_type, payload)
    return {"result": None}


assert "eventlet" not in sys.modules
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    number, operation = request.pop("id"), globals()[request.pop("op")]
    try:
        outcome = operation(**request)
    except Exception as exc:
        outcome = {
            "type": type(exc).__name__,
            "module": type(exc).__module__,
            "text": str(exc),
            "args": [str(arg) for arg in exc.args],
        }
    print(json.dumps({"id": number, **outcome}, default=str), flush=True)
