"""Connections: kept, limited and closed; what bad clients get."""

import logging
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any

import pytest
from werkzeug import Request

from rpcservice import http
from rpcservice.concurrency import green

Serve = Callable[..., Any]

GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"


class Plain:
    name = "plain"

    @http("GET", "/ok")
    def ok(self, request: Request) -> Any:
        return "ok"

    @http("POST", "/echo")
    def echo(self, request: Request) -> Any:
        return request.get_data()

    @http("GET", "/big")
    def big(self, request: Request) -> Any:
        return b"x" * 30_000_000

    @http("GET", "/endless")
    def endless(self, request: Request) -> Iterator[bytes]:
        while True:
            yield b"x" * 100_000


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

    @http("GET", "/ok")
    def ok(self, request: Request) -> Any:
        return "ok"

    @http("POST", "/echo")
    def echo(self, request: Request) -> Any:
        return request.get_data()


@pytest.fixture
def plain(serve: Serve) -> Any:
    return serve(Plain)


@pytest.fixture
def serve_gate(serve: Serve) -> Serve:
    def start(**settings: Any) -> Any:
        Gate.close()
        return serve(Gate, **settings)

    return start


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def test_a_connection_is_kept_for_the_next_request(plain: Any, background: Callable[..., Any]) -> None:
    def twice() -> list[bytes]:
        connection = HTTPConnection(*plain.address, timeout=5)
        bodies, ports = [], set()
        for _ in range(2):
            connection.request("GET", "/ok")
            bodies.append(connection.getresponse().read())
            ports.add(connection.sock.getsockname())
        connection.close()
        assert len(ports) == 1
        return bodies

    assert background(twice).result() == [b"ok", b"ok"]


def test_requests_that_come_together_are_answered_in_order(plain: Any) -> None:
    answer = plain.raw(POST + b"Content-Length: 3\r\n\r\none" + GET + LAST)
    assert [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [b"one", b"ok", b"ok"]


def test_connection_close_is_honoured_and_said(plain: Any) -> None:
    assert b"Connection: close\r\n" in plain.raw(LAST)


def test_an_http_10_connection_ends_with_the_answer(plain: Any) -> None:
    assert statuses(plain.raw(b"GET /ok HTTP/1.0\r\n\r\n")) == [200]


def test_an_http_10_connection_is_kept_on_demand(plain: Any) -> None:
    answer = plain.raw(b"GET /ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST)
    assert statuses(answer) == [200, 200]
    assert b"Connection: keep-alive\r\n" in answer


def test_a_routing_error_keeps_the_connection(plain: Any) -> None:
    assert statuses(plain.raw(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + LAST)) == [404, 200]


def test_a_routing_error_before_a_body_ends_the_connection(plain: Any) -> None:
    answer = plain.raw(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + GET)
    assert statuses(answer) == [404]


def test_an_empty_line_before_a_request_is_ignored(plain: Any) -> None:
    assert statuses(plain.raw(b"\r\n" + LAST)) == [200]


def test_an_empty_line_after_a_body_is_no_request(serve: Serve) -> None:
    site = serve(Plain, http_header_timeout=0.1, http_keep_alive=0.3)
    assert statuses(site.raw(POST + b"Content-Length: 3\r\n\r\nabc\r\n")) == [200]


def test_answers_are_not_held_back_by_the_system(plain: Any) -> None:
    with socket.create_connection(plain.address, 5):
        assert plain.get("/ok").status == 200
        sockets = [connection.stream._sock for connection in plain.server._connections]
        options = [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in sockets]
    assert options
    assert all(options)


def test_the_target_may_be_a_whole_url(plain: Any) -> None:
    answer = plain.raw(b"GET http://x:1/ok?a=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert statuses(answer) == [200]


def test_a_client_that_waits_for_100_continue_gets_it(plain: Any, background: Callable[..., Any]) -> None:
    def talk() -> tuple[bytes, bytes]:
        with socket.create_connection(plain.address, 5) as sock:
            sock.sendall(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            go_on = sock.recv(1000)
            sock.sendall(b"abc")
            return go_on, sock.recv(1000)

    go_on, answer = background(talk).result()
    assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.endswith(b"abc")


MALFORMED = {
    "no request line": b"nonsense\r\n\r\n",
    "no version": b"GET /ok\r\n\r\n",
    "two spaces": b"GET  /ok HTTP/1.1\r\nHost: x\r\n\r\n",
    "control character in the target": b"GET /o\x01k HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes above ASCII in the target": "GET /ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a target that is no path": b"GET ok HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /ok HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /ok HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a header without a colon": b"GET /ok HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "a header without a name": b"GET /ok HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "a space before the colon": b"GET /ok HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": b"GET /ok HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a zero byte": b"GET /ok HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "a lone carriage return": b"GET /ok HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
    "lines that end in LF": b"GET /ok HTTP/1.1\nHost: x\n\n",
    "TLS on a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "both lengths": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "the same length twice": POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": POST + b"Content-Length: 3, 3\r\n\r\nabc",
    "a negative length": POST + b"Content-Length: -3\r\n\r\nabc",
    "a length with a sign": POST + b"Content-Length: +3\r\n\r\nabc",
    "a hexadecimal length": POST + b"Content-Length: 0x3\r\n\r\nabc",
    "an Arabic digit": POST + "Content-Length: ٣\r\n\r\nabc".encode(),
    "an empty length": POST + b"Content-Length:\r\n\r\nabc",
    "chunks in HTTP/1.0": b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is no number": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a negative chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "a chunk size with 0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk that is longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "a chunk line that ends in LF": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_is_a_400_and_the_server_lives(plain: Any, request_bytes: bytes) -> None:
    assert statuses(plain.raw(request_bytes + GET)) == [400]
    assert plain.get("/ok").text == "ok"


@pytest.mark.parametrize("encoding", [b"gzip", b"chunked, chunked", b"identity", b"xchunked", b"chunked;q=1"])
def test_an_unknown_transfer_encoding_is_a_501(plain: Any, encoding: bytes) -> None:
    assert statuses(plain.raw(POST + b"Transfer-Encoding: " + encoding + b"\r\n\r\n0\r\n\r\n" + GET)) == [501]


def test_another_version_of_http_is_a_505(plain: Any) -> None:
    assert statuses(plain.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == [505]


def test_chunks_may_have_extensions_and_trailers(plain: Any) -> None:
    chunks = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"
    answer = plain.raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + LAST)
    assert statuses(answer) == [200, 200]
    assert b"\r\n\r\nabcdeHTTP/1.1" in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /ok HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2000 + b"\r\n\r\n", 413),
        (b"GET /ok HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 413),
        (b"GET /ok HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2000, 413),
        (b"GET /" + b"a" * 2000, 414),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: aaaaaaaaaa\r\n" * 100, 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3;" + b"a" * 2000, 400),
    ],
)
def test_a_header_that_is_too_long_is_refused(serve: Serve, request_bytes: bytes, status: int) -> None:
    assert statuses(serve(Plain, http_max_header_size=1000).raw(request_bytes)) == [status]


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 11\r\n\r\n",
        b"Content-Length: 99999999999999\r\n\r\n",
        b"Content-Length: 400000\r\n\r\n" + b"a" * 400_000,
        b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nb\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n5\r\nabcde\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    ],
)
def test_a_body_that_is_too_long_is_a_413(serve: Serve, body: bytes) -> None:
    assert statuses(serve(Plain, http_max_body_size=10).raw(POST + body)) == [413]


def test_a_body_of_the_allowed_length_is_taken(serve: Serve) -> None:
    assert serve(Plain, http_max_body_size=10).request("POST", "/echo", b"0123456789").body == b"0123456789"


def test_a_head_that_drips_is_a_408_when_its_time_is_over(serve: Serve) -> None:
    site = serve(Plain, http_header_timeout=0.3)
    assert statuses(site.drip(b"GET /ok HTTP/1.1\r\nHost: x\r\nX: ", b"a")) == [408]


def test_a_second_head_that_stops_is_a_408_too(serve: Serve) -> None:
    site = serve(Plain, http_header_timeout=0.3)
    assert statuses(site.raw(GET + b"GET /ok HT")) == [200, 408]


def test_a_body_that_drips_is_a_408_when_its_time_is_over(serve: Serve) -> None:
    site = serve(Plain, http_body_timeout=0.3)
    assert statuses(site.drip(POST + b"Content-Length: 1000\r\n\r\n", b"a")) == [408]


def test_chunks_that_drip_are_a_408_when_their_time_is_over(serve: Serve) -> None:
    site = serve(Plain, http_body_timeout=0.3)
    assert statuses(site.drip(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n")) == [408]


def test_a_slow_body_holds_no_worker(serve_gate: Serve, background: Callable[..., Any]) -> None:
    site = serve_gate(max_workers=1, http_body_timeout=30)
    with socket.create_connection(site.address, 5) as slow:
        slow.sendall(POST + b"Content-Length: 1000\r\n\r\nabc")
        assert site.get("/ok").status == 200


def test_a_connection_that_idles_is_closed(serve: Serve) -> None:
    site = serve(Plain, http_keep_alive=0.2)
    assert statuses(site.raw(GET)) == [200]


def test_no_connection_is_kept_when_none_may_be(serve: Serve) -> None:
    answer = serve(Plain, http_keep_alive=0).raw(GET + GET)
    assert statuses(answer) == [200]
    assert b"Connection: close\r\n" in answer


def test_a_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    assert serve(Plain, http_header_timeout=0.2).raw(b"") == b""


@pytest.mark.parametrize("part", [b"GET /o", POST + b"Content-Length: 10\r\n\r\nabc", GET])
def test_a_client_that_goes_away_early_is_no_event(serve: Serve, part: bytes, caplog: pytest.LogCaptureFixture) -> None:
    site = serve(Plain)
    site.raw(part, end=True)
    assert site.get("/ok").status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_client_that_goes_away_while_its_method_runs_is_no_event(
    serve_gate: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    site = serve_gate()
    sock = socket.create_connection(site.address, 5)
    sock.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Gate.entered.wait(5)
    # With a reset, so that the answer meets an error.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()
    Gate.opened.set()
    assert site.get("/ok").status == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("path", [b"/big", b"/endless"])
def test_a_client_that_does_not_take_its_answer_is_cut_off(serve: Serve, path: bytes) -> None:
    site = serve(Plain, http_body_timeout=0.3, max_workers=1)
    with socket.create_connection(site.address, 5) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        # It reads nothing; the only worker is free again soon after.
        assert site.get("/ok").status == 200
        assert site.server._all_closed.wait(5)


def test_a_client_that_does_not_take_a_whole_answer_holds_no_worker(serve: Serve) -> None:
    site = serve(Plain, http_body_timeout=30, max_workers=1)
    with socket.create_connection(site.address, 5) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert site.get("/ok").status == 200


def test_an_endless_answer_leaves_others_their_turn(serve: Serve, background: Callable[..., Any]) -> None:
    site = serve(Plain)
    with socket.create_connection(site.address, 5) as sock:

        def swallow() -> None:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            with suppress(ConnectionResetError):
                while sock.recv(1_000_000):
                    continue

        swallowing = background(swallow)
        assert site.get("/ok").text == "ok"
        sock.shutdown(socket.SHUT_RDWR)
        swallowing.result()


def test_a_client_that_never_waits_leaves_others_their_turn(serve: Serve, background: Callable[..., Any]) -> None:
    site = serve(Plain)
    with socket.create_connection(site.address, 5) as sock:
        stopped = []

        def hurry() -> None:
            while not stopped:
                sock.sendall(GET * 10)
                sock.recv(1_000_000)

        hurrying = background(hurry)
        assert [site.get("/ok").text for _ in range(5)] == ["ok"] * 5
        stopped.append(True)
        hurrying.result()


def test_a_long_answer_arrives_whole(plain: Any) -> None:
    assert plain.get("/big").body == b"x" * 30_000_000


def test_a_request_waits_for_a_worker(serve_gate: Serve) -> None:
    site = serve_gate(max_workers=1)
    first = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    second = site.request_later("GET", "/ok")
    Gate.opened.set()
    assert (first.result().text, second.result().text) == ("waited", "ok")


def test_a_request_that_gets_no_worker_in_time_is_a_503_that_may_come_again(serve_gate: Serve) -> None:
    site = serve_gate(max_workers=1, http_queue_timeout=0.1)
    first = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    reply = site.get("/ok")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    Gate.opened.set()
    assert first.result().text == "waited"


def test_a_connection_too_many_is_a_503(serve_gate: Serve) -> None:
    site = serve_gate(http_max_connections=1)
    first = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    reply = site.get("/ok")
    assert (reply.status, reply.headers["Retry-After"], reply.headers["Connection"]) == (503, "1", "close")
    Gate.opened.set()
    assert first.result().text == "waited"


def test_health_is_answered_when_all_connections_and_workers_are_taken(serve_gate: Serve) -> None:
    site = serve_gate(http_max_connections=1, max_workers=1)
    first = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    assert site.get("/health").status == 200
    Gate.opened.set()
    assert first.result().text == "waited"


def test_health_is_answered_when_others_too_many_say_nothing(serve_gate: Serve) -> None:
    site = serve_gate(http_max_connections=1)
    first = site.request_later("GET", "/wait")
    assert Gate.entered.wait(5)
    silent = [socket.create_connection(site.address, 5) for _ in range(120)]
    assert site.get("/health").status == 200
    Gate.opened.set()
    assert first.result().text == "waited"
    for sock in silent:
        sock.close()


@pytest.fixture
def keep(background: Callable[..., Any]) -> Callable[[Any], socket.socket]:
    """Open a connection, use it once, and keep it."""

    def use(address: tuple[str, int]) -> socket.socket:
        sock = socket.create_connection(address, 5)
        sock.sendall(GET)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")
        return sock

    return lambda site: background(use, site.address).result()


def test_a_connection_that_has_idled_makes_room_for_a_new_one(
    serve: Serve, keep: Callable[[Any], socket.socket], background: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.web.server.RESTED", 0)
    site = serve(Plain, http_max_connections=1)
    with keep(site) as kept:
        assert site.get("/ok").status == 200
        assert background(kept.recv, 100).result() == b""


def test_a_connection_in_use_makes_no_room(
    serve: Serve, keep: Callable[[Any], socket.socket], background: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpcservice.web.server.RESTED", 60)
    site = serve(Plain, http_max_connections=1)
    with keep(site) as kept:
        assert site.get("/ok").status == 503
        kept.sendall(LAST)
        assert background(kept.recv, 1000).result().startswith(b"HTTP/1.1 200")


def test_access_is_logged_on_demand(plain: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "rpcservice.web.access"):
        plain.get("/ok")
    assert '"GET /ok" 200 plain.ok.' in caplog.text
