"""Requests as bytes: read alike however they are cut, and never with another error than an HTTP one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException

from rpcservice.web.parser import ChunkedBody, find_head_end, parse_head

HEAD = b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nCookie: a=1\r\nX-List: 1\r\ncookie: b=2\r\nx-list:\t2 \r\n\r\n"
CHUNKS = b'3\r\nabc\r\nA;x="y"\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n'


def test_a_head_is_taken_apart() -> None:
    head = parse_head(HEAD[:-4])
    assert (head.method, head.raw_path, head.path, head.query) == ("POST", "/a%20b", "/a b", "c=d")
    assert head.headers == {"host": "x", "cookie": "a=1; b=2", "x-list": "1, 2"}


def test_a_path_that_is_no_utf8_is_read_with_a_mark() -> None:
    assert parse_head(b"GET /%ff HTTP/1.0").path == "/�"


def test_bytes_above_ascii_are_kept_in_header_values() -> None:
    assert parse_head("GET / HTTP/1.0\r\nX: ü".encode("latin-1")).headers["x"] == "ü"


def test_options_may_ask_for_the_whole_server() -> None:
    assert parse_head(b"OPTIONS * HTTP/1.1\r\nHost: x").raw_path == "*"


def test_the_host_of_a_whole_url_stands_before_the_header() -> None:
    head = parse_head(b"GET http://other:8000?x=1 HTTP/1.1\r\nHost: x")
    assert (head.headers["host"], head.raw_path, head.query) == ("other:8000", "/", "x=1")


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close", False),
        ("1.1", "Connection: Upgrade, CLOSE", False),
        ("1.1", "Connection: keep-alive", True),
        ("1.0", "", False),
        ("1.0", "Connection: Keep-Alive", True),
    ],
)
def test_a_client_says_whether_it_goes_on(version: str, connection: str, keep_alive: bool) -> None:
    head = parse_head("\r\n".join(filter(None, [f"GET / HTTP/{version}", "Host: x", connection])).encode())
    assert head.keep_alive is keep_alive


def test_the_end_of_a_head_is_found_however_it_is_cut() -> None:
    for cut in range(1, len(HEAD)):
        data = bytearray(HEAD[:cut])
        assert find_head_end(data, 0, 1000) == -1
        data += HEAD[cut:]
        assert find_head_end(data, cut, 1000) == len(HEAD) - 4


def test_a_head_of_the_allowed_length_is_taken() -> None:
    assert find_head_end(bytearray(HEAD), 0, len(HEAD) - 4) == len(HEAD) - 4
    with pytest.raises(HTTPException):
        find_head_end(bytearray(HEAD), 0, len(HEAD) - 5)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    try:
        find_head_end(bytearray(data), 0, 100)
        parse_head(data)
    except HTTPException as exc:
        assert exc.code is not None
        assert 400 <= exc.code <= 505


_token = st.text("abcXYZ09-_!", min_size=1, max_size=10)
_value = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)


@given(_token, st.dictionaries(_token.map(str.lower), _value, max_size=5))
def test_what_is_written_is_what_is_read(method: str, headers: dict[str, str]) -> None:
    for name in ("connection", "content-length", "transfer-encoding"):
        headers.pop(name, None)
    headers["host"] = "x"
    lines = [f"{method} /path HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = parse_head("\r\n".join(lines).encode())
    assert (head.method, head.headers) == (method, headers)


def test_chunks_are_put_together_however_they_are_cut() -> None:
    for cut in range(len(CHUNKS)):
        body, data = ChunkedBody(100, 100), bytearray(CHUNKS[:cut])
        assert body.feed(data) is False
        data += CHUNKS[cut:] + b"GET"
        assert body.feed(data) is True
        assert (bytes(body.body), bytes(data)) == (b"abc0123456789", b"GET")


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5))
def test_chunks_give_back_what_was_cut_into_them(parts: list[bytes]) -> None:
    data = bytearray(b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")
    body = ChunkedBody(100, 100)
    assert body.feed(data) is True
    assert bytes(body.body) == b"".join(parts)


@given(st.binary(max_size=100))
def test_whatever_comes_in_chunks_is_read_or_refused(data: bytes) -> None:
    body = ChunkedBody(50, 50)
    try:
        body.feed(bytearray(data))
    except HTTPException as exc:
        assert exc.code in (400, 413)
    assert len(body.body) <= 50


def test_a_size_line_without_an_end_is_refused() -> None:
    with pytest.raises(HTTPException):
        ChunkedBody(50, 50).feed(bytearray(b"1" * 2000))
