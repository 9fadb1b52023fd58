"""@http: requests become calls, outcomes become responses."""

import datetime
import decimal
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from werkzeug import Request, Response
from werkzeug.exceptions import Conflict, NotFound, abort

from rpcservice import DependencyProvider, WorkerContext, http
from rpcservice.concurrency import green
from rpcservice.errors import CircuitOpen, MalformedRequest, RpcTimeout, TooManyCalls
from rpcservice.testing import FakeHost, entrypoint_hook
from rpcservice.web.http import Http

Serve = Callable[..., Any]


class OutOfStock(Exception):
    http_status = 409


class Quota(Exception):
    pass


class Shop:
    name = "shop"

    @http("GET", "/text")
    def text(self, request: Request) -> Any:
        return "Grüße"

    @http("GET", "/bytes")
    def bytes(self, request: Request) -> Any:
        return b"\x00\xff"

    @http("GET", "/dict")
    def dict(self, request: Request) -> Any:
        return {
            "day": datetime.date(2026, 1, 2),
            "id": uuid.UUID(int=1),
            "price": decimal.Decimal("1.10"),
            "word": "ü",
        }

    @http("GET", "/list")
    def list(self, request: Request) -> Any:
        return [1, None]

    @http("GET", "/none")
    def none(self, request: Request) -> Any:
        return None

    @http("GET", "/pair")
    def pair(self, request: Request) -> Any:
        return 201, {"id": 7}

    @http("GET", "/triple")
    def triple(self, request: Request) -> Any:
        return 202, {"X-Place": "here", "Content-Type": "text/csv"}, "a;b"

    @http("GET", "/response")
    def response(self, request: Request) -> Any:
        return Response("made by hand", 203, [("X-Made", "yes")], mimetype="text/html")

    @http("GET", "/wrong")
    def wrong(self, request: Request) -> Any:
        return 3.5

    @http("GET", "/set")
    def set(self, request: Request) -> Any:
        return {"members": {1, 2}}

    @http("GET", "/boom")
    def boom(self, request: Request) -> Any:
        raise RuntimeError("the password is 123")

    @http("GET", "/quota", expected_exceptions=Quota)
    def quota(self, request: Request) -> Any:
        raise Quota("too <many>")

    @http("GET", "/calls/<kind>")
    def calls(self, request: Request, kind: str) -> Any:
        raise {
            "slow": RpcTimeout("vault", "open", 2),
            "gone": CircuitOpen("vault", retry_in=2.5),
            "busy": TooManyCalls("vault", 50),
        }[kind]

    @http("GET", "/impatient", expected_exceptions=RpcTimeout)
    def impatient(self, request: Request) -> Any:
        raise RpcTimeout("vault", "open", 2)

    @http("GET", "/malformed")
    def malformed(self, request: Request) -> Any:
        raise MalformedRequest("no such field")

    @http("GET", "/stock")
    def stock(self, request: Request) -> Any:
        raise OutOfStock("only 2 left")

    @http("GET", "/abort")
    def abort(self, request: Request) -> Any:
        abort(Response("own words", 418))

    @http("GET", "/conflict")
    def conflict(self, request: Request) -> Any:
        raise Conflict("somebody was faster")

    @http("GET", "/items/<int:number>/<path:rest>")
    def item(self, request: Request, number: int, rest: str) -> Any:
        return {"number": number, "rest": rest, "query": request.args.get("q")}

    @http("GET,post", "/both")
    def both(self, request: Request) -> Any:
        return request.method

    @http("POST", "/echo")
    def echo(self, request: Request) -> Any:
        return request.get_json()

    @http("POST", "/form")
    def form(self, request: Request) -> Any:
        return request.form.to_dict()

    @http("GET", "/unfitting/<word>")
    def unfitting(self, request: Request) -> Any:
        return "never"

    @http("GET", "/folder/")
    def folder(self, request: Request) -> Any:
        return "in it"


@pytest.fixture
def shop(serve: Serve) -> Any:
    return serve(Shop)


@pytest.mark.parametrize(
    ("path", "status", "content_type", "body"),
    [
        ("/text", 200, "text/plain; charset=utf-8", "Grüße".encode()),
        ("/bytes", 200, "application/octet-stream", b"\x00\xff"),
        ("/list", 200, "application/json", b"[1,null]"),
        ("/none", 204, None, b""),
        ("/pair", 201, "application/json", b'{"id":7}'),
        ("/triple", 202, "text/csv", b"a;b"),
        ("/response", 203, "text/html; charset=utf-8", b"made by hand"),
    ],
)
def test_results_become_responses(shop: Any, path: str, status: int, content_type: str | None, body: bytes) -> None:
    reply = shop.get(path)
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (status, content_type, body)


def test_dates_ids_and_decimals_become_text_in_json(shop: Any) -> None:
    assert json.loads(shop.get("/dict").body) == {
        "day": "2026-01-02",
        "id": "00000000-0000-0000-0000-000000000001",
        "price": "1.10",
        "word": "ü",
    }


def test_own_headers_are_sent(shop: Any) -> None:
    assert shop.get("/triple").headers["X-Place"] == "here"


def test_headers_of_a_werkzeug_response_are_sent(shop: Any) -> None:
    assert shop.get("/response").headers["X-Made"] == "yes"


@pytest.mark.parametrize("path", ["/wrong", "/set"])
def test_a_result_that_cannot_be_sent_is_a_500(shop: Any, path: str) -> None:
    assert shop.get(path).status == 500


def test_url_values_arrive_converted(shop: Any) -> None:
    reply = shop.get("/items/7/a%20b/%C3%BC?q=1%202")
    assert json.loads(reply.body) == {"number": 7, "rest": "a b/ü", "query": "1 2"}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_entrypoint_answers_several_methods(shop: Any, method: str) -> None:
    assert shop.request(method, "/both").text == method


def test_a_json_body_is_read(shop: Any) -> None:
    reply = shop.request("POST", "/echo", '{"a": [1]}', {"Content-Type": "application/json"})
    assert json.loads(reply.body) == {"a": [1]}


def test_a_chunked_body_is_read(shop: Any) -> None:
    reply = shop.request("POST", "/echo", iter([b'{"a"', b": 1}"]), {"Content-Type": "application/json"})
    assert json.loads(reply.body) == {"a": 1}


def test_a_form_is_read(shop: Any) -> None:
    reply = shop.request("POST", "/form", "a=1&b=%C3%BC", {"Content-Type": "application/x-www-form-urlencoded"})
    assert json.loads(reply.body) == {"a": "1", "b": "ü"}


def test_a_body_that_is_no_json_is_a_400(shop: Any) -> None:
    assert shop.request("POST", "/echo", "{", {"Content-Type": "application/json"}).status == 400


def test_head_gets_the_header_of_get_without_its_body(shop: Any) -> None:
    reply = shop.request("HEAD", "/text")
    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "7", b"")


def test_an_unknown_url_is_a_404(shop: Any) -> None:
    assert shop.get("/nowhere").status == 404


def test_a_wrong_method_is_a_405_that_tells_the_right_ones(shop: Any) -> None:
    reply = shop.request("DELETE", "/both")
    assert reply.status == 405
    assert {name.strip() for name in reply.headers["Allow"].split(",")} == {"GET", "HEAD", "POST"}


def test_a_missing_slash_is_a_redirect_to_the_host_the_client_knows(shop: Any) -> None:
    reply = shop.get("/folder?x=1", Host="shop.example:81")
    assert (reply.status, reply.headers["Location"]) == (308, "http://shop.example:81/folder/?x=1")


def test_expected_exceptions_are_a_400_with_their_text(shop: Any) -> None:
    reply = shop.get("/quota")
    assert (reply.status, reply.text) == (400, "Error: Quota: too <many>\n")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("kind", "status", "retry_after"), [("slow", 504, None), ("gone", 503, "3"), ("busy", 503, "1")]
)
def test_a_call_of_another_service_that_fails_for_now_says_so_and_not_of_which(
    shop: Any, kind: str, status: int, retry_after: str | None
) -> None:
    reply = shop.get(f"/calls/{kind}")
    assert (reply.status, reply.headers.get("Retry-After")) == (status, retry_after)
    assert "vault" not in reply.text


def test_a_call_that_took_too_long_may_be_an_expected_exception(shop: Any) -> None:
    reply = shop.get("/impatient")
    assert reply.status == 400
    assert reply.text.startswith("Error: RpcTimeout: vault.open did not answer within 2 s")


def test_a_bad_request_raised_in_the_method_is_a_400_with_its_text(shop: Any) -> None:
    reply = shop.get("/malformed")
    assert (reply.status, reply.text) == (400, "Error: MalformedRequest: no such field\n")


def test_arguments_that_do_not_fit_are_a_400_that_names_them(shop: Any) -> None:
    reply = shop.get("/unfitting/word")
    assert reply.status == 400
    assert reply.text.startswith("Error: IncorrectSignature: ")
    assert "'word'" in reply.text


def test_an_unexpected_exception_keeps_its_text_to_the_log(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    reply = shop.get("/boom")
    assert reply.status == 500
    assert "123" not in reply.text
    assert "the password is 123" in caplog.text


def test_an_unexpected_exception_tells_the_call_id(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    reply = shop.get("/boom")
    assert reply.headers["X-Request-ID"].startswith("shop.boom.")
    assert reply.headers["X-Request-ID"] in reply.text
    assert reply.headers["X-Request-ID"] in caplog.text


def test_an_exception_with_an_http_status_gives_it_with_its_text(shop: Any) -> None:
    reply = shop.get("/stock")
    assert (reply.status, reply.text) == (409, "Error: OutOfStock: only 2 left\n")


def test_an_exception_with_an_http_status_is_no_error_in_the_log(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop.get("/stock")
    assert [record.levelno for record in caplog.records if "only 2 left" in record.message] == [logging.WARNING]


def test_an_http_exception_of_the_method_is_honoured(shop: Any) -> None:
    reply = shop.get("/conflict")
    assert (reply.status, reply.text) == (409, "Error: Conflict: somebody was faster\n")


def test_an_aborted_method_sends_the_response_it_was_aborted_with(shop: Any) -> None:
    reply = shop.get("/abort")
    assert (reply.status, reply.text) == (418, "own words")


@pytest.mark.parametrize(
    ("path", "status", "title", "detail"),
    [
        ("/stock", 409, "Conflict", "only 2 left"),
        ("/conflict", 409, "Conflict", "somebody was faster"),
        ("/quota", 400, "Bad Request", "too <many>"),
    ],
)
def test_clients_that_accept_json_get_problems(shop: Any, path: str, status: int, title: str, detail: str) -> None:
    reply = shop.get(path, Accept="application/json")
    problem = json.loads(reply.body)
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert (reply.status, problem["status"], problem["title"], problem["detail"]) == (status, status, title, detail)
    assert problem["call_id"] == reply.headers["X-Request-ID"]


def test_routing_errors_are_problems_too(shop: Any) -> None:
    reply = shop.get("/nowhere", Accept="application/problem+json")
    assert (reply.status, json.loads(reply.body)["title"]) == (404, "Not Found")


def test_an_unexpected_exception_keeps_its_text_out_of_the_problem(shop: Any) -> None:
    reply = shop.get("/boom", Accept="application/json")
    assert "123" not in reply.text
    assert json.loads(reply.body)["status"] == 500


class Traced:
    name = "traced"

    @http("GET", "/stack")
    def stack(self, request: Request) -> Any:
        return self.trace.call_id_stack  # type: ignore[attr-defined]

    class Trace(DependencyProvider):
        def get_dependency(self, ctx: WorkerContext) -> WorkerContext:
            return ctx

    trace = Trace()


def test_the_request_id_of_the_client_leads_the_call_stack(serve: Serve) -> None:
    reply = serve(Traced).get("/stack", X_Request_ID="gateway-17")
    parent, own = json.loads(reply.body)
    assert (parent, own) == ("gateway-17", reply.headers["X-Request-ID"])


@pytest.mark.parametrize("request_id", ["x" * 129, "a b", "<script>"])
def test_a_request_id_that_may_do_harm_is_dropped(serve: Serve, request_id: str) -> None:
    assert len(json.loads(serve(Traced).get("/stack", X_Request_ID=request_id).body)) == 1


def test_a_refused_request_gets_its_own_id_back(shop: Any) -> None:
    assert shop.get("/nowhere", X_Request_ID="mine").headers["X-Request-ID"] == "mine"


class Noting(DependencyProvider):
    """Writes down what happens to a worker."""

    notes: list[str]

    def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
        self.notes.append("failed" if error is not None else "committed")

    def worker_teardown(self, ctx: WorkerContext) -> None:
        self.notes.append("torn down")


class Streams:
    name = "streams"
    noting = Noting()

    @http("GET", "/three")
    def three(self, request: Request) -> Iterator[str]:
        for part in ("one ", "two ", "", "three"):
            self.noting_notes.append(f"made {part}")
            yield part

    @http("GET", "/early")
    def early(self, request: Request) -> Iterator[str]:
        raise NotFound("no such stream")
        yield ""

    @http("GET", "/late")
    def late(self, request: Request) -> Iterator[str]:
        yield "begin"
        raise RuntimeError("broke")

    @http("GET", "/odd")
    def odd(self, request: Request) -> Iterator[Any]:
        yield 7

    @http("GET", "/empty")
    def empty(self, request: Request) -> Any:
        return iter(())

    @http("GET", "/file")
    def file(self, request: Request) -> Any:
        return 200, {"Content-Type": "text/csv"}, iter([b"a;b\n", b"1;2\n"])

    @http("GET", "/unencodable")
    def unencodable(self, request: Request) -> Any:
        return {"a": object()}

    noting_notes: list[str] = []


@pytest.fixture
def streams(serve: Serve) -> Any:
    Streams.noting_notes = Noting.notes = []
    return serve(Streams)


def test_an_iterator_is_streamed(streams: Any) -> None:
    reply = streams.get("/three")
    assert reply.text == "one two three"
    assert reply.headers["Transfer-Encoding"] == "chunked"


def test_a_stream_is_made_before_the_worker_is_torn_down(streams: Any) -> None:
    streams.get("/three")
    assert Noting.notes == ["made one ", "committed", "made two ", "made ", "made three", "torn down"]


def test_an_answer_is_sent_before_the_worker_is_torn_down(serve: Serve) -> None:
    answered = green().event()

    class Closing(DependencyProvider):
        def worker_teardown(self, ctx: WorkerContext) -> None:
            assert answered.wait(5)
            Noting.notes.append("torn down after the answer")

    class Slow:
        name = "slow"
        closing = Closing()

        @http("GET", "/slow")
        def slow(self, request: Request) -> Any:
            return "answered"

    Noting.notes = []
    assert serve(Slow).get("/slow").text == "answered"
    answered.set()
    green().sleep(0)
    assert Noting.notes == ["torn down after the answer"]


def test_a_stream_that_fails_at_once_is_an_ordinary_error(streams: Any) -> None:
    assert streams.get("/early").status == 404
    assert Noting.notes == ["failed", "torn down"]


def test_a_stream_that_fails_later_ends_without_its_last_chunk(streams: Any) -> None:
    answer = streams.raw(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"5\r\nbegin\r\n")


def test_a_stream_of_neither_text_nor_bytes_is_a_500(streams: Any) -> None:
    assert streams.get("/odd").status == 500


def test_an_empty_stream_is_an_empty_body(streams: Any) -> None:
    reply = streams.get("/empty")
    assert (reply.status, reply.body) == (200, b"")


def test_a_stream_may_have_headers(streams: Any) -> None:
    reply = streams.get("/file")
    assert (reply.headers["Content-Type"], reply.body) == ("text/csv", b"a;b\n1;2\n")


def test_a_stream_to_an_http_10_client_ends_with_the_connection(streams: Any) -> None:
    head, _, body = streams.raw(b"GET /three HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert body == b"one two three"
    assert b"chunked" not in head


def test_a_result_that_cannot_be_encoded_is_not_committed(streams: Any) -> None:
    assert streams.get("/unencodable").status == 500
    assert Noting.notes == ["failed", "torn down"]


class Cors(Http):
    """Adds a header to every response, and answers OPTIONS by itself."""

    def handle_request(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self.response_from_result("")
        return super().handle_request(request)

    def response_from_result(self, result: Any) -> Response:
        response = super().response_from_result(result)
        response.headers.add("Access-Control-Allow-Origin", "*")
        return response

    def response_from_exception(self, exc: Exception) -> Response:
        response = super().response_from_exception(exc)
        response.headers["X-Failed"] = type(exc).__name__
        return response

    def get_entrypoint_parameters(self, request: Request) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = super().get_entrypoint_parameters(request)
        return args, {**kwargs, "agent": request.headers["User-Agent"]}


cors = Cors.decorator


class Hooked:
    name = "hooked"

    @cors("GET,OPTIONS", "/agent")
    def agent(self, request: Request, agent: str) -> Any:
        return agent

    @cors("GET", "/failing")
    def failing(self, request: Request, agent: str) -> Any:
        raise OutOfStock("none")

    @cors("GET", "/streaming")
    def streaming(self, request: Request, agent: str) -> Any:
        return iter(["a", "b"])


@pytest.fixture
def hooked(serve: Serve) -> Any:
    return serve(Hooked)


def test_a_subclass_may_give_other_arguments(hooked: Any) -> None:
    assert hooked.get("/agent", User_Agent="probe").text == "probe"


def test_a_subclass_may_change_responses(hooked: Any) -> None:
    assert hooked.get("/agent", User_Agent="probe").headers["Access-Control-Allow-Origin"] == "*"


def test_a_subclass_may_change_error_responses(hooked: Any) -> None:
    reply = hooked.get("/failing", User_Agent="probe", Accept="application/json")
    assert (reply.status, reply.headers["X-Failed"]) == (409, "OutOfStock")
    assert json.loads(reply.body)["detail"] == "none"


def test_a_subclass_may_answer_without_a_worker(hooked: Any) -> None:
    reply = hooked.request("OPTIONS", "/agent")
    assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_a_hook_that_fails_is_an_error_response_and_a_log_line(hooked: Any, caplog: pytest.LogCaptureFixture) -> None:
    reply = hooked.get("/agent")
    assert (reply.status, reply.headers["X-Failed"]) == (500, "KeyError")
    assert "hooked.agent: a request failed before its worker" in caplog.text


def test_a_subclass_that_handles_requests_may_stream(hooked: Any) -> None:
    assert hooked.get("/streaming", User_Agent="probe").text == "ab"


@pytest.mark.parametrize(
    ("method", "url"), [("GET", "items"), ("", "/items"), ("GET POST", "/items"), (None, "/items"), ("GET", 7)]
)
def test_a_wrong_declaration_is_refused_where_it_stands(method: Any, url: Any) -> None:
    with pytest.raises(ValueError, match="@http"):
        http(method, url)(lambda self, request: "")


def test_the_call_id_of_a_whole_response_is_sent(shop: Any) -> None:
    assert shop.get("/text").headers["X-Request-ID"].startswith("shop.text.")


class Broken(Http):
    """Has hooks that fail, or give nothing."""

    def handle_request(self, request: Request) -> Response:
        if request.args:
            raise LookupError("no handler")
        return super().handle_request(request)


class Brittle:
    name = "brittle"

    @Broken.decorator("GET", "/broken")
    def broken(self, request: Request) -> Any:
        return None


def test_a_handler_that_fails_is_a_500_and_a_log_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    reply = serve(Brittle).get("/broken?x=1")
    assert (reply.status, "no handler" in reply.text) == (500, False)
    assert "brittle.broken: a request failed before its worker: no handler" in caplog.text


@pytest.mark.parametrize("status", [None, 409])
def test_an_error_whose_text_cannot_be_had_is_answered_like_any_other(serve: Serve, status: int | None) -> None:
    class Unprintable(Exception):
        http_status = status

        def __str__(self) -> str:
            raise SystemExit(3)

    class Failing:
        name = "failing"

        @http("GET", "/fail")
        def fail(self, request: Request) -> None:
            raise Unprintable

        @http("GET", "/well")
        def well(self, request: Request) -> str:
            return "well"

    site = serve(Failing)
    assert site.get("/fail").status == (status or 500)
    assert site.get("/well").text == "well"


def test_nothing_stays_nothing_on_its_way_through_hooks(serve: Serve) -> None:
    reply = serve(Brittle).get("/broken")
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (204, None, b"")


def test_head_of_a_stream_does_not_make_its_parts(streams: Any) -> None:
    reply = streams.request("HEAD", "/three")
    assert (reply.status, reply.body) == (200, b"")
    assert Noting.notes == ["made one ", "committed", "torn down"]


def test_a_method_can_be_called_without_a_client(container_factory: Callable[..., Any]) -> None:
    container = container_factory(Streams)
    container.start()
    Streams.noting_notes = Noting.notes = []
    with entrypoint_hook(container, "three") as three:
        assert list(three(object())) == ["one ", "two ", "", "three"]


def test_it_says_which_requests_fire_its_method(host: FakeHost) -> None:
    assert host.bind(Http("GET,POST", "/a"), "method").describe() == "http GET,POST /a -> method"
