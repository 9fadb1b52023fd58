"""Answer: what may not be sent is refused before anything goes out."""

from typing import Any

import pytest
from werkzeug import Response
from werkzeug.exceptions import NotFound

from rpcservice.errors import UnserializableValueError
from rpcservice.web.answer import answer_from_error, answer_from_response, answer_from_result, response_from_answer


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "a\r\nSet-Cookie: b=c"},
        {"X": "a\nb"},
        {"X\r\nY": "a"},
        {"X Y": "a"},
        {"": "a"},
        {"X": "a\x00"},
        {"X": "☃"},
    ],
)
def test_a_header_that_would_break_out_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        answer_from_result((200, headers, ""))


def test_what_frames_the_message_is_not_the_methods_to_say() -> None:
    headers = {"Content-Length": "99", "Transfer-Encoding": "chunked", "Connection": "close", "X": "a"}
    assert b"99" not in answer_from_result((200, headers, "b")).head()
    assert b"chunked" not in answer_from_result((200, headers, "b")).head()


@pytest.mark.parametrize("status", [99, 101, 600, True, "fine", None, 2.5])
def test_a_status_that_is_none_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match="give a number from 200 to 599"):
        answer_from_result((status, "body"))


@pytest.mark.parametrize(("status", "number"), [(404, 404), ("404", 404), ("404 NOT FOUND", 404)])
def test_a_status_may_be_a_number_or_a_status_line(status: Any, number: int) -> None:
    assert answer_from_result((status, "body")).status == number


@pytest.mark.parametrize("result", [(), ("a",), (1, 2, 3, 4), 1, object(), {1, 2}])
def test_a_result_of_another_shape_is_refused(result: Any) -> None:
    with pytest.raises(TypeError, match="give "):
        answer_from_result(result)


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [{"a": object()}, {"a": float("nan")}, endless(), {("a", "b"): 1}])
def test_what_json_does_not_know_is_refused(value: Any) -> None:
    with pytest.raises(UnserializableValueError):
        answer_from_result(value)


def test_headers_may_be_pairs_so_that_one_can_come_twice() -> None:
    answer = answer_from_result((200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], ""))
    assert answer.head().count(b"Set-Cookie: ") == 2


def test_a_streaming_response_is_closed_in_the_end() -> None:
    closed = []
    response = Response(iter(["a", "b"]))
    response.call_on_close(lambda: closed.append(True))
    answer = answer_from_response(response)
    assert answer.parts is not None
    assert b"".join(answer.parts) == b"ab"
    answer.parts.close()
    assert closed == [True]


def test_an_answer_becomes_a_response_and_comes_back() -> None:
    answer = answer_from_response(response_from_answer(answer_from_result((201, {"X": "a"}, {"b": 1}))))
    assert (answer.status, answer.body) == (201, b'{"b":1}')
    assert dict(answer.fields) == {"Content-Type": "application/json", "X": "a"}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        ("application/json", "application/problem+json"),
        ("application/vnd.shop+json", "application/problem+json"),
        ("application/json, text/plain, */*", "application/problem+json"),
        ("text/plain, application/json;q=0.5", "text/plain; charset=utf-8"),
        ("application/json;q=0", "text/plain; charset=utf-8"),
        ("application/json;q=nonsense", "text/plain; charset=utf-8"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
    ],
)
def test_errors_speak_what_the_client_reads(accept: str, content_type: str) -> None:
    assert dict(answer_from_error(NotFound(), accept=accept).fields)["Content-Type"] == content_type


@pytest.mark.parametrize("status", [399, 600, "404", True, None])
def test_an_http_status_that_is_none_is_not_followed(status: Any) -> None:
    error = RuntimeError()
    error.http_status = status  # type: ignore[attr-defined]
    assert answer_from_error(error).status == 500


def test_own_pages_of_http_exceptions_are_kept() -> None:
    class Own(NotFound):
        def get_body(self, environ: Any = None, scope: Any = None) -> str:
            return "my page"

    assert answer_from_error(Own()).body == b"my page"
