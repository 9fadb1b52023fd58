"""Says what is up, once a runner has started."""

import re
from collections.abc import Iterator
from typing import Any

from rpcservice.config import hide_password
from rpcservice.core.runner import ServiceRunner

EMBEDDED = (
    "The embedded broker (memory://) is used: nothing leaves this process. "
    "For RabbitMQ set AMQP_URI, or give --broker amqp://user:password@host"
)

_ARGUMENT = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?\w+>")
_EXAMPLES = {"int": "1", "float": "1.5", "uuid": "00000000-0000-0000-0000-000000000000"}


def describe(runner: ServiceRunner) -> Iterator[str]:
    """Give the lines that say which services, entrypoints and URLs are up, and what to try."""
    uri = runner.config.amqp_uri
    yield EMBEDDED if uri.startswith("memory:") else f"Broker: {hide_password(uri)}"
    for name, container in runner.service_map.items():
        yield f"Service {name}"
        for entrypoint in container.entrypoints:
            yield f"  {entrypoint.describe()}"
    for url in dict.fromkeys(_urls(runner)):
        yield f"{'Web server' if url.startswith('http') else 'Websockets'}: {url}"
    yield from _examples(runner)


def _urls(runner: ServiceRunner) -> Iterator[str]:
    for resource in runner.resources:
        url = getattr(resource, "url", None)
        if isinstance(url, str) and url.startswith(("http", "ws:")):
            yield url


def _examples(runner: ServiceRunner) -> Iterator[str]:
    """Give one line with a request to try, for the first route that a GET reaches."""
    for container in runner.service_map.values():
        for entrypoint in container.entrypoints:
            route: Any = entrypoint
            if "GET" in getattr(route, "methods", ()):
                yield f"Try: curl {route.server.url}{_ARGUMENT.sub(_example, route.url)}"
                return


def _example(argument: re.Match[str]) -> str:
    return _EXAMPLES.get(argument[1], "world")
