"""Runs services for the tests of the documentation, and asks them over HTTP."""

import http.client
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rpcservice import ServiceRunner, run_services
from rpcservice.concurrency import green

LIMIT = 20.0


@dataclass
class Answer:
    """What came back over HTTP."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """Sends requests to a runner's web server, from a thread, while this one runs the services."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send one request; a body is sent as JSON, bytes as they are."""
        backend = green()
        done = backend.event()
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append(self._request(method, path, body, headers))
            except BaseException as exc:
                outcome.append(exc)
            backend.post(done.set)

        threading.Thread(target=run, daemon=True).start()
        assert done.wait(LIMIT), f"{method} {path} was not answered"
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        answer: Answer = outcome[0]
        return answer

    def _request(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(*self._address, timeout=LIMIT)
        try:
            connection.request(method, path, data, {key.replace("_", "-"): value for key, value in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read().decode())
        finally:
            connection.close()


class Site:
    """Services that run, with clients for HTTP and RPC."""

    def __init__(self, runner: ServiceRunner) -> None:
        self.runner = runner

    @property
    def http(self) -> Client:
        """A client of the web server that the services share."""
        return Client(self.address)

    @property
    def address(self) -> tuple[str, int]:
        """Where that web server listens."""
        from rpcservice.web.server import WebServer

        return self.runner.resources.get(WebServer).address


@contextmanager
def running(*services: type, **config: Any) -> Iterator[Site]:
    """Run services on an embedded broker of their own."""
    settings = {"AMQP_URI": f"memory://{secrets.token_hex(8)}/", "WEB_SERVER_ADDRESS": "127.0.0.1:0", **config}
    with run_services(*services, config=settings) as runner:
        yield Site(runner)
