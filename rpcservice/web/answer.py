"""Answer, what goes back to an HTTP client, and how results and exceptions become one."""

import datetime
import decimal
import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from werkzeug import Response
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES, parse_accept_header

from rpcservice.core.faults import safe_text
from rpcservice.errors import UnserializableValueError

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
BYTES = "application/octet-stream"
PROBLEM = "application/problem+json"

_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING = frozenset(("connection", "content-length", "date", "keep-alive", "transfer-encoding"))
_NO_BODY = frozenset((204, 304))


class Answer:
    """A status, header fields and a body that is whole, or an iterator of its parts.

    Attributes:
        status: The status code.
        fields: Header fields, without those that frame the message.
        body: The whole body, when ``parts`` is None.
        parts: The parts of a body that is streamed; to be closed in the end.
        call_id: The id of the call that gave it.
    """

    __slots__ = ("_head", "body", "call_id", "fields", "parts", "status")

    def __init__(
        self,
        status: int,
        fields: list[tuple[str, str]],
        body: bytes = b"",
        parts: "Parts | None" = None,
    ) -> None:
        self.status = status
        self.fields = fields
        self.body = body
        self.parts = parts
        self.call_id: str | None = None
        self._head: bytes | None = None

    @property
    def has_body(self) -> bool:
        """Whether this status may have a body at all."""
        return self.status >= 200 and self.status not in _NO_BODY

    def head(self) -> bytes:
        """Give the status line and the fields as bytes.

        Raises:
            ValueError: A field cannot be sent.
        """
        if self._head is None:
            lines = [_status_line(self.status)]
            for name, value in self.fields:
                if _FIELD_NAME.fullmatch(name) is None or _FORBIDDEN_IN_VALUE.search(value) is not None:
                    raise ValueError(f"the header field {name!r}: {value!r} cannot be sent")
                lines.append(f"{name}: {value}\r\n")
            try:
                self._head = "".join(lines).encode("latin-1")
            except UnicodeEncodeError as exc:
                raise ValueError(f"a header field cannot be sent, for it is not latin-1: {self.fields!r}") from exc
        return self._head


def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTP_STATUS_CODES.get(status, 'Unknown')}\r\n"


def simple_answer(status: int, content_type: str, body: bytes) -> Answer:
    """Give an answer that has no header fields but its content type; the head of each kind is made once."""
    answer = Answer(status, [("Content-Type", content_type)], body)
    answer._head = _simple_head(status, content_type)
    return answer


@lru_cache(maxsize=256)
def _simple_head(status: int, content_type: str) -> bytes:
    return Answer(status, [("Content-Type", content_type)]).head()


def answer_from_result(result: Any) -> Answer:
    """Give the answer for what a method returned.

    ``str``, ``bytes``, a ``dict`` or ``list`` (JSON), an iterator (streamed), None (204), ``(status, body)`` or
    ``(status, headers, body)`` with any of these as the body, or a werkzeug Response.

    Raises:
        TypeError: It is none of these.
        ValueError: A status or header field cannot be sent.
        UnserializableValueError: It cannot be encoded as JSON.
    """
    if isinstance(result, Response):
        return answer_from_response(result)
    if not isinstance(result, tuple):
        return _answer(None, [], result)
    if len(result) == 2:
        return _answer(_status(result[0]), [], result[1])
    if len(result) == 3:
        return _answer(_status(result[0]), _fields(result[1]), result[2])
    raise TypeError(f"{result!r}: give (status, body) or (status, headers, body)")


def _answer(status: int | None, fields: list[tuple[str, str]], body: Any) -> Answer:
    parts = None
    if isinstance(body, str):
        content_type, data = TEXT, body.encode("utf-8", "surrogateescape")
    elif isinstance(body, bytes | bytearray | memoryview):
        content_type, data = BYTES, bytes(body)
    elif isinstance(body, dict | list):
        content_type, data = JSON, encode_json(body)
    elif body is None:
        answer = Answer(204 if status is None else status, fields)
        answer.head()
        return answer
    elif isinstance(body, Iterator):
        content_type, parts = _parts(body)
        data = b""
    else:
        raise TypeError(
            f"a method of @http returned {type(body).__name__}; "
            "give str, bytes, dict, list, an iterator, None, (status, body), (status, headers, body) or a Response"
        )
    if parts is None and not fields:
        return simple_answer(200 if status is None else status, content_type, data)
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields = [("Content-Type", content_type), *fields]
    answer = Answer(200 if status is None else status, fields, data, parts)
    answer.head()
    return answer


def _status(value: Any) -> int:
    if isinstance(value, str):
        value = value.partition(" ")[0]
        value = int(value) if value.isdigit() else value
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise ValueError(f"the status {value!r} cannot be sent; give a number from 200 to 599")
    return int(value)


def _fields(headers: Any) -> list[tuple[str, str]]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    # What frames the message is this server's to say: a wrong Content-Length would end in the next answer.
    return [(str(name), str(value)) for name, value in pairs if str(name).lower() not in _FRAMING]


def _parts(body: Iterator[Any]) -> "tuple[str, Parts]":
    """Ask for the first part, so that a generator that fails at once is an error and no broken answer."""
    first = next(body, None)
    content_type = BYTES if isinstance(first, bytes) else TEXT
    close = getattr(body, "close", None)
    return content_type, Parts(b"" if first is None else _encode_part(first), map(_encode_part, body), close)


class Parts:
    """The parts of a streamed body, the first of which is there already."""

    def __init__(self, first: bytes, rest: Iterator[bytes], close: Callable[[], object] | None) -> None:
        self._parts = chain((first,), rest)
        self._close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        """Tell the source of the parts that no more are wanted, or that all have been sent."""
        if self._close is not None:
            self._close()


def _encode_part(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    raise TypeError(f"an iterator of @http gave {type(part).__name__}; give str or bytes")


def _default(value: object) -> str:
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID | decimal.Decimal):
        return str(value)
    raise UnserializableValueError(value)


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default)


def encode_json(value: Any) -> bytes:
    """Give a value as JSON; dates, times, UUIDs and decimals become text.

    Raises:
        UnserializableValueError: It has a part that JSON does not know.
    """
    try:
        return _encoder.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise UnserializableValueError(value) from exc


def answer_from_response(response: Response) -> Answer:
    """Give the answer for a werkzeug Response.

    Raises:
        ValueError: Its status or a header field cannot be sent.
    """
    fields, status = _fields(list(response.headers.items())), _status(response.status_code)
    if response.is_sequence:
        answer = Answer(status, fields, response.get_data())
        response.close()
    else:
        parts = iter(response.iter_encoded())
        answer = Answer(status, fields, b"", Parts(next(parts, b""), parts, response.close))
    answer.head()
    return answer


def response_from_answer(answer: Answer) -> Response:
    """Give an answer as a werkzeug Response, for hooks that look at it or change it."""
    body: bytes | Iterable[bytes] = answer.body if answer.parts is None else answer.parts
    response = Response(body, answer.status, answer.fields)
    if not any(name.lower() == "content-type" for name, _ in answer.fields):
        del response.headers["Content-Type"]
    return response


def answer_from_error(
    error: BaseException, *, accept: str = "", call_id: str | None = None, is_clients_fault: bool = False
) -> Answer:
    """Give the answer for an exception: problem JSON (RFC 9457) where the client accepts JSON, else text.

    Args:
        error: A werkzeug HTTPException, an exception with an ``http_status``, or any other.
        accept: The client's Accept header.
        call_id: The call that raised it.
        is_clients_fault: Whether any other exception is a 400 with its text; else it is a 500 without.
    """
    preferred = _preferred_type(accept)
    if isinstance(error, HTTPException):
        return _answer_http_exception(error, preferred, call_id)
    status = http_status(error)
    if status is None:
        status = 400 if is_clients_fault else 500
        if not is_clients_fault:
            # The text of an unexpected exception may tell what is nobody's business outside; the log has it.
            text = "the service failed; its log tells more" + (f" of call {call_id}" if call_id else "")
            return _error_answer(status, "InternalServerError", text, preferred, [], call_id)
    return _error_answer(status, type(error).__name__, safe_text(error), preferred, [], call_id)


def http_status(error: BaseException) -> int | None:
    """Give the status that an exception's own attribute ``http_status`` asks for, if it has one from 400 to 599."""
    status = getattr(error, "http_status", None)
    if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
        return int(status)
    return None


def _answer_http_exception(error: HTTPException, preferred: str, call_id: str | None) -> Answer:
    response = error.get_response()
    if error.response is not None or response.status_code < 400 or preferred == "text/html":
        return answer_from_response(response)
    if type(error).get_body is not HTTPException.get_body and preferred != JSON:
        return answer_from_response(response)
    fields = [(name, value) for name, value in _fields(list(response.headers.items())) if name != "Content-Type"]
    text = error.description or error.name
    return _error_answer(response.status_code, type(error).__name__, text, preferred, fields, call_id)


def _error_answer(
    status: int, kind: str, text: str, preferred: str, fields: list[tuple[str, str]], call_id: str | None
) -> Answer:
    if preferred == JSON:
        problem = {"type": "about:blank", "title": HTTP_STATUS_CODES.get(status, kind), "status": status}
        problem |= {"detail": text, "error": kind}
        if call_id is not None:
            problem["call_id"] = call_id
        body, content_type = json.dumps(problem).encode(), PROBLEM
    else:
        body, content_type = f"Error: {kind}: {text}\n".encode("utf-8", "backslashreplace"), TEXT
    return Answer(status, [("Content-Type", content_type), *fields], body)


def _preferred_type(accept: str) -> str:
    """Give which of JSON, HTML and text an Accept header names with the highest quality; text when it names none."""
    if "json" not in accept and "html" not in accept:
        return "text/plain"
    qualities = {JSON: 0.0, "text/html": 0.0, "text/plain": 0.0}
    for media_type, quality in parse_accept_header(accept):
        name = media_type.partition(";")[0].strip().lower()
        name = JSON if name.endswith("+json") else name
        if name in qualities:
            qualities[name] = max(qualities[name], quality)
    best = max(qualities, key=lambda name: qualities[name])
    return best if qualities[best] > 0 else "text/plain"
