"""WebServer: listens early, answers /health, is shared by all services, and stops in order."""

import json
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until
from werkzeug import Request
from werkzeug.routing import Rule

from rpcservice import Resource, ServiceContainer, ServiceRunner, http, timer
from rpcservice.concurrency import green
from rpcservice.concurrency.native import native
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.errors import ConfigError, DeclarationError
from rpcservice.web.http import Http
from rpcservice.web.listening import listen
from rpcservice.web.server import HealthServer, WebServer

Serve = Callable[..., Any]
Containers = Callable[..., ServiceContainer]
Runners = Callable[..., ServiceRunner]

GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"


class Plain:
    name = "plain"

    @http("GET", "/ok")
    def ok(self, request: Request) -> Any:
        return "ok"


class Other:
    name = "other"

    @http("GET", "/other/<word>")
    def other(self, request: Request, word: str) -> Any:
        return word


class Gate:
    """A service whose method waits until the test lets it go on."""

    name = "gate"

    entered: Any
    opened: Any

    @classmethod
    def close(cls) -> None:
        cls.entered, cls.opened = green().event(), green().event()

    @http("GET", "/wait")
    def wait(self, request: Request) -> Any:
        self.entered.set()
        assert self.opened.wait(10)
        return "waited"

    @http("GET", "/stream")
    def stream(self, request: Request) -> Any:
        yield "begun"
        assert self.opened.wait(10)
        yield "ended"


class Upload:
    name = "upload"

    @http("POST", "/length")
    def length(self, request: Request) -> Any:
        return str(len(request.get_data()))


class Broker(Resource):
    """Stands for a connection that takes its time."""

    connected: Any
    asked: Any

    def start(self) -> None:
        self.asked.set()
        assert self.connected.wait(10)

    def health(self) -> str | None:
        return None if self.connected.is_set() else "the broker is away"


class OnBroker(Entrypoint):
    """An entrypoint that stands on the slow connection."""

    def setup(self) -> None:
        self.host.resource(Broker)


class Slow(Plain):
    name = "slow"

    @OnBroker.decorator
    def listen(self) -> None:
        """Never fired."""


class Ticking:
    name = "ticking"

    @timer(interval=60)
    def tick(self) -> None:
        """Never fired."""


@pytest.fixture
def slow_broker() -> type[Broker]:
    Broker.connected, Broker.asked = green().event(), green().event()
    return Broker


@pytest.fixture
def ask(background: Callable[..., Any]) -> Callable[..., tuple[int, Any]]:
    """GET a path of an address; give the status and the body."""

    def get(address: tuple[str, int], path: str = "/health") -> tuple[int, bytes]:
        with socket.create_connection(address, 5) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        return int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]

    return lambda *args: background(get, *args).result()


def test_health_says_what_is_missing_until_the_services_are_up(
    container_factory: Containers, slow_broker: type[Broker], ask: Callable[..., Any]
) -> None:
    container = container_factory(Slow)
    started = green().spawn(container.start)
    assert slow_broker.asked.wait(5)
    status, body = ask(container.resource(WebServer).address)
    assert (status, json.loads(body)) == (503, {"status": "unavailable", "reasons": ["the broker is away"]})
    slow_broker.connected.set()
    assert started.wait(5)
    status, body = ask(container.resource(WebServer).address)
    assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_nothing_but_health_is_answered_until_the_services_are_up(
    container_factory: Containers, slow_broker: type[Broker], ask: Callable[..., Any]
) -> None:
    container = container_factory(Slow)
    started = green().spawn(container.start)
    assert slow_broker.asked.wait(5)
    assert ask(container.resource(WebServer).address, "/ok")[0] == 503
    slow_broker.connected.set()
    assert started.wait(5)
    assert ask(container.resource(WebServer).address, "/ok") == (200, b"ok")


def test_health_says_what_is_wrong_later_too(
    container_factory: Containers, slow_broker: type[Broker], ask: Callable[..., Any]
) -> None:
    slow_broker.connected.set()
    container = container_factory(Slow)
    container.start()
    slow_broker.connected = green().event()
    assert ask(container.resource(WebServer).address)[0] == 503


def test_the_health_route_of_a_service_wins(serve: Serve) -> None:
    class Own:
        name = "own"

        @http("GET", "/health")
        def health(self, request: Request) -> Any:
            return "as well as can be"

    assert serve(Own).get("/health").text == "as well as can be"


def test_a_route_that_fits_everything_leaves_health_alone(serve: Serve) -> None:
    class Everything:
        name = "everything"

        @http("GET", "/<path:path>")
        def all(self, request: Request, path: str) -> Any:
            return path

    site = serve(Everything)
    assert json.loads(site.get("/health").body) == {"status": "ok"}
    assert site.get("/healthy").text == "healthy"


def test_health_has_an_address_of_its_own_on_demand(container_factory: Containers, ask: Callable[..., Any]) -> None:
    container = container_factory(Ticking, {"health_address": "127.0.0.1:0"})
    container.start()
    assert ask(container.resource(HealthServer).address) == (200, b'{"status":"ok"}')
    assert ask(container.resource(HealthServer).address, "/ok")[0] == 404


def test_without_web_entrypoints_nothing_listens(container_factory: Containers) -> None:
    container = container_factory(Ticking)
    container.start()
    assert [resource for resource in container.resources if isinstance(resource, WebServer)] == []


def test_the_services_of_a_process_share_one_server(runner_factory: Runners, ask: Callable[..., Any]) -> None:
    runner = runner_factory(Plain, Other)
    runner.start()
    server = runner.resources.get(WebServer)
    assert ask(server.address, "/ok") == (200, b"ok")
    assert ask(server.address, "/other/word") == (200, b"word")


def test_the_same_route_in_two_services_is_an_error_that_names_both(runner_factory: Runners) -> None:
    class Twin(Other):
        name = "twin"

        @http("POST,GET", "/other/<thing>")
        def same(self, request: Request, thing: str) -> Any:
            return thing

    with pytest.raises(DeclarationError, match=r"other\.other and twin\.\w+ both answer GET /other/"):
        runner_factory(Other, Twin).start()


def test_the_same_route_twice_in_a_service_is_an_error(container_factory: Containers) -> None:
    class Double:
        name = "double"

        @http("GET", "/a")
        def one(self, request: Request) -> Any: ...

        @http("GET", "/a")
        def two(self, request: Request) -> Any: ...

    with pytest.raises(DeclarationError, match=r"double\.one and double\.two both answer GET /a"):
        container_factory(Double).start()


def test_routes_of_different_methods_or_converters_are_no_conflict(serve: Serve) -> None:
    class Several:
        name = "several"

        @http("GET", "/a/<int:number>")
        def number(self, request: Request, number: int) -> Any:
            return f"number {number}"

        @http("GET", "/a/<word>")
        def word(self, request: Request, word: str) -> Any:
            return f"word {word}"

        @http("POST", "/a/<word>")
        def post(self, request: Request, word: str) -> Any:
            return f"posted {word}"

    site = serve(Several)
    assert site.get("/a/1").text == "number 1"
    assert site.get("/a/b").text == "word b"
    assert site.request("POST", "/a/b").text == "posted b"


def test_head_of_its_own_is_no_conflict_with_get(serve: Serve) -> None:
    class Heads:
        name = "heads"

        @http("HEAD", "/a")
        def head(self, request: Request) -> Any:
            return "", {"X-Own": "yes"}

        @http("GET", "/a")
        def get(self, request: Request) -> Any:
            return "a"

    assert serve(Heads).get("/a").text == "a"


def test_a_wrong_url_rule_is_an_error_that_names_the_method(container_factory: Containers) -> None:
    class Wrong:
        name = "wrong"

        @http("GET", "/a/<unheard_of:x>")
        def a(self, request: Request, x: str) -> Any: ...

    with pytest.raises(DeclarationError, match=r"wrong\.a: the URL rule is wrong: .*unheard_of"):
        container_factory(Wrong).start()


def test_an_entrypoint_may_bring_its_own_rule(serve: Serve) -> None:
    class Prefixed(Http):
        def get_url_rule(self) -> Rule:
            return Rule(f"/v1{self.url}", methods=self.methods)

    class Versions:
        name = "versions"

        @Prefixed.decorator("GET", "/a")
        def a(self, request: Request) -> Any:
            return "a"

    assert serve(Versions).get("/v1/a").text == "a"


def test_a_port_in_use_is_one_line_that_tells_the_mend(serve: Serve, container_factory: Containers) -> None:
    host, port = serve(Plain).address
    with pytest.raises(ConfigError, match=rf"^WEB_SERVER_ADDRESS is '{host}:{port}': the port is in use; .*$"):
        container_factory(Plain, {"WEB_SERVER_ADDRESS": f"{host}:{port}"}).start()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0"])
def test_an_address_of_elsewhere_is_one_line_that_names_the_key(address: str) -> None:
    with pytest.raises(ConfigError, match=f"^health_address is '{address}': .+; give an address of this machine$"):
        listen(address, "health_address")


def test_the_server_listens_on_ipv6(serve: Serve) -> None:
    site = serve(Plain, WEB_SERVER_ADDRESS="[::1]:0")
    assert site.server.url == f"http://[::1]:{site.address[1]}"
    assert site.get("/ok").text == "ok"


def test_the_url_names_an_address_that_can_be_called(serve: Serve) -> None:
    site = serve(Plain, WEB_SERVER_ADDRESS="0.0.0.0:0")
    assert site.server.url == f"http://127.0.0.1:{site.address[1]}"


def test_an_idle_server_stops_soon_though_connections_are_kept(serve: Serve, background: Callable[..., Any]) -> None:
    site = serve(Plain, http_keep_alive=60, http_header_timeout=60)

    def keep(request: bytes) -> socket.socket:
        sock = socket.create_connection(site.address, 5)
        if request:
            sock.sendall(request)
            assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        return sock

    kept, silent = background(keep, GET).result(), background(keep, b"").result()
    assert site.get("/ok").text == "ok"
    stopped = green().spawn(site.container.stop)
    assert stopped.wait(5)
    with kept, silent:
        assert (background(kept.recv, 1).result(), background(silent.recv, 1).result()) == (b"", b"")


def test_a_running_request_is_answered_when_the_service_stops(serve: Serve) -> None:
    Gate.close()
    site = serve(Gate)
    running = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    stopped = green().spawn(site.container.stop)
    assert not stopped.wait(0.05)
    Gate.opened.set()
    reply = running.result()
    assert (reply.text, reply.headers["Connection"]) == ("waited", "close")
    assert stopped.wait(5)


def test_a_server_that_stops_accepts_no_more(serve: Serve, background: Callable[..., Any]) -> None:
    Gate.close()
    site = serve(Gate)
    running = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    stopped = green().spawn(site.container.stop)
    assert not stopped.wait(0.05)
    with pytest.raises(ConnectionRefusedError):
        background(socket.create_connection, site.address, 5).result()
    Gate.opened.set()
    running.result()
    assert stopped.wait(5)


def _is_last(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200") and b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize("is_kept", [False, True], ids=["new connection", "kept connection"])
def test_a_request_that_has_come_unseen_is_answered_when_the_server_stops(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    monkeypatch.setattr("rpcservice.web.connection.RESTED", 0)
    site = serve(Plain)
    # Not the patched module's: nobody sees what this one does until this test gives control away.
    with native("socket").create_connection(site.address, 5) as sock:
        if is_kept:
            sock.sendall(GET)
            wait_until(lambda: select.select([sock], [], [], 0)[0], "the first answer")
            assert not _is_last(sock.recv(1000))
        sock.sendall(GET)
        site.container.stop()
        assert _is_last(sock.recv(1000))


def _begin_to_stop(site: Any) -> Any:
    stopped = green().spawn(site.container.stop)
    wait_until(lambda: site.server.health() is not None, "the end of the listening")
    assert not stopped.wait(0.05)
    return stopped


def test_a_request_that_comes_while_the_server_stops_is_answered_and_is_the_last_one(
    serve: Serve, background: Callable[..., Any]
) -> None:
    site = serve(Plain)
    with background(socket.create_connection, site.address, 5).result() as sock:
        sock.sendall(GET)
        assert not _is_last(background(sock.recv, 1000).result())
        stopped = _begin_to_stop(site)
        sock.sendall(GET)
        assert _is_last(background(sock.recv, 1000).result())
        assert stopped.wait(5)


def test_a_body_that_is_being_sent_when_the_server_stops_is_waited_for(
    serve: Serve, background: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.web.connection.FAREWELL", 0.01)
    site = serve(Upload)
    with background(socket.create_connection, site.address, 5).result() as sock:
        sock.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha")
        wait_until(lambda: not any(connection.is_idle for connection in site.server._connections), "the head")
        stopped = _begin_to_stop(site)
        sock.sendall(b"lf")
        answer = background(sock.recv, 1000).result()
        assert _is_last(answer) and answer.endswith(b"4")
        assert stopped.wait(5)


def test_an_answer_that_was_begun_before_the_server_stops_is_not_the_last_one(
    serve: Serve, background: Callable[..., Any]
) -> None:
    """It has said that the connection goes on, so that its client may send another request at once."""
    Gate.close()
    site = serve(Gate)
    with background(socket.create_connection, site.address, 5).result() as sock:
        sock.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Connection" not in background(sock.recv, 1000).result()
        stopped = _begin_to_stop(site)
        Gate.opened.set()
        wait_until(lambda: background(sock.recv, 1000).result().endswith(b"0\r\n\r\n"), "the last chunk")
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert _is_last(background(sock.recv, 1000).result())
        assert stopped.wait(5)


def test_a_request_that_does_not_finish_in_time_is_a_503(serve: Serve) -> None:
    Gate.close()
    site = serve(Gate, shutdown_timeout=0.2)
    running = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    site.container.stop()
    reply = running.result()
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert reply.headers["X-Request-ID"].startswith("gate.wait.")


def test_a_request_that_waits_for_a_worker_when_the_service_is_killed_is_a_503(serve: Serve) -> None:
    Gate.close()
    site = serve(Gate, max_workers=1)
    running = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    site.container.kill()
    assert running.result().status == 503


def test_a_server_that_could_not_start_lets_go_of_its_port(
    container_factory: Containers, slow_broker: type[Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Broker) -> None:
        raise ConfigError("no broker")

    monkeypatch.setattr(slow_broker, "start", fail)
    container = container_factory(Slow)
    with pytest.raises(ConfigError, match="no broker"):
        container.start()
    address = container.resource(WebServer).address
    again = container_factory(Plain, {"WEB_SERVER_ADDRESS": f"127.0.0.1:{address[1]}"})
    again.start()
    assert again.resource(WebServer).address == address


def test_running_out_of_descriptors_is_survived(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = serve(Plain)
    accept, failures = site.server._listener.accept, [OSError(24, "Too many open files")]

    class Listener:
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return accept()

        def fileno(self) -> int:
            fileno: int = site.server._listener.fileno()
            return fileno

    site.server._acceptor.kill()
    site.server._acceptor = green().spawn(site.server._accept_all, Listener())
    assert site.get("/ok").text == "ok"
    assert "raise the limit of open files" in caplog.text


def test_a_service_that_died_is_a_503_and_the_others_answer(runner_factory: Runners, ask: Callable[..., Any]) -> None:
    runner = runner_factory(Plain, Other)
    runner.start()
    address = runner.resources.get(WebServer).address
    runner.containers["plain"].kill()
    assert ask(address, "/ok")[0] == 503
    assert ask(address, "/other/word") == (200, b"word")


class Endless:
    name = "endless"

    going: Any

    @http("GET", "/endless")
    def endless(self, request: Request) -> Any:
        while True:
            self.going.set()
            yield b"x" * 100_000

    @http("GET", "/big")
    def big(self, request: Request) -> Any:
        self.going.set()
        return b"x" * 30_000_000


@pytest.mark.parametrize("path", [b"/endless", b"/big"])
def test_a_client_that_does_not_read_holds_a_stop_up_for_the_shutdown_timeout_only(serve: Serve, path: bytes) -> None:
    Endless.going = green().event()
    site = serve(Endless, shutdown_timeout=0.3, http_body_timeout=60)
    with socket.create_connection(site.address, 5) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert Endless.going.wait(5)
        stopped = green().spawn(site.container.stop)
        assert stopped.wait(5)
        assert site.server._all_closed.wait(5)


def test_a_connection_that_is_gone_before_its_turn_is_passed_over(serve: Serve) -> None:
    site = serve(Plain)
    accept, failures = site.server._listener.accept, [ConnectionAbortedError()]

    class Listener:
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return accept()

        def fileno(self) -> int:
            fileno: int = site.server._listener.fileno()
            return fileno

    site.server._acceptor.kill()
    site.server._acceptor = green().spawn(site.server._accept_all, Listener())
    assert site.get("/ok").text == "ok"


def test_a_port_of_the_system_is_one_line_that_tells_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*args: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(native("socket").socket, "bind", bind)
    with pytest.raises(
        ConfigError, match=r"^WEB_SERVER_ADDRESS is '127\.0\.0\.1:80': this user .*; give a port from 1024"
    ):
        listen("127.0.0.1:80", "WEB_SERVER_ADDRESS")
