"""Who may open a websocket, and how the request has to look (RFC 6455 section 4)."""

from collections.abc import Callable
from typing import Any

import pytest
from raw_websocket import RawWebSocket
from werkzeug.exceptions import BadRequest, Forbidden

from rpcservice import websocket_rpc
from rpcservice.testing import VirtualSocket
from rpcservice.testing.websocket import HandshakeRefused
from rpcservice.web.parser import Head, parse_head
from rpcservice.web.websocket_handshake import UpgradeRequired, accept, check_handshake, check_origin

Serve = Callable[..., Any]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = {
    "Host": "shop.example",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Plain:
    name = "plain"

    @websocket_rpc
    def say(self, socket_id: str, text: str) -> str:
        return text


def head(request_line: str = "GET /ws HTTP/1.1", **changes: str | None) -> Head:
    fields = {**FIELDS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return parse_head("\r\n".join([request_line, *lines]).encode())


def test_the_answer_is_the_one_of_the_standard() -> None:
    """The example of RFC 6455 section 1.3."""
    assert dict(accept(head(), None).fields)["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_what_browsers_send_opens_a_websocket() -> None:
    check_handshake(head())


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(head("GET /ws HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(head("HEAD /ws HTTP/1.1"), id="HEAD"),
        pytest.param(head(Upgrade=None), id="no upgrade"),
        pytest.param(head(Upgrade="h2c"), id="another protocol"),
        pytest.param(head(Connection="keep-alive"), id="not for this connection"),
        pytest.param(head(Sec_WebSocket_Version="8"), id="another version"),
        pytest.param(head(Sec_WebSocket_Version=None), id="no version"),
    ],
)
def test_other_requests_are_told_what_to_ask_for(request_head: Head) -> None:
    with pytest.raises(UpgradeRequired) as caught:
        check_handshake(request_head)
    headers = caught.value.get_response().headers
    assert (headers["Upgrade"], headers["Sec-WebSocket-Version"]) == ("websocket", "13")


@pytest.mark.parametrize("key", [None, "", "short", "dGhlIHNhbXBsZSBub25jZQ", "!" * 24, "dGhlIHNhbXBsZSBub25jZQ==="])
def test_a_key_that_is_none_is_refused(key: str | None) -> None:
    with pytest.raises(BadRequest, match="Sec-WebSocket-Key"):
        check_handshake(head(Sec_WebSocket_Key=key))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("shop.example", None),
        ("shop.example", "http://shop.example"),
        ("shop.example", "https://shop.example"),
        ("SHOP.example", "https://shop.EXAMPLE"),
        ("shop.example:8000", "http://shop.example:8000"),
        ("shop.example:443", "https://shop.example"),
        ("shop.example", "http://shop.example:80"),
        ("[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_pages_of_the_same_host_may(host: str, origin: str | None) -> None:
    """Also behind a proxy that ends TLS, as long as it passes the host on; and programs, which have no origin."""
    check_origin(head(Host=host, Origin=origin), ())


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("shop.example", "https://evil.example"),
        ("shop.example", "https://shop.example.evil.example"),
        ("shop.example", "https://evil-shop.example"),
        ("shop.example", "http://shop.example:8000"),
        ("shop.example:8000", "http://shop.example"),
        ("shop.example", "null"),
        ("shop.example", ""),
        ("shop.example", "https://"),
        ("shop.example", "https://shop.example:port"),
        ("shop.example", "https://user@evil.example/shop.example"),
        ("", "https://"),
    ],
)
def test_other_pages_may_not(host: str, origin: str) -> None:
    with pytest.raises(Forbidden, match="websocket_origins"):
        check_origin(head(Host=host, Origin=origin), ("https://friend.example",))


@pytest.mark.parametrize(
    "allowed", ["https://friend.example", "https://friend.example/", "HTTPS://Friend.example", "*"]
)
def test_pages_that_are_listed_may(allowed: str) -> None:
    check_origin(head(Origin="https://friend.example"), ("https://other.example", allowed))


def test_a_page_without_an_origin_of_its_own_can_be_listed() -> None:
    check_origin(head(Origin="null"), ("null",))


def test_a_foreign_page_is_refused_by_the_server(serve: Serve) -> None:
    site = serve(Plain)
    with pytest.raises(HandshakeRefused) as caught:
        VirtualSocket(*site.address, headers={"Origin": "https://evil.example"}).connect()
    assert caught.value.status == 403


def test_a_foreign_page_is_a_warning_that_names_the_setting(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """It may be a page of one's own, on another host."""
    site = serve(Plain)
    with pytest.raises(HandshakeRefused):
        VirtualSocket(*site.address, headers={"Origin": "https://admin.example"}).connect()
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "https://admin.example" in record.getMessage()
    assert "websocket_origins" in record.getMessage()


def test_a_websocket_lasts_where_connections_are_not_kept(serve: Serve) -> None:
    with VirtualSocket(*serve(Plain, http_keep_alive=0).address) as socket:
        assert [socket.rpc("say", text="again") for _ in range(2)] == ["again", "again"]


def test_a_page_of_the_server_is_let_in(serve: Serve) -> None:
    site = serve(Plain)
    with VirtualSocket(*site.address, headers={"Origin": site.server.url}) as socket:
        assert socket.rpc("say", text="hello") == "hello"


def test_a_browser_that_opens_the_url_is_told(serve: Serve) -> None:
    reply = serve(Plain).get("/ws")
    assert (reply.status, reply.headers["Upgrade"]) == (426, "websocket")


def test_the_first_request_may_come_with_the_handshake(serve: Serve, background: Callable[..., Any]) -> None:
    """Bytes that follow the head at once belong to the websocket."""
    site = serve(Plain)
    opening = "".join(f"{name}: {value}\r\n" for name, value in FIELDS.items())
    text = b'{"method": "say", "data": {"text": "at once"}}'
    frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text + bytes([0x88, 0x80, 0, 0, 0, 0])
    answer = site.raw(f"GET /ws HTTP/1.1\r\n{opening}\r\n".encode() + frame)
    assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b'"connected"' in answer


def test_a_handshake_can_be_the_second_request_of_a_connection(serve: Serve) -> None:
    opening = "".join(f"{name}: {value}\r\n" for name, value in FIELDS.items())
    close = bytes([0x88, 0x80, 0, 0, 0, 0])
    answer = serve(Plain).raw(
        b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + f"GET /ws HTTP/1.1\r\n{opening}\r\n".encode() + close
    )
    assert b"HTTP/1.1 200 OK" in answer
    assert b"HTTP/1.1 101 Switching Protocols" in answer


@pytest.mark.parametrize(("is_on", "extensions"), [(True, 1), (False, 0)])
def test_compression_is_a_setting(serve: Serve, background: Callable[..., Any], is_on: bool, extensions: int) -> None:
    site = serve(Plain, websocket_compression=is_on)
    assert len(background(RawWebSocket, site.address, deflate=True).result().extensions) == extensions
