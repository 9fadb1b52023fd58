"""WebServer in one of several processes, which share a listening socket: here runners that share one."""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from waiting import wait_until
from werkzeug import Request

from rpcservice import Resource, ServiceRunner, http
from rpcservice.concurrency import green
from rpcservice.concurrency.native import native
from rpcservice.core.process import Process
from rpcservice.errors import ConfigError
from rpcservice.web.listening import listen
from rpcservice.web.server import HealthServer, WebServer


class Supervisor:
    """Gives each who asks a descriptor of its own for the one socket."""

    def __init__(self) -> None:
        self.sock = listen("127.0.0.1:0", "WEB_SERVER_ADDRESS")
        self.number = 0
        self.asked: list[tuple[str, str]] = []
        self.error: str | None = None

    def listener(self, key: str, address: str) -> socket.socket:
        if self.error is not None:
            raise ConfigError(self.error)
        self.asked.append((key, address))
        sock: socket.socket = native("socket").socket(fileno=native("os").dup(self.sock.fileno()))
        sock.setblocking(False)
        return sock

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    with supervisor.sock:
        yield supervisor


class Held(Resource):
    """Keeps services from being up until the test lets them."""

    opened: Any = None

    def start(self) -> None:
        if self.opened is not None:
            assert self.opened.wait(10)


def service_named(word: str) -> type:
    class Web:
        name = "web"

        @http("GET", "/who")
        def who(self, request: Request) -> str:
            return word

    return Web


@pytest.fixture
def make(supervisor: Supervisor) -> Iterator[Callable[..., ServiceRunner]]:
    """Make a runner whose service answers with a word, as one of several processes."""
    runners: list[ServiceRunner] = []

    def make(word: str, **settings: Any) -> ServiceRunner:
        runner = ServiceRunner({"AMQP_URI": "memory://", "WEB_SERVER_ADDRESS": "127.0.0.1:0", **settings})
        runner.add_service(service_named(word))
        runner.resources.get(Process).join(supervisor)
        runners.append(runner)
        return runner

    yield make
    for runner in runners:
        runner.kill()


def get(background: Callable[..., Any], port: int, path: str = "/who") -> tuple[int, str]:
    """Request something over a connection of its own."""
    return get_later(background, port, path).result()  # type: ignore[no-any-return]


def get_later(background: Callable[..., Any], port: int, path: str = "/who") -> Any:
    import http.client

    def ask() -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    return background(ask)


def test_processes_share_the_requests(
    make: Callable[..., ServiceRunner], supervisor: Supervisor, background: Callable[..., Any]
) -> None:
    for word in ("one", "other"):
        make(word).start()
    asked = [get_later(background, supervisor.port) for _ in range(40)]
    assert {one.result() for one in asked} == {(200, "one"), (200, "other")}


def test_a_process_asks_for_each_address_by_its_key(make: Callable[..., ServiceRunner], supervisor: Supervisor) -> None:
    runner = make("one", health_address="127.0.0.1:0")
    runner.start()
    assert supervisor.asked == [("WEB_SERVER_ADDRESS", "127.0.0.1:0"), ("health_address", "127.0.0.1:0")]
    assert runner.resources.get(WebServer).address == ("127.0.0.1", supervisor.port)


def test_an_address_that_the_supervisor_cannot_have_ends_the_start(
    make: Callable[..., ServiceRunner], supervisor: Supervisor
) -> None:
    supervisor.error = "WEB_SERVER_ADDRESS is '127.0.0.1:80': the port is in use"
    with pytest.raises(ConfigError, match="the port is in use"):
        make("one").start()


def test_a_process_that_starts_takes_no_requests_yet(
    make: Callable[..., ServiceRunner], supervisor: Supervisor, background: Callable[..., Any]
) -> None:
    """It would answer them with 503; there they wait for it, or for others that are up."""
    runner = make("one")
    held = runner.resources.get(Held)
    held.opened = green().event()
    starting = green().spawn(runner.start)
    wait_until(lambda: supervisor.asked, "the listening")
    asked = get_later(background, supervisor.port)
    other = make("other")
    other.start()
    assert asked.result() == (200, "other")
    other.stop()
    waiting = get_later(background, supervisor.port, "/health")
    assert not starting.wait(0.05)
    held.opened.set()
    assert waiting.result()[0] == 200


def test_a_process_that_stops_leaves_the_socket_to_others(
    make: Callable[..., ServiceRunner], supervisor: Supervisor, background: Callable[..., Any]
) -> None:
    one, other = make("one"), make("other")
    one.start()
    other.start()
    one.stop()
    asked = [get_later(background, supervisor.port) for _ in range(10)]
    assert {reply.result() for reply in asked} == {(200, "other")}


def _health(runner: ServiceRunner, cls: type[WebServer] = WebServer) -> int:
    return runner.resources.get(cls).health_answer().status


@pytest.mark.parametrize(("others_serve_on", "status"), [(True, 200), (False, 503)])
def test_health_is_of_all_processes_while_one_stops(
    others_serve_on: bool, status: int, make: Callable[..., ServiceRunner]
) -> None:
    runner = make("one")
    runner.start()
    runner.resources.get(Process).others_serve_on = others_serve_on
    runner.resources.get(WebServer).stop_accepting()
    assert _health(runner) == status


@pytest.mark.parametrize("others_serve_on", [True, False])
def test_the_address_of_health_is_left_to_others_too(
    others_serve_on: bool, make: Callable[..., ServiceRunner], supervisor: Supervisor, background: Callable[..., Any]
) -> None:
    """Who is the last to stop says so there, as long as it can."""
    runner = make("one", health_address="127.0.0.1:0")
    runner.start()
    runner.resources.get(Process).others_serve_on = others_serve_on
    server = runner.resources.get(HealthServer)
    server.drain(0)
    assert (server._listener is None) is others_serve_on


def test_health_of_a_process_that_is_up_is_answered(
    make: Callable[..., ServiceRunner], supervisor: Supervisor, background: Callable[..., Any]
) -> None:
    make("one").start()
    status, body = get(background, supervisor.port, "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})
