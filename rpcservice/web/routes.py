"""Routes, the table of who answers which URL."""

import re
from collections.abc import Callable
from typing import Any, Protocol

from werkzeug.exceptions import NotFound, ServiceUnavailable
from werkzeug.exceptions import NotImplemented as MethodUnknown
from werkzeug.routing import Map, MapAdapter, RequestRedirect, Rule

from rpcservice.errors import DeclarationError
from rpcservice.web.answer import Answer
from rpcservice.web.parser import Head
from rpcservice.web.request import WebRequest

_ARGUMENT_NAME = re.compile(r"<(?:([^<>:]*(?:\([^()]*\))?):)?[^<>:]+>")
_RETRY_AFTER = 1


class Route(Protocol):
    """What a web entrypoint offers to the table."""

    def get_url_rule(self) -> Rule:
        """Give the rule, not yet bound to a map."""
        ...

    def respond(self, request: WebRequest) -> Answer:
        """Answer a request."""
        ...

    def where(self) -> str:
        """Say which method answers."""
        ...


def unavailable(reason: str, retry_after: int = _RETRY_AFTER) -> ServiceUnavailable:
    """Give the error for what may work a little later."""
    return ServiceUnavailable(reason, retry_after=retry_after)


class Routes:
    """Finds the web entrypoint for a request."""

    def __init__(self) -> None:
        self.has_health = False
        self._map = Map()
        self._adapter: MapAdapter = self._map.bind("localhost")
        self._taken: dict[tuple[str | None, ...], Route] = {}
        self._active: list[Route] = []

    def add(self, route: Route) -> None:
        """Add a route.

        Raises:
            DeclarationError: Another one has the same method and URL, or the URL rule is wrong.
        """
        try:
            rule = route.get_url_rule()
            rule.endpoint = route
            # The endpoint itself looks whether a request opens a websocket, and says what is missing.
            rule.websocket = False
            methods = sorted(rule.methods or ("GET",))
            shape = _ARGUMENT_NAME.sub(lambda argument: f"<{argument[1] or ''}>", rule.rule)
            for method in methods:
                self._take((rule.host, rule.subdomain, method, shape), route, f"{method} {rule.rule}")
            self._map.add(rule)
        except (ValueError, LookupError) as exc:
            raise DeclarationError(f"{route.where()}: the URL rule is wrong: {exc}") from exc
        self._active.append(route)
        if rule.rule == "/health" and "GET" in methods:
            self.has_health = True

    def _take(self, key: tuple[str | None, ...], route: Route, text: str) -> None:
        taken = self._taken.setdefault(key, route)
        if taken is not route and not (key[2] == "HEAD"):
            raise DeclarationError(f"{taken.where()} and {route.where()} both answer {text}; change the URL of one")

    def withdraw(self, route: Route) -> bool:
        """Note that an entrypoint takes no more requests; True when it was the last one that did."""
        if route in self._active:
            self._active.remove(route)
        return not self._active

    def find(self, head: Head) -> tuple[Callable[[WebRequest], Answer], dict[str, Any]]:
        """Give who answers a request, and what its URL says.

        Raises:
            HTTPException: Nobody does, or not with that method; or the URL is to be written otherwise.
        """
        path = head.path
        # werkzeug would take other spellings too, which who stands before this server may have let through: methods
        # in small letters, and more than one slash at the beginning.
        if not head.method.isupper():
            raise MethodUnknown("The method is not known; methods are written in capital letters.")
        if path.startswith("//"):
            raise NotFound
        try:
            rule, values = self._adapter.match(path, head.method, return_rule=True)
        except RequestRedirect:
            # The URL to go to is made of the host that the client knows.
            host = head.headers.get("host", "localhost")
            self._map.bind(host, query_args=head.query or None).match(path, head.method)
            raise
        return rule.endpoint.respond, dict(values)
