"""WebRequest: werkzeug's Request, made of a parsed head when it is looked at."""

import copy
from typing import Any

import pytest

from rpcservice.web.parser import parse_head
from rpcservice.web.request import WebRequest


def make(head: bytes = b"GET / HTTP/1.1\r\nHost: shop.example", body: bytes = b"", **options: Any) -> WebRequest:
    return WebRequest(parse_head(head), {"word": "x"}, body, **options)


def test_it_is_a_werkzeug_request() -> None:
    request = make(b"GET /a%C3%BC?b=1&b=2 HTTP/1.1\r\nHost: shop.example:81\r\nAccept: text/html")
    assert (request.method, request.path, request.args.getlist("b")) == ("GET", "/aü", ["1", "2"])
    assert (request.url, request.host) == ("http://shop.example:81/aü?b=1&b=2", "shop.example:81")
    assert request.accept_mimetypes.best == "text/html"


def test_it_builds_its_environment_only_on_demand() -> None:
    request = make()
    assert request.path_values == {"word": "x"}
    assert "environ" not in vars(request)
    assert request.headers["Host"] == "shop.example"
    assert "environ" in vars(request)


def test_it_knows_both_ends() -> None:
    request = make(peer=("192.0.2.7", 4711), local=("192.0.2.1", 80))
    assert (request.remote_addr, request.environ["REMOTE_PORT"]) == ("192.0.2.7", "4711")
    assert request.server == ("192.0.2.1", 80)


def test_its_body_can_be_read_in_every_way() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7"
    assert make(head, b'{"a":1}').get_json() == {"a": 1}
    assert make(head, b'{"a":1}').data == b'{"a":1}'
    assert make(head, b'{"a":1}').stream.read() == b'{"a":1}'


def test_the_length_of_a_body_that_came_in_chunks_is_known() -> None:
    request = make(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked", b"abc")
    assert (request.content_length, request.get_data()) == (3, b"abc")


def test_a_header_with_an_underscore_does_not_pass_for_another() -> None:
    assert "X-Forwarded-For" not in make(b"GET / HTTP/1.1\r\nHost: x\r\nX_Forwarded_For: 1").headers


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"WebRequest.*nonsense"):
        _ = make().nonsense


def test_a_copy_works() -> None:
    assert copy.copy(make()).method == "GET"
