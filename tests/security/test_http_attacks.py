"""A running server under attack: each request is answered as it has to be, and the server goes on with the next.

What ``tests/web/test_web_connection.py`` tries on a server within the test's process is not repeated here.
"""

import json
import select
import socket
from contextlib import suppress

import pytest
from attack_target import BODY_LIMIT, HEADER_LIMIT, MOST_CONNECTIONS, Target

GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

# Requests whose end two readers could find in different places, and the one status that each is answered with. What
# stands behind such a request is never read as another one: RFC 9112 sections 2.2, 5, 6.1, 6.3 and 7.1.
SMUGGLING = {
    "chunked before a length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    "chunked and no length to speak of": (
        POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "an unknown encoding and a length": (POST + b"Content-Length: 3\r\nTransfer-Encoding: cow\r\n\r\nabc", 400),
    "lengths that differ in their case": (POST + b"Content-Length: 3\r\nCONTENT-LENGTH: 9\r\n\r\nabc", 400),
    "a length that is none and one that is": (POST + b"Content-Length: a\r\nContent-Length: 3\r\n\r\nabc", 400),
    "two numbers": (POST + b"Content-Length: 3 4\r\n\r\nabc", 400),
    "two numbers with a comma": (POST + b"Content-Length: 3,4\r\n\r\nabc", 400),
    "a decimal point": (POST + b"Content-Length: 3.0\r\n\r\nabc", 400),
    "an exponent": (POST + b"Content-Length: 3e0\r\n\r\nabc", 400),
    "an underscore": (POST + b"Content-Length: 1_0\r\n\r\nabc", 400),
    "quotes": (POST + b'Content-Length: "3"\r\n\r\nabc', 400),
    "a minus before nothing": (POST + b"Content-Length: -0\r\n\r\nabc", 400),
    "a number beyond 64 bits": (POST + b"Content-Length: 18446744073709551619\r\n\r\nabc", 400),
    "a vertical tab before the length": (POST + b"Content-Length: \x0b3\r\n\r\nabc", 400),
    "a no-break space before the length": (POST + b"Content-Length: \xa03\r\n\r\nabc", 400),
    "a zero byte after the length": (POST + b"Content-Length: 3\x00\r\n\r\nabc", 400),
    "a length in a folded line": (POST + b"Content-Length:\r\n 3\r\n\r\nabc", 400),
    "a space before the colon of the length": (POST + b"Content-Length : 3\r\n\r\nabc", 400),
    "an encoding given twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 400),
    "a space before the colon of the encoding": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "a tab before the colon of the encoding": (POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400),
    "a space before the encoding's name": (POST + b" Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an encoding in a folded line": (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
    "an encoding behind a bare LF": (POST + b"X: x\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "an encoding behind a bare CR": (POST + b"X: x\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a vertical tab before the encoding": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "a zero byte in the encoding's name": (POST + b"Transfer\x00-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a header section that ends in LF LF": (POST + b"X: x\n\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "the encoding in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    "a no-break space after the encoding": (POST + b"Transfer-Encoding: chunked\xa0\r\n\r\n0\r\n\r\n", 501),
    "identity after chunked": (POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    "identity before chunked": (POST + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 501),
    "a comma before chunked": (POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 501),
    "an encoding without a value": (POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n", 501),
    "a chunk size with a sign": (CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk size with an underscore": (CHUNKED + b"1_0\r\nabc\r\n0\r\n\r\n", 400),
    "a space before a chunk size": (CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n", 400),
    "an empty chunk size": (CHUNKED + b"\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk size beyond 64 bits": (CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk of 64 bits": (CHUNKED + b"fffffffffffffffe\r\nabc\r\n0\r\n\r\n", 413),
    "a bare LF in a chunk extension": (CHUNKED + b"3;a\nb\r\nabc\r\n0\r\n\r\n", 400),
    "a bare CR in a chunk extension": (CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n", 400),
    "a zero byte in a chunk extension": (CHUNKED + b"3;a\x00b\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk without its line end": (CHUNKED + b"3\r\nabc0\r\n\r\n", 400),
    "a chunk whose line ends in LF": (CHUNKED + b"3\r\nabc\n0\r\n\r\n", 400),
    "a chunk whose line ends in CR CR": (CHUNKED + b"3\r\nabc\r\r0\r\n\r\n", 400),
    "trailers behind a bare LF": (CHUNKED + b"0\r\nX: x\n\n" + SMUGGLED, 400),
    "a trailer without a colon": (CHUNKED + b"0\r\nsmuggled\r\n\r\n", 400),
    "a folded trailer": (CHUNKED + b"0\r\nX: x\r\n y\r\n\r\n", 400),
    "a zero byte in a trailer": (CHUNKED + b"0\r\nX: x\x00\r\n\r\n", 400),
}

# Request lines, hosts and targets that are none.
NO_REQUEST = {
    "a zero byte in the method": (b"G\x00ET /ok HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a tab for a space": (b"GET\t/ok HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space after the version": (b"GET /ok HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "a version in small letters": (b"GET /ok http/1.1\r\nHost: x\r\n\r\n", 400),
    "a version of three parts": (b"GET /ok HTTP/1.1.1\r\nHost: x\r\n\r\n", 400),
    "a version with a zero before": (b"GET /ok HTTP/01.1\r\nHost: x\r\n\r\n", 400),
    "a zero byte in the target": (b"GET /ok\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in the target": (b"GET /o k HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment in the target": (b"GET /ok#/smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no target": (b"GET HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "the server for another method than OPTIONS": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "an authority for a target": (b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a tunnel": (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 400),
    "a URL of another scheme": (b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a URL without a host": (b"GET http:///ok HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a URL with a user": (b"GET http://me:secret@x/ok HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a URL and no Host header": (b"GET http://x/ok HTTP/1.1\r\n\r\n", 400),
    "a URL and two Host headers": (b"GET http://x/ok HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a list of hosts": (GET.replace(b"Host: x", b"Host: x, y") + b"\r\n", 400),
    "a host with a space": (GET.replace(b"Host: x", b"Host: x y") + b"\r\n", 400),
    "a host with a path": (GET.replace(b"Host: x", b"Host: x/y") + b"\r\n", 400),
    "a host with a query": (GET.replace(b"Host: x", b"Host: x?y") + b"\r\n", 400),
    "a host with a user": (GET.replace(b"Host: x", b"Host: me@x") + b"\r\n", 400),
    "a host with a port that is no number": (GET.replace(b"Host: x", b"Host: x:y") + b"\r\n", 400),
    "a host with half an address": (GET.replace(b"Host: x", b"Host: [::1") + b"\r\n", 400),
    "a host with a backslash": (GET.replace(b"Host: x", b"Host: x\\y") + b"\r\n", 400),
    "a host with markup": (GET.replace(b"Host: x", b"Host: <x>") + b"\r\n", 400),
    "HTTP/0.9 without a version": (b"GET /ok\r\n\r\n", 400),
    "HTTP/0.9 with one": (b"GET /ok HTTP/0.9\r\n\r\n", 505),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
    "HTTP/3": (b"GET /ok HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    "a long URL": (b"GET /" + b"a" * HEADER_LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a URL without an end": (b"GET /" + b"a" * 100_000, 414),
    "a long header": (GET + b"X: " + b"a" * HEADER_LIMIT + b"\r\n\r\n", 413),
    "a long name of a header": (GET + b"X" * HEADER_LIMIT + b": a\r\n\r\n", 413),
    "many headers": (GET + b"".join(b"X-%d: a\r\n" % n for n in range(2000)) + b"\r\n", 413),
    "many headers of one name": (GET + b"X: a\r\n" * 2000 + b"\r\n", 413),
    "a long body": (POST + b"Content-Length: %d\r\n\r\n" % (BODY_LIMIT + 1), 413),
    "a long body of small chunks": (CHUNKED + b"1\r\na\r\n" * (BODY_LIMIT + 1) + b"0\r\n\r\n", 413),
    "a small body of long extensions": (CHUNKED + b"1;" + b"x" * 5000 + b"\r\na\r\n0\r\n\r\n", 400),
    "many trailers": (CHUNKED + b"0\r\n" + b"X: a\r\n" * 2000 + b"\r\n", 413),
    "a body that nobody waits for": (POST.replace(b"/echo", b"/nowhere") + b"Content-Length: 3\r\n\r\nabc", 404),
    "a method that nobody has, with a body": (POST.replace(b"POST", b"BREW") + b"Content-Length: 3\r\n\r\nabc", 405),
}

REFUSED = {**SMUGGLING, **NO_REQUEST}

# Unusual, and allowed: each is answered with this status, and the connection goes on with the next request.
ALLOWED = {
    "a length with space around it": (POST + b"Content-Length: \t3 \r\n\r\nabc", 200),
    "a length with zeros before it": (POST + b"Content-Length: 003\r\n\r\nabc", 200),
    "chunked in capitals": (POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200),
    "a chunk extension with quotes": (CHUNKED + b'3;a="b;c"\r\nabc\r\n0\r\n\r\n', 200),
    "a chunk size with zeros before it": (CHUNKED + b"0000000000000003\r\nabc\r\n000\r\n\r\n", 200),
    "a trailer that would change the framing": (CHUNKED + b"0\r\nContent-Length: 9\r\nHost: y\r\n\r\n", 200),
    "a body with GET": (GET + b"Content-Length: 3\r\n\r\nabc", 200),
    "a body that is another request": (POST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED, 200),
    "a header that looks like the encoding": (
        POST + b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        200,
    ),
    "a header with bytes above ASCII": (GET + b"X: \xff\xfe\r\n\r\n", 200),
    "an empty host": (GET.replace(b"Host: x", b"Host:") + b"\r\n", 200),
    "a host with an address and a port": (GET.replace(b"Host: x", b"Host: [::1]:8000") + b"\r\n", 200),
    "a host with an underscore": (GET.replace(b"Host: x", b"Host: my_service.default:80") + b"\r\n", 200),
    "a whole URL": (GET.replace(b"/ok", b"http://y/ok") + b"\r\n", 200),
    "a newer minor version": (GET.replace(b"HTTP/1.1", b"HTTP/1.9") + b"\r\n", 200),
    "an upgrade to HTTP/2": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        200,
    ),
    "an expectation that nobody knows": (GET + b"Expect: a-miracle\r\n\r\n", 200),
    "an expectation without a body": (GET + b"Expect: 100-continue\r\n\r\n", 200),
    "the method TRACE": (GET.replace(b"GET", b"TRACE") + b"Cookie: secret\r\n\r\n", 405),
    "the method CONNECT on a path": (GET.replace(b"GET", b"CONNECT") + b"\r\n", 405),
    "the method OPTIONS": (GET.replace(b"GET", b"OPTIONS") + b"\r\n", 405),
    "options of the whole server": (GET.replace(b"GET /ok", b"OPTIONS *") + b"\r\n", 404),
    "a method in small letters": (GET.replace(b"GET", b"get") + b"\r\n", 501),
    "a method with one small letter": (GET.replace(b"GET", b"GEt") + b"\r\n", 501),
    "a method of a hundred letters": (GET.replace(b"GET", b"G" * 100) + b"\r\n", 405),
    "a path that nobody has": (GET.replace(b"/ok", b"/nowhere") + b"\r\n", 404),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_request_is_refused_and_its_connection_closed(target: Target, data: bytes, status: int) -> None:
    answers = target.send(data + SMUGGLED)
    assert (answers.statuses, answers.is_closed) == ([status], True)
    assert b"\r\nConnection: close\r\n" in answers.data
    assert target.is_well()


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_behind_a_good_request_too(target: Target, data: bytes, status: int) -> None:
    answers = target.send(GET + b"\r\n" + data + SMUGGLED)
    assert (answers.statuses, answers.is_closed) == ([200, status], True)
    assert target.is_well()


@pytest.mark.parametrize(("data", "status"), ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_only_unusual_is_answered_and_its_connection_goes_on(target: Target, data: bytes, status: int) -> None:
    answers = target.send(data + LAST)
    assert (answers.statuses, answers.is_closed) == ([status, 200], True)
    assert target.is_well()


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_however_it_is_cut_it_is_read_alike(target: Target, cut: int) -> None:
    data = CHUNKED + b"3;x=y\r\nabc\r\n0\r\nX: y\r\n\r\n" + LAST
    pieces = [data[start : start + cut] for start in range(0, len(data), cut)]
    assert target.send(*pieces).statuses == [200, 200]


def test_a_header_with_an_underscore_is_not_the_one_with_a_hyphen(target: Target) -> None:
    environ = json.loads(target.get("/environ", "X_User: admin", "X-Forwarded_For: 1", "X-User: me").body())
    assert environ["HTTP_X_USER"] == "me"
    assert "HTTP_X_FORWARDED_FOR" not in environ


def test_the_header_proxy_does_not_become_a_proxy_of_the_process(target: Target) -> None:
    """``HTTP_PROXY`` is set in the request's environment only (httpoxy)."""
    assert target.get("/environ", "Proxy: http://evil.example").statuses == [200]
    assert target.is_well()


# Versions and methods


@pytest.mark.parametrize("path", ["/ok", "/nowhere", "/folder"])
def test_an_answer_to_head_has_no_body(target: Target, path: str) -> None:
    head = f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answers = target.send(head + LAST)
    first, _, second = answers.data.partition(b"\r\n\r\n")
    assert b"Content-Length" in first
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_http_10_client_needs_no_host_and_is_closed(target: Target) -> None:
    answers = target.send(b"GET /ok HTTP/1.0\r\n\r\n" + SMUGGLED)
    assert (answers.statuses, answers.is_closed) == ([200], True)


def test_an_http_10_client_that_names_keep_alive_is_kept_until_it_does_not(target: Target) -> None:
    kept = b"GET /ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    answers = target.send(kept + b"GET /ok HTTP/1.0\r\n\r\n" + SMUGGLED)
    assert (answers.statuses, answers.is_closed) == ([200, 200], True)


def test_close_wins_over_keep_alive(target: Target) -> None:
    answers = target.send(GET + b"Connection: keep-alive, close\r\n\r\n" + SMUGGLED)
    assert (answers.statuses, answers.is_closed) == ([200], True)


# 100 Continue


def test_a_client_of_http_10_is_not_told_to_continue(target: Target) -> None:
    data = b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    assert target.send(data, b"abc").statuses == [200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (POST.replace(b"/echo", b"/nowhere") + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n", 404),
        (POST + b"Content-Length: 99999\r\nExpect: 100-continue\r\n\r\n", 413),
        (POST + b"Content-Length: x\r\nExpect: 100-continue\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\nExpect: 100-continue\r\n\r\n", 501),
    ],
)
def test_a_body_that_is_refused_is_not_asked_for(target: Target, data: bytes, status: int) -> None:
    answers = target.send(data)
    assert (answers.statuses, answers.is_closed) == ([status], True)


@pytest.mark.parametrize("field", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_asked_for_and_does_not_come_is_a_408(target: Target, field: bytes) -> None:
    answers = target.send(POST + field + b"\r\nExpect: 100-Continue\r\n\r\n")
    assert (answers.statuses, answers.is_closed) == ([100, 408], True)
    assert target.is_well()


# Paths

PATHS = {
    "/files/../secret": "../secret",
    "/files/%2e%2e/secret": "../secret",
    "/files/%2e%2e%2fsecret": "../secret",
    "/files/..%5csecret": "..\\secret",
    "/files/a%00b": "a\0b",
    "/files/%c0%ae%c0%ae/secret": "\ufffd\ufffd\ufffd\ufffd/secret",
    "/files/%252e%252e/secret": "%2e%2e/secret",
    "/files/%zz": "%zz",
    "/files/a;b=c": "a;b=c",
}


@pytest.mark.parametrize(("path", "name"), PATHS.items())
def test_a_path_is_decoded_once_and_nothing_is_resolved(target: Target, path: str, name: str) -> None:
    """What the client wrote is what the method gets: to make a file's name of it is the method's to guard."""
    answers = target.get(path)
    assert answers.statuses == [200]
    assert json.loads(answers.body()) == {"name": name}


@pytest.mark.parametrize(
    "path",
    [
        "/x/../secret",
        "/x/%2e%2e/secret",
        "/./secret",
        "/secret%00",
        "/secret%00.html",
        "/secret;x=1",
        "/secret%20",
        "/secret/",
        "/Secret",
        "//secret",
        "///secret",
        "/%2fsecret",
        "/%c0%af/secret",
        "/files/%0d%0aX-Evil:1",
        "/%ef%bc%8fsecret",
        "/secret%23",
        "/secret%3f",
        "/items/../secret",
        "/items/a%2fb",
        "/items/%2e%2e%2fsecret",
    ],
)
def test_no_other_spelling_of_a_path_reaches_its_method(target: Target, path: str) -> None:
    assert target.get(path).statuses == [404]


@pytest.mark.parametrize(
    "path",
    [
        "/folder",
        "/folder//",
        "/files//evil.example",
        "/items//evil.example",
        "//evil.example/..",
        "/files//%0d%0aX-Evil:1",
    ],
)
def test_a_redirect_leads_to_the_same_host_and_injects_nothing(target: Target, path: str) -> None:
    answers = target.get(path)
    locations = [field for field in answers.fields() if field.lower().startswith(b"location:")]
    assert answers.statuses[0] in (308, 404)
    assert all(location.lower().startswith(b"location: http://x/") for location in locations)
    assert not any(location[len(b"location: http://x") :].startswith(b"//") for location in locations)
    assert not any(field.startswith(b"X-Evil") for field in answers.fields())


# Answers

EVIL = [
    "a%0d%0aX-Evil:%201",
    "a%0aX-Evil:%201",
    "a%0dX-Evil:%201",
    "a%0d%0a%0d%0aHTTP/1.1%20200%20OK%0d%0aX-Evil:%201%0d%0a%0d%0aevil",
    "a%00b",
    "%e5%98%8d%e5%98%8aX-Evil:%201",
    "a%0d%0a%20X-Evil:%201",
]
PLACES = [
    "header",
    "name",
    "pairs",
    "content-type",
    "status",
    "status-of-response",
    "header-of-response",
    "type-of-response",
    "redirect",
    "cookie",
    "framing",
]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("place", PLACES)
def test_a_method_cannot_be_made_to_split_its_answer(target: Target, place: str, value: str) -> None:
    """What breaks out of a header is a 500, unless it can be sent so that it does no harm."""
    answers = target.send(f"GET /answer/{place}?value={value} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + LAST)
    (head, _), (_, body) = answers.whole()
    assert body == b"ok"
    lines = head.split(b"\r\n")
    assert not [line for line in lines if line.startswith(b"X-Evil")]
    assert not [line for line in lines if b"\n" in line or b"\r" in line or b"\0" in line]
    assert target.is_well()


@pytest.mark.parametrize("number", [100, 101, 102, 103, 199, 0, 99, 600, 1000])
def test_a_response_with_a_status_that_is_no_final_one_is_a_500(target: Target, number: int) -> None:
    """The client would take what follows for the answer, and the next one for another request's."""
    answers = target.send(f"GET /answer/number?value={number} HTTP/1.1\r\nHost: x\r\n\r\n".encode() + LAST)
    assert answers.statuses == [500, 200]


def test_an_error_page_does_not_echo_markup(target: Target) -> None:
    answers = target.get("/files/<script>alert(1)</script>", "Accept: text/html")
    assert b"<script>" not in target.get("/<script>", "Accept: text/html").data
    assert b"Content-Type: application/json" in answers.data


# Slow and many


def test_slow_clients_hold_up_nobody_and_are_cut_off(target: Target) -> None:
    """Half of the connections send a byte now and then: others are answered meanwhile, the slow are not kept."""
    heads = {
        "header": GET + b"X: ",
        "request line": b"GET /o",
        "body": POST + b"Content-Length: 900\r\n\r\n",
        "chunk size": CHUNKED,
        "trailer": CHUNKED + b"0\r\nX: ",
        "nothing": b"",
    }
    slow = [target.connect() for _ in range(MOST_CONNECTIONS // 2)]
    begins = [head for _ in slow for head in heads.values()]
    for sock, begin in zip(slow, begins, strict=False):
        sock.sendall(begin)
    rounds = 0
    waiting = dict(enumerate(slow))
    while waiting:
        rounds += 1
        assert rounds < 100, "a slow client is kept"
        assert target.get("/ok").body() == b"ok"
        readable, _, _ = select.select(list(waiting.values()), [], [], 0.1)
        for number, sock in list(waiting.items()):
            if sock in readable:
                del waiting[number]
                begin = begins[number]
                assert target.read(sock).statuses == ([408] if begin else [])
            elif begins[number]:
                with suppress(ConnectionError):  # it may be cut off in this moment
                    sock.sendall(b"0")
    for sock in slow:
        sock.close()
    assert target.is_well()


def test_a_flood_of_connections_is_answered_with_503_and_passes(target: Target) -> None:
    flood = [target.connect() for _ in range(MOST_CONNECTIONS * 4)]
    assert target.get("/health").statuses == [200]
    refused = target.get("/ok")
    assert (refused.statuses, refused.is_closed) == ([503], True)
    assert any(field.startswith(b"Retry-After:") for field in refused.fields())
    ended = [target.read(sock) for sock in flood]
    assert all(answers.is_closed and answers.data == b"" for answers in ended)
    for sock in flood:
        sock.close()
    assert target.is_well()


def test_a_client_that_pipelines_without_reading_is_bounded(target: Target) -> None:
    """The server stops reading when its answers are not taken, and ends the connection after the time-out."""
    with target.connect() as sock:
        sock.settimeout(5)
        sent = 0
        with pytest.raises((TimeoutError, ConnectionError)):
            for _ in range(100):
                sock.sendall((GET + b"\r\n") * 20_000)
                sent += 1
        assert sent < 100
    assert target.is_well()


def test_half_closed_clients_get_their_answer(target: Target) -> None:
    answers = target.send(GET + b"\r\n", end=True)
    assert (answers.statuses, answers.is_closed) == ([200], True)


def test_a_client_that_resets_again_and_again_leaves_nothing_behind(target: Target) -> None:
    for data in (b"", b"GET /o", POST + b"Content-Length: 900\r\n\r\nabc", GET + b"\r\n") * 20:
        with target.connect() as sock:
            sock.sendall(data)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert target.is_well()


# Websockets

KEY = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + KEY
MASK = b"\x00\x00\x00\x00"

# Frames, and the code that each makes the server close with. RFC 6455 sections 5.1 to 5.5 and 7.4.
FRAMES = {
    "not masked": (b"\x81\x02hi", 1002),
    "a length of 63 bits": (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + MASK + b"a" * 1001, 1009),
    "a length of 64 bits": (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" + MASK, 1002),
    "a length that is longer than it needs to be": (b"\x81\xfe\x00\x01" + MASK + b"a", 1002),
    "more than the limit": (b"\x81\xfe\x03\xe9" + MASK + b"a" * 1001, 1009),
    "more than the limit in fragments": (
        (b"\x01\xfe\x01\xf5" + MASK + b"a" * 501) + (b"\x00\xfe\x01\xf5" + MASK + b"a" * 501),
        1009,
    ),
    "a second beginning": ((b"\x01\x81" + MASK + b"a") * 2, 1002),
    "an end without a beginning": (b"\x80\x81" + MASK + b"a", 1002),
    "a ping in fragments": (b"\x09\x81" + MASK + b"a", 1002),
    "a long ping": (b"\x89\xfe\x00\x7e" + MASK + b"a" * 126, 1002),
    "a close in fragments": (b"\x08\x82" + MASK + b"\x03\xe8", 1002),
    "a close with half a code": (b"\x88\x81" + MASK + b"\x03", 1002),
    "a close with a code that is never sent": (b"\x88\x82" + MASK + b"\x03\xee", 1002),
    "a close with a reason that is no text": (b"\x88\x84" + MASK + b"\x03\xe8\xff\xfe", 1007),
    "a reserved bit": (b"\xa1\x81" + MASK + b"a", 1002),
    "compressed though that was not agreed": (b"\xc1\x81" + MASK + b"a", 1002),
    "a reserved opcode": (b"\x83\x81" + MASK + b"a", 1002),
    "a reserved opcode of control": (b"\x8b\x81" + MASK + b"a", 1002),
    "text that is no UTF-8": (b"\x81\x82" + MASK + b"\xc0\xae", 1007),
    "bytes": (b"\x82\x81" + MASK + b"a", 1003),
    "another request": (SMUGGLED, 1002),
}


@pytest.mark.parametrize(("frame", "code"), FRAMES.values(), ids=FRAMES.keys())
def test_frames_that_break_the_protocol_close_the_websocket(target: Target, frame: bytes, code: int) -> None:
    answers = target.send(UPGRADE + b"\r\n" + frame, end=True)
    assert (answers.statuses, answers.is_closed) == ([101], True)
    kind, payload = answers.frames()[-1]
    assert (kind, int.from_bytes(payload[:2], "big")) == (0x88, code)
    assert target.is_well()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (UPGRADE.replace(b"Version: 13", b"Version: 12"), 426),
        (UPGRADE.replace(b"GET", b"POST"), 405),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), 426),
        (UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        (UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400),
        (UPGRADE + b"Origin: http://evil.example\r\n", 403),
        (UPGRADE + b"Origin: null\r\n", 403),
    ],
)
def test_what_only_resembles_a_handshake_opens_no_websocket(target: Target, data: bytes, status: int) -> None:
    answers = target.send(data + b"\r\n", end=True)
    assert answers.statuses == [status]
    assert target.is_well()
