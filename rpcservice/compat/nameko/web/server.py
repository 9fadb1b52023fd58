"""nameko's web server, an extension that hands its providers to the web server of the process."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, RequestRedirect, Rule

from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.constants import WEB_SERVER_CONFIG_KEY
from rpcservice.compat.nameko.exceptions import ConfigurationError
from rpcservice.compat.nameko.extensions import ProviderCollector, SharedExtension
from rpcservice.web import server as web
from rpcservice.web.answer import Answer, answer_from_response
from rpcservice.web.connection import Responder
from rpcservice.web.parser import Head
from rpcservice.web.request import WebRequest

__all__ = (
    "BindAddress",
    "WebServer",
    "WsgiApp",
    "parse_address",
)

Found = tuple[Responder, dict[str, Any]]

__getattr__ = missing_names(
    __name__,
    {
        "HttpOnlyProtocol": "rpcservice has an HTTP server of its own, which knows no protocol classes of eventlet's; "
        "leave the argument out",
        "STATE_IDLE": "leave it out: the server closes idle connections itself",
    },
)

_OWN_SERVER = (
    "overrides get_wsgi_server, but requests are served by rpcservice's own HTTP server; override get_wsgi_app for "
    "middleware, and put a proxy in front for TLS"
)


class BindAddress(NamedTuple):
    """Where a server listens."""

    address: str
    port: int


def parse_address(address_string: str) -> BindAddress:
    """Give the address and the port of ``[address:]port``.

    Raises:
        ConfigurationError: It is none.
    """
    match = re.fullmatch(r"(?:([^:]+):)?(\d+)", address_string)
    if match is None:
        raise ConfigurationError(f"Misconfigured bind address `{address_string}`. Should be `[address:]port`")
    return BindAddress(match[1] or "", int(match[2]))


class Provider(Protocol):
    """What registers with the server."""

    def get_url_rule(self) -> Rule:
        """Give the rule of the URLs to answer."""
        ...

    def handle_request(self, request: Any) -> Any:
        """Give the response, a WSGI application."""
        ...


class WebServer(ProviderCollector, SharedExtension):
    """Serves what registers with it.

    A subclass may override ``get_wsgi_app``, for middleware about all requests, and ``context_data_from_headers``.
    """

    _app: Any = None

    @property
    def bind_addr(self) -> BindAddress:
        """Where the server listens."""
        return parse_address(self.container.config.get(WEB_SERVER_CONFIG_KEY) or "0.0.0.0:8000")

    @property
    def url(self) -> str:
        """The URL that the server is reached at from this machine."""
        site: web.WebServer = self._site
        return site.url

    def setup(self) -> None:
        """Ask for the server of the process.

        Raises:
            ConfigurationError: ``get_wsgi_server`` is overridden.
        """
        if type(self).get_wsgi_server is not WebServer.get_wsgi_server:
            raise ConfigurationError(f"{type(self).__module__}.{type(self).__qualname__} {_OWN_SERVER}")
        self._routes: dict[Any, _Route] = {}
        self._site = self.container.resource(web.WebServer)
        if not isinstance(self._site.look_up, _LookUp):
            self._site.look_up = _LookUp(self._site.look_up)
        self._site.look_up.servers.append(self)

    def start(self) -> None:
        """Make the WSGI application, where there is one about all requests."""
        if type(self).get_wsgi_app is not WebServer.get_wsgi_app:
            self._app = self.get_wsgi_app()

    def register_provider(self, provider: Any) -> None:
        """Have a provider answer its URLs."""
        super().register_provider(provider)
        route = self._routes[provider] = _Route(self, provider)
        self._site.add_route(route)

    def unregister_provider(self, provider: Any) -> None:
        """Take no more requests for a provider."""
        super().unregister_provider(provider)
        route = self._routes.pop(provider, None)
        if route is not None:
            self._site.withdraw(route)

    def get_wsgi_app(self) -> Any:
        """Give the WSGI application that requests go through; override it to put middleware about it."""
        return WsgiApp(self)

    def get_wsgi_server(self, sock: Any, wsgi_app: Any, protocol: Any = None, debug: bool = False) -> Any:
        """Fail: there is no WSGI server.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(f"{type(self).__qualname__} {_OWN_SERVER}")

    def make_url_map(self) -> Map:
        """Give the rules of all providers, which are their endpoints."""
        url_map = Map()
        for provider in self.providers:
            rule = provider.get_url_rule()
            rule.endpoint = provider
            url_map.add(rule)
        return url_map

    def context_data_from_headers(self, request: Request) -> dict[str, Any]:
        """Give the context data for a request; override it to take the language, the user ... from its headers."""
        return {}

    @property
    def has_app(self) -> bool:
        """Whether all requests go through a WSGI application of its own."""
        return self._app is not None

    def respond_with_app(self, request: WebRequest) -> Answer:
        """Have the WSGI application answer a request."""
        return _run(self._app, request)

    def respond(self, provider: Any, request: WebRequest) -> Answer:
        """Have a provider answer a request, within the WSGI application where there is one."""
        if self.has_app:
            return self.respond_with_app(request)
        if hasattr(provider, "respond"):
            answer: Answer = provider.respond(request)
            return answer
        return _run(_handle(provider, request), request)


class _LookUp:
    """Answers what no provider answers as werkzeug does, or has the WSGI application of a server do so.

    Args:
        below: Finds the providers.
    """

    def __init__(self, below: Callable[[Head], Found]) -> None:
        self.servers: list[WebServer] = []
        self._below = below

    def __call__(self, head: Head) -> Found:
        try:
            return self._below(head)
        except (NotFound, MethodNotAllowed, RequestRedirect) as exc:
            error = exc
        for server in self.servers:
            if server.has_app:
                return server.respond_with_app, {}
        return lambda request: _run(error, request), {}


class _Route:
    """A provider, as the web server of the process knows it."""

    def __init__(self, server: WebServer, provider: Any) -> None:
        self._server = server
        self._provider = provider

    def get_url_rule(self) -> Rule:
        rule: Rule = self._provider.get_url_rule()
        return rule

    def respond(self, request: WebRequest) -> Answer:
        return self._server.respond(self._provider, request)

    def where(self) -> str:
        where = getattr(self._provider, "where", None)
        return str(where()) if where is not None else repr(self._provider)


class WsgiApp:
    """Finds the provider for a request and gives its response, as a WSGI application.

    Args:
        server: The server whose providers answer.
    """

    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.url_map = server.make_url_map()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer a request."""
        request: Any = Request(environ)
        try:
            provider, request.path_values = self.url_map.bind_to_environ(environ).match()
            response = _handle(provider, request)
        except HTTPException as exc:
            response = exc
        return response(environ, start_response)


def _handle(provider: Provider, request: Any) -> Any:
    try:
        return provider.handle_request(request)
    except HTTPException as exc:
        return exc


def _run(app: Any, request: WebRequest) -> Answer:
    """Give the answer of a WSGI application to a request."""
    response = Response.from_app(app, request.environ)
    if response.content_length is not None:
        response.make_sequence()
    return answer_from_response(response)
