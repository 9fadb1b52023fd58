"""Clients for the web tests: they run in threads of the operating system, while this thread runs the services."""

import http.client
import select
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from rpcservice import ServiceContainer
from rpcservice.concurrency import green

if TYPE_CHECKING:
    from rpcservice.web.server import WebServer

LIMIT = 10.0


@dataclass
class Reply:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Background:
    """A function in a thread; the test's greenlets go on meanwhile."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._backend = green()
        self._done = self._backend.event()
        self._outcome: list[Any] = []
        self._error: list[BaseException] = []
        threading.Thread(target=self._run, args=(function, args, kwargs), daemon=True).start()

    def _run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
        try:
            self._outcome.append(function(*args, **kwargs))
        except BaseException as exc:
            self._error.append(exc)
        self._backend.post(self._done.set)

    def result(self) -> Any:
        assert self._done.wait(LIMIT), "the client did not come to an end"
        if self._error:
            raise self._error[0]
        return self._outcome[0]


@pytest.fixture
def background() -> Callable[..., Background]:
    """Start a blocking function in a thread: ``background(function, *args).result()``."""
    return Background


@dataclass
class Site:
    """A started container and its web server."""

    container: ServiceContainer
    server: "WebServer"

    @property
    def address(self) -> tuple[str, int]:
        return self.server.address

    def request_later(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Background:
        return Background(_request, self.address, method, path, body, headers or {})

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        reply: Reply = self.request_later(method, path, body, headers).result()
        return reply

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self, data: bytes, *, end: bool = False) -> bytes:
        """Send bytes and give all that comes back until the server closes; ``end`` closes this side first."""
        answer: bytes = Background(_exchange, self.address, data, end).result()
        return answer

    def drip(self, begin: bytes, drop: bytes) -> bytes:
        """Send ``begin`` and then ``drop`` again and again, until the server closes; give what came back."""
        answer: bytes = Background(_drip, self.address, begin, drop).result()
        return answer


def _request(address: tuple[str, int], method: str, path: str, body: Any, headers: dict[str, str]) -> Reply:
    connection = http.client.HTTPConnection(*address, timeout=LIMIT)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def _exchange(address: tuple[str, int], data: bytes, end: bool) -> bytes:
    with socket.create_connection(address, LIMIT) as sock:
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def _drip(address: tuple[str, int], begin: bytes, drop: bytes) -> bytes:
    with socket.create_connection(address, LIMIT) as sock:
        sock.sendall(begin)
        for _ in range(int(LIMIT / 0.02)):
            if select.select([sock], [], [], 0.02)[0]:
                return read_to_end(sock)
            sock.sendall(drop)
        raise AssertionError("the server let the client drip")


def read_to_end(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def serve(container_factory: Callable[..., ServiceContainer]) -> Iterator[Callable[..., Site]]:
    """Start a service: ``serve(ServiceClass, http_max_body_size=10)``."""

    from rpcservice.web.server import WebServer

    def start(service_cls: type, **settings: Any) -> Site:
        container = container_factory(service_cls, settings)
        container.start()
        return Site(container, container.resource(WebServer))

    yield start


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Open websockets for the time of a test: ``connect(site, path="/ws", headers=None)``."""
    from rpcservice.testing import VirtualSocket

    opened: list[VirtualSocket] = []

    def open_one(site: Site, path: str = "/ws", **options: Any) -> VirtualSocket:
        opened.append(VirtualSocket(*site.address, path, **options))
        return opened[-1].connect()

    yield open_one
    for one in opened:
        one.close()
