"""nameko's HTTP entrypoint."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from werkzeug import Request, Response
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.routing import Rule

from rpcservice.compat.nameko._handling import is_plain
from rpcservice.compat.nameko._stages import handle_by_event
from rpcservice.compat.nameko.exceptions import BadRequest, serialize
from rpcservice.compat.nameko.extensions import Entrypoint
from rpcservice.compat.nameko.web.server import WebServer
from rpcservice.core.context import WorkerContext
from rpcservice.web import http as web
from rpcservice.web.answer import Answer, answer_from_error
from rpcservice.web.request import WebRequest

__all__ = (
    "HttpRequestHandler",
    "http",
)


class HttpRequestHandler(Entrypoint, web.Http):
    """Fires its method for each request that fits; what it returns, a text, becomes the response.

    Args:
        method: The HTTP method, or several with commas between them.
        url: A werkzeug rule.
        kwargs: As for every entrypoint.
    """

    server: Any = WebServer()

    def __init__(self, method: str, url: str, **kwargs: Any) -> None:
        super().__init__(method=method, url=url, **kwargs)

    def setup(self) -> None:
        """Register with the web server."""
        if not is_plain(self, "handle_result", HttpRequestHandler):
            self._nameko_handler = partial(handle_by_event, self.handle_result)
        self.prepare()
        self.server.register_provider(self)

    def stop(self) -> None:
        """Take no more requests; those that run are answered."""
        self.server.unregister_provider(self)

    def kill(self) -> None:
        """Take no more requests."""
        self.server.unregister_provider(self)

    def get_url_rule(self) -> Rule:
        """Give the rule of the URLs to answer."""
        return Rule(self.url, methods=self.method.split(","))

    def get_context_data(self, request: Request) -> Mapping[str, Any]:
        """Give the context data for a request: what the web server finds in its headers."""
        data: Mapping[str, Any] = self.server.context_data_from_headers(request)
        return data

    def handle_result(self, event: Any, worker_ctx: WorkerContext, result: Any, exc_info: Any) -> tuple[Any, Any]:
        """Called where it is overridden: send an outcome by an eventlet event; give what dependencies are to see."""
        event.send(result, exc_info)
        return result, exc_info

    def response_from_result(self, result: Any) -> Response:
        """Give the response for a text, ``(status, text)``, ``(status, headers, text)`` or a Response.

        Raises:
            TypeError: The body is no text.
        """
        if isinstance(result, Response):
            return result
        status, headers, payload = 200, None, result
        if isinstance(result, tuple):
            if len(result) == 3:
                status, headers, payload = result
            else:
                status, payload = result
        if not isinstance(payload, str):
            raise TypeError(f"Payload must be a string. Got `{payload!r}`")
        return Response(payload, status=status, headers=headers)

    def response_from_exception(self, exc: BaseException) -> Response:
        """Give the response for an exception: 400 where it is the client's fault, else 500, with its type and text."""
        status = 400 if self.is_expected(exc) else 500
        return Response("Error: {exc_type}: {value}\n".format(**serialize(exc)), status=status)

    def is_expected(self, error: BaseException) -> bool:
        """Say whether an exception is the client's fault."""
        return isinstance(error, (BadRequest, *self.expected_exceptions))

    def _answer_refused(self, error: Exception, request: WebRequest) -> Answer:
        # That all workers are busy, or that the service stops, is no failure of the service.
        return (
            answer_from_error(error)
            if isinstance(error, ServiceUnavailable)
            else super()._answer_refused(error, request)
        )


http = HttpRequestHandler.decorator
