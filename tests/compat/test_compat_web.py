"""HTTP under nameko's names."""

import http.client
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from under_nameko import standing_in
from werkzeug import Response
from werkzeug.exceptions import Forbidden
from werkzeug.routing import Rule

with standing_in():
    from nameko.exceptions import BadRequest, ConfigurationError
    from nameko.extensions import DependencyProvider
    from nameko.runners import ServiceRunner
    from nameko.web.handlers import HttpRequestHandler
    from nameko.web.handlers import http as on_http
    from nameko.web.server import BindAddress, WebServer, parse_address


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: Any
    text: str


Ask = Callable[..., Reply]


@pytest.fixture
def serve() -> Iterator[Callable[..., Ask]]:
    """Run services on a free port; gives the function that asks them."""
    runners: list[Any] = []

    def start(*services: type) -> Ask:
        runner = ServiceRunner({"AMQP_URI": "memory://", "WEB_SERVER_ADDRESS": "127.0.0.1:0"})
        for service in services:
            runner.add_service(service)
        runners.append(runner)
        runner.start()
        from rpcservice.web.server import WebServer as Site

        return partial(ask, runner.resources.get(Site).address)

    yield start
    for runner in runners:
        runner.stop()


def ask(address: tuple[str, int], path: str, method: str = "GET", body: str = "", **headers: str) -> Reply:
    """Send one request."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


class Refused(Exception):
    """Part of the contract of a method."""


class TooMany(BadRequest):
    """The client's fault."""


class Shop:
    """Answers in all the ways that nameko knows."""

    name = "shop"

    @on_http("GET", "/text")
    def text(self, request: Any) -> str:
        return "häuser"

    @on_http("GET,POST", "/items/<int:item_id>")
    def item(self, request: Any, item_id: int) -> Any:
        return 201, f"{request.method} {item_id + 1} {request.get_data(as_text=True)}"

    @on_http("GET", "/headers")
    def headers(self, request: Any) -> Any:
        return 202, {"X-Colour": "red"}, "taken"

    @on_http("GET", "/response")
    def response(self, request: Any) -> Response:
        return Response(b"bytes", status=203, mimetype="image/png")

    @on_http("GET", "/bytes")
    def give_bytes(self, request: Any) -> bytes:
        return b"bytes"

    @on_http("GET", "/dict")
    def give_dict(self, request: Any) -> Any:
        return 200, {"a": 1}

    @on_http("GET", "/expected", expected_exceptions=Refused)
    def expected(self, request: Any) -> str:
        raise Refused("not today")

    @on_http("GET", "/bad")
    def bad(self, request: Any) -> str:
        raise TooMany("at most 3")

    @on_http("GET", "/fail")
    def fail(self, request: Any) -> str:
        raise ValueError("broken")

    @on_http("GET", "/forbidden")
    def forbidden(self, request: Any) -> str:
        raise Forbidden

    @on_http("GET", "/signature/<word>")
    def signature(self, request: Any) -> str:
        return "never"


def test_a_text_is_the_body(serve: Callable[..., Ask]) -> None:
    """With werkzeug's default type."""
    reply = serve(Shop)("/text")
    assert (reply.status, reply.text) == (200, "häuser")
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_several_methods_and_url_converters(serve: Callable[..., Ask]) -> None:
    """The values of the URL are keyword arguments."""
    shop = serve(Shop)
    assert shop("/items/41")[::2] == (201, "GET 42 ")
    assert shop("/items/1", "POST", "body")[::2] == (201, "POST 2 body")


def test_headers_come_from_a_tuple_of_three(serve: Callable[..., Ask]) -> None:
    """The second of them."""
    reply = serve(Shop)("/headers")
    assert (reply.status, reply.headers["X-Colour"], reply.text) == (202, "red", "taken")


def test_a_response_is_sent_as_it_is(serve: Callable[..., Ask]) -> None:
    """All of it."""
    reply = serve(Shop)("/response")
    assert (reply.status, reply.headers["Content-Type"], reply.text) == (203, "image/png", "bytes")


@pytest.mark.parametrize(("path", "shown"), [("/bytes", "b'bytes'"), ("/dict", "{'a': 1}")])
def test_a_body_that_is_no_text_is_an_error(serve: Callable[..., Ask], path: str, shown: str) -> None:
    """Bytes too."""
    reply = serve(Shop)(path)
    assert (reply.status, reply.text) == (500, f"Error: TypeError: Payload must be a string. Got `{shown}`\n")


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/expected", 400, "Error: Refused: not today\n"),
        ("/bad", 400, "Error: TooMany: at most 3\n"),
        ("/fail", 500, "Error: ValueError: broken\n"),
    ],
)
def test_exceptions_are_told(serve: Callable[..., Ask], path: str, status: int, text: str) -> None:
    """In a line of text, whatever the client accepts."""
    reply = serve(Shop)(path, Accept="application/json")
    assert (reply.status, reply.text) == (status, text)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_an_http_exception_of_a_method_is_a_failure(serve: Callable[..., Ask]) -> None:
    """As any other that is not expected."""
    reply = serve(Shop)("/forbidden")
    assert reply.status == 500
    assert reply.text.startswith("Error: Forbidden: 403 Forbidden: You don't have the permission")


def test_values_that_do_not_fit_the_method_are_the_client_s_fault(serve: Callable[..., Ask]) -> None:
    """No worker is spent on them."""
    reply = serve(Shop)("/signature/word")
    assert reply.status == 400
    assert reply.text.startswith("Error: IncorrectSignature: ")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/text", 405)])
def test_what_no_rule_fits_is_answered_by_werkzeug(
    serve: Callable[..., Ask], method: str, path: str, status: int
) -> None:
    """With its page."""
    reply = serve(Shop)(path, method)
    assert reply.status == status
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1>" in reply.text


def test_two_services_share_the_server(serve: Callable[..., Ask]) -> None:
    """In nameko each needs a port of its own."""

    class Other:
        name = "other"

        @on_http("GET", "/other")
        def other(self, request: Any) -> str:
            return "other"

    both = serve(Shop, Other)
    assert [both("/text").text, both("/other").text, both("/nowhere").status] == ["häuser", "other", 404]


# Customised


class JsonHandler(HttpRequestHandler):
    """A handler with everything overridden that nameko lets one override."""

    def __init__(self, method: str, url: str, prefix: str = "", **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(method, url, **kwargs)

    def get_url_rule(self) -> Rule:
        return Rule(f"/api{self.url}", methods=self.method.split(","))

    def get_entrypoint_parameters(self, request: Any) -> tuple[Any, Any]:
        return (request.args["q"],), request.path_values

    def response_from_result(self, result: Any) -> Response:
        return Response(f'"{self.prefix}{result}"', mimetype="application/json")

    def response_from_exception(self, exc: Exception) -> Response:
        return Response(f'{{"error": "{type(exc).__name__}"}}', status=418, mimetype="application/json")


json_http = JsonHandler.decorator


class Api:
    name = "api"

    @json_http("GET", "/<word>", prefix="> ")
    def say(self, query: str, word: str) -> str:
        if query == "fail":
            raise ValueError(word)
        return f"{word} {query}"


def test_the_methods_of_a_handler_are_overridden(serve: Callable[..., Ask]) -> None:
    """Each of them."""
    api = serve(Api)
    assert api("/api/tea?q=hot").text == '"> tea hot"'
    assert api("/api/tea?q=fail")[::2] == (418, '{"error": "ValueError"}')


def test_what_fails_before_the_worker_goes_to_the_handler_too(serve: Callable[..., Ask]) -> None:
    """Here a missing value of the query."""
    assert serve(Api)("/api/tea").text == '{"error": "BadRequestKeyError"}'


def test_handle_request_is_overridden_around_the_base(serve: Callable[..., Ask]) -> None:
    """As community extensions do."""

    class Guarded(HttpRequestHandler):
        def handle_request(self, request: Any) -> Response:
            request.shallow = False
            if "Authorization" not in request.headers:
                return self.response_from_exception(BadRequest("who are you?"))
            response = super().handle_request(request)
            response.headers["X-Guarded"] = "yes"
            return response

    class Service:
        name = "guarded"

        @Guarded.decorator("GET", "/")
        def get(self, request: Any) -> str:
            return "in"

    guarded = serve(Service)
    assert guarded("/")[::2] == (400, "Error: BadRequest: who are you?\n")
    reply = guarded("/", Authorization="me")
    assert (reply.text, reply.headers["X-Guarded"]) == ("in", "yes")


def test_handle_request_is_written_as_nameko_s_own(serve: Callable[..., Ask]) -> None:
    """It spawns the worker itself and waits for the result on an event of eventlet's."""
    from eventlet.event import Event

    class Own(HttpRequestHandler):
        def handle_request(self, request: Any) -> Response:
            try:
                context_data = self.server.context_data_from_headers(request)
                args, kwargs = self.get_entrypoint_parameters(request)
                self.check_signature(args, kwargs)
                event = Event()
                self.container.spawn_worker(
                    self, args, kwargs, context_data=context_data, handle_result=partial(self.handle_result, event)
                )
                return self.response_from_result(event.wait())
            except Exception as exc:
                return self.response_from_exception(exc)

    class Service:
        name = "own"

        @Own.decorator("GET", "/<word>")
        def get(self, request: Any, word: str) -> str:
            if word == "fail":
                raise ValueError("no")
            return word

    own = serve(Service)
    assert [own("/tea").text, own("/fail").text] == ["tea", "Error: ValueError: no\n"]


class LanguageServer(WebServer):
    """Takes the language from a header."""

    def context_data_from_headers(self, request: Any) -> dict[str, Any]:
        return {"language": request.headers.get("Accept-Language")}


class LanguageHandler(HttpRequestHandler):
    server = LanguageServer()


class Context(DependencyProvider):
    """Injects the context data."""

    def get_dependency(self, worker_ctx: Any) -> Any:
        return dict(worker_ctx.data)


class Polyglot:
    name = "polyglot"

    context = Context()

    @LanguageHandler.decorator("GET", "/")
    def language(self, request: Any) -> str:
        return f"{self.context['language']} {len(self.context['call_id_stack'])}"


def test_context_data_comes_from_headers(serve: Callable[..., Ask]) -> None:
    """By the hook of the server; without it, nothing does."""
    assert serve(Polyglot)("/", **{"Accept-Language": "de", "X-Request-ID": "theirs"}).text == "de 1"


class Middleware:
    """Answers some requests itself, and adds a header to the rest."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/ping":
            return Response("pong")(environ, start_response)

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("X-Wrapped", "yes")], exc_info)

        return self.app(environ, start)


class WrappedServer(WebServer):
    def get_wsgi_app(self) -> Any:
        return Middleware(super().get_wsgi_app())


class WrappedHandler(HttpRequestHandler):
    server = WrappedServer()


class Wrapped:
    name = "wrapped"

    @WrappedHandler.decorator("GET,POST", "/<int:number>")
    def get(self, request: Any, number: int) -> Any:
        return 200, {"X-Own": "1"}, f"{number + 1} {request.get_data(as_text=True)}"


def test_middleware_is_about_every_request(serve: Callable[..., Ask]) -> None:
    """Those that no method answers too."""
    wrapped = serve(Wrapped)
    reply = wrapped("/1", "POST", "body")
    assert (reply.status, reply.headers["X-Wrapped"], reply.headers["X-Own"], reply.text) == (200, "yes", "1", "2 body")
    assert reply.headers["Content-Length"] == "6"
    assert wrapped("/ping").text == "pong"
    assert (wrapped("/none").status, wrapped("/none").headers["X-Wrapped"]) == (404, "yes")


def test_middleware_leaves_other_services_alone(serve: Callable[..., Ask]) -> None:
    """They have servers of their own, as far as they know."""
    both = serve(Wrapped, Shop)
    assert (both("/text").text, both("/text").headers["X-Wrapped"]) == ("häuser", None)


def test_an_extension_may_register_with_the_server(serve: Callable[..., Ask]) -> None:
    """With a URL and a function that answers."""

    class Metrics(DependencyProvider):
        server = WebServer()

        def setup(self) -> None:
            self.server.register_provider(self)

        def stop(self) -> None:
            self.server.unregister_provider(self)

        def get_url_rule(self) -> Rule:
            return Rule("/metrics/<name>", methods=["GET"])

        def handle_request(self, request: Any) -> Response:
            if request.path_values["name"] == "secret":
                raise Forbidden
            return Response(f"metrics of {request.path_values['name']}")

    class Service:
        name = "measured"

        metrics = Metrics()

        @on_http("GET", "/")
        def get(self, request: Any) -> str:
            return "in"

    measured = serve(Service)
    assert [measured("/").text, measured("/metrics/all").text] == ["in", "metrics of all"]
    assert measured("/metrics/secret").status == 403


def test_a_server_of_one_s_own_is_refused_with_what_to_do() -> None:
    """When the service is set up."""

    class OwnServer(WebServer):
        def get_wsgi_server(self, *args: Any, **kwargs: Any) -> Any:
            return None

    class Handler(HttpRequestHandler):
        server = OwnServer()

    class Service:
        name = "own"

        @Handler.decorator("GET", "/")
        def get(self, request: Any) -> str:
            return "never"

    runner = ServiceRunner({"AMQP_URI": "memory://", "WEB_SERVER_ADDRESS": "127.0.0.1:0"})
    runner.add_service(Service)
    with pytest.raises(ConfigurationError, match=r"OwnServer overrides get_wsgi_server.*override get_wsgi_app"):
        runner.start()
    runner.kill()


@pytest.mark.parametrize(
    ("config", "address"), [({}, ("0.0.0.0", 8000)), ({"WEB_SERVER_ADDRESS": "127.0.0.1:81"}, ("127.0.0.1", 81))]
)
def test_the_server_knows_its_address(config: dict[str, str], address: tuple[str, int]) -> None:
    """That of the configuration."""
    container = Mock(config=config, shared_extensions={})
    assert WebServer().bind(container).bind_addr == address


def test_there_is_no_wsgi_server_to_ask_for() -> None:
    """With what to do instead."""
    with pytest.raises(ConfigurationError, match="override get_wsgi_app for middleware, and put a proxy in front"):
        WebServer().get_wsgi_server(None, None)


@pytest.mark.parametrize(
    ("text", "address"),
    [("8000", BindAddress("", 8000)), ("host:80", BindAddress("host", 80)), ("0.0.0.0:1", BindAddress("0.0.0.0", 1))],
)
def test_addresses_are_read(text: str, address: Any) -> None:
    """As nameko reads them."""
    assert parse_address(text) == address
    assert (parse_address(text).address, parse_address(text).port) == tuple(address)


@pytest.mark.parametrize("text", ["host", "host:", ":80", "a:b:80", "80a"])
def test_a_wrong_address_is_refused(text: str) -> None:
    """With its form."""
    with pytest.raises(ConfigurationError, match=rf"Misconfigured bind address `{text}`. Should be `\[address:\]port`"):
        parse_address(text)


def test_the_name_of_eventlet_s_protocol_says_what_to_do() -> None:
    """It has no meaning here."""
    with standing_in(), pytest.raises(ImportError, match=r"nameko\.web\.server\.HttpOnlyProtocol has no counterpart"):
        from nameko.web.server import HttpOnlyProtocol  # noqa: F401
