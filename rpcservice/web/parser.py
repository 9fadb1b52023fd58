"""HTTP/1.1 requests as bytes (RFC 9112), read strictly: what two readers could take differently is refused."""

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    RequestEntityTooLarge,
    RequestURITooLarge,
)

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# A target with a fragment is none, and may be taken to end before it.
_REQUEST_LINE = re.compile(rf"({_TOKEN}++) ([\x21\x22\x24-\x7e]++) HTTP/(\d)\.(\d)")
_FIELD_LINES = re.compile(rf"(?:\r\n{_TOKEN}++:[^\x00-\x08\x0a-\x1f\x7f]*+)*+")
_TRAILERS = re.compile(_FIELD_LINES.pattern.encode())
_HOST = re.compile(r"(?:[0-9A-Za-z._~%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_LONE_NEWLINE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_CANNOT_BEGIN = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z\r-]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_SINGLE = frozenset(("host", "content-length", "transfer-encoding", "content-type", "authorization"))
_MAX_CHUNK_LINE = 1024
_MAX_HOST = 300


class VersionNotSupported(HTTPException):
    """Answers a request in another major version of HTTP."""

    code = 505
    description = "This server speaks HTTP/1.1 and HTTP/1.0."


class UnknownEncoding(HTTPException):
    """Answers a body in a transfer encoding other than chunked."""

    code = 501
    description = "The only transfer encoding known here is chunked."


class Head:
    """The request line and the header of one request.

    Attributes:
        method: The method, as it was sent.
        raw_path: The path as it was sent, percent-encoded.
        query: What followed the question mark.
        is_http_11: False for HTTP/1.0.
        headers: Names in lower case; the values of a repeated field are joined.
        content_length: How many bytes of body follow; None when the body comes in chunks.
        keep_alive: Whether the client would send another request on this connection.
    """

    __slots__ = ("content_length", "headers", "is_http_11", "keep_alive", "method", "query", "raw_path")

    def __init__(self, method: str, raw_path: str, query: str, is_http_11: bool, headers: dict[str, str]) -> None:
        self.method = method
        self.raw_path = raw_path
        self.query = query
        self.is_http_11 = is_http_11
        self.headers = headers
        self.content_length = _content_length(headers, is_http_11)
        connection = headers.get("connection")
        self.keep_alive = is_http_11 if connection is None else _stays_open(connection, is_http_11)

    @property
    def path(self) -> str:
        """The path, decoded."""
        if "%" not in self.raw_path:
            return self.raw_path
        return unquote_to_bytes(self.raw_path).decode("utf-8", "replace")

    @property
    def request_id(self) -> str | None:
        """The client's own id for the request, where it sent one that may be passed on."""
        value = self.headers.get("x-request-id")
        return value if value and _REQUEST_ID.fullmatch(value) else None

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        return self.is_http_11 and self.headers.get("expect", "").lower() == "100-continue"


def parse_head(data: bytes) -> Head:
    """Read a request's head, without the empty line that ends it.

    Raises:
        HTTPException: It is no HTTP request, or one that could be read in two ways.
    """
    text = data.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        raise BadRequest("The request line is malformed.")
    method, target, major, minor = line.groups()
    if major != "1":
        raise VersionNotSupported
    end = line.end()
    if _FIELD_LINES.fullmatch(text, end) is None:
        raise BadRequest("A header line is malformed.")
    headers = _parse_fields(text[end + 2 :]) if len(text) > end else {}
    is_http_11 = minor != "0"
    host = headers.get("host")
    if host is not None:
        _check_host(host)
    elif is_http_11:
        raise BadRequest("The Host header is missing.")
    if target[0] != "/":
        target = _origin_form(method, target, headers)
    raw_path, _, query = target.partition("?")
    return Head(method, raw_path, query, is_http_11, headers)


def _parse_fields(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(" \t")
        if name in headers:
            if name in _SINGLE:
                raise BadRequest(f"The header {name} is given twice.")
            value = f"{headers[name]}{'; ' if name == 'cookie' else ', '}{value}"
        headers[name] = value
    return headers


def _origin_form(method: str, target: str, headers: dict[str, str]) -> str:
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        # RFC 9112 section 3.2.2: the target's host stands before the header's.
        _check_host(absolute[1])
        headers["host"] = absolute[1]
        return absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    if target == "*" and method == "OPTIONS":
        return target
    raise BadRequest("The request target is malformed.")


def _check_host(host: str) -> None:
    # Redirects are made of it, and whoever stands before this server may have chosen by it.
    if len(host) > _MAX_HOST or not _is_host(host):
        raise BadRequest("The host is malformed.")


@lru_cache(maxsize=256)
def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None


def _content_length(headers: dict[str, str], is_http_11: bool) -> int | None:
    encoding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if encoding is not None:
        # Which of the two counts is what request smuggling turns on (RFC 9112 section 6.1).
        if length is not None:
            raise BadRequest("Content-Length and Transfer-Encoding are given together.")
        if not is_http_11:
            raise BadRequest("Transfer-Encoding is not part of HTTP/1.0.")
        if encoding.lower() != "chunked":
            raise UnknownEncoding
        return None
    if length is None:
        return 0
    if not length.isascii() or not length.isdigit() or len(length) > 18:
        raise BadRequest("Content-Length is not a number.")
    return int(length)


def _stays_open(connection: str, is_http_11: bool) -> bool:
    options = {option.strip().lower() for option in connection.split(",")}
    return "close" not in options and (is_http_11 or "keep-alive" in options)


def find_head_end(data: bytearray, start: int, limit: int) -> int:
    """Give where the empty line after a head begins, or -1 while it has not come.

    Args:
        data: What has come so far.
        start: Up to where it has been searched before.
        limit: How long a head may be.

    Raises:
        HTTPException: No head can come of this: it is too long, or it is not HTTP.
    """
    end = data.find(b"\r\n\r\n", max(0, start - 3))
    if end > limit or (end < 0 and len(data) > limit):
        if b"\r\n" in data[:limit]:
            raise RequestEntityTooLarge(f"The header has more than {limit} bytes.")
        raise RequestURITooLarge(f"The request line has more than {limit} bytes.")
    # Refused at once instead of after the time-out: TLS on a plain port, lines that end in LF alone.
    if end < 0 and data and (_CANNOT_BEGIN.match(data) or _LONE_NEWLINE.search(data, max(0, start - 1))):
        raise BadRequest("This is not HTTP.")
    return end


class ChunkedBody:
    """Puts a body together that comes in chunks (RFC 9112 section 7.1); extensions and trailers are dropped.

    Args:
        limit: How many bytes the body may have.
        trailer_limit: How many bytes the trailers may have.
    """

    def __init__(self, limit: int, trailer_limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        self._trailer_limit = trailer_limit
        self._missing = 0
        self._in_trailers = False

    def feed(self, data: bytearray) -> bool:
        """Take what belongs to the body out of ``data``; True when the body is complete.

        Raises:
            HTTPException: The chunks are malformed, or too many.
        """
        while not self._in_trailers:
            if self._missing > 2:
                taken = data[: self._missing - 2]
                self.body += taken
                del data[: len(taken)]
                self._missing -= len(taken)
            if self._missing and not self._take_line_end(data):
                return False
            if not self._take_size(data):
                return False
        return self._take_trailers(data)

    def _take_line_end(self, data: bytearray) -> bool:
        if self._missing > 2 or len(data) < 2:
            return False
        if data[:2] != b"\r\n":
            raise BadRequest("A chunk is longer than it says.")
        del data[:2]
        self._missing = 0
        return True

    def _take_size(self, data: bytearray) -> bool:
        end = data.find(b"\r\n", 0, _MAX_CHUNK_LINE)
        if end < 0:
            if len(data) >= _MAX_CHUNK_LINE or _LONE_NEWLINE.search(data):
                raise BadRequest("A chunk size is malformed.")
            return False
        size_line = _CHUNK_SIZE.fullmatch(data, 0, end)
        if size_line is None:
            raise BadRequest("A chunk size is malformed.")
        size = int(size_line[1], 16)
        del data[: end + 2]
        if len(self.body) + size > self._limit:
            raise RequestEntityTooLarge(f"The body has more than {self._limit} bytes.")
        self._in_trailers = size == 0
        self._missing = size + 2
        return True

    def _take_trailers(self, data: bytearray) -> bool:
        if data.startswith(b"\r\n"):
            del data[:2]
            return True
        end = data.find(b"\r\n\r\n", 0, self._trailer_limit)
        if end >= 0:
            if _TRAILERS.fullmatch(b"\r\n" + data[:end]) is None:
                raise BadRequest("A trailer is malformed.")
            del data[: end + 4]
            return True
        if len(data) >= self._trailer_limit:
            raise RequestEntityTooLarge(f"The trailers have more than {self._trailer_limit} bytes.")
        return False
