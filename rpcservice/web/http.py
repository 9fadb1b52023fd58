"""@http, the entrypoint that answers HTTP requests."""

import logging
import math
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, ClassVar, cast

from werkzeug import Request, Response
from werkzeug.exceptions import GatewayTimeout, HTTPException
from werkzeug.routing import Rule

from rpcservice.core.context import CALL_ID_STACK, WorkerContext, current_worker
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.faults import safe_text
from rpcservice.errors import (
    BadRequest,
    CircuitOpen,
    ContainerBeingKilled,
    RpcTimeout,
    TooManyCalls,
    WorkerPoolFull,
    WorkerTimeout,
)
from rpcservice.web.answer import (
    Answer,
    answer_from_error,
    answer_from_response,
    answer_from_result,
    http_status,
    response_from_answer,
)
from rpcservice.web.request import WebRequest
from rpcservice.web.routes import unavailable
from rpcservice.web.server import WebServer

_log = logging.getLogger(__name__)

_refused_request: ContextVar[WebRequest | None] = ContextVar("rpcservice_refused_request", default=None)
_KNOWN_SHAPES = 64


class Http(Entrypoint):
    """Fires its method for each request that fits ``method`` and ``url``; what it returns is the response.

    The method gets the request (a werkzeug Request) and what the URL rule takes from the path, by name. It may
    return ``str``, ``bytes``, a ``dict`` or ``list`` (sent as JSON), an iterator (streamed), None (204),
    ``(status, body)``, ``(status, headers, body)`` or a werkzeug Response.

    The methods below without an underscore are hooks for subclasses. Where ``handle_request`` is overridden, a
    streamed body is sent when the worker has ended; otherwise within it.

    Args:
        method: The HTTP method, or several with commas between them: ``"GET,POST"``.
        url: A werkzeug rule: ``"/orders/<int:order_id>"``.
        options: As for every entrypoint: ``expected_exceptions`` (answered with 400 and their text),
            ``sensitive_arguments``, ``concurrency``, ``time_limit`` (answered with 504; a streamed body does not
            count).
    """

    stop_phase: ClassVar[str] = "source"

    def __init__(self, method: str, url: str, **options: Any) -> None:
        super().__init__(**options)
        if not (isinstance(method, str) and isinstance(url, str)):
            raise ValueError(f'@http({method!r}, {url!r}): give two texts, such as "GET", "/orders"')
        self.method = method
        self.url = url
        self.methods = [name.strip().upper() for name in method.split(",")]
        if not all(name.isalpha() for name in self.methods):
            raise ValueError(f'@http({method!r}, {url!r}): give a method such as "GET", or several: "GET,POST"')
        if not url.startswith("/"):
            raise ValueError(f"@http({method!r}, {url!r}): give a URL that begins with a slash")

    def setup(self) -> None:
        """Register with the web server."""
        self.prepare()
        self.server = self.bound_to.resource(WebServer)
        self.server.add_route(self)

    def prepare(self) -> None:
        """Find out what need not be found out for each request."""
        cls = type(self)
        self._has_own_handler = cls.handle_request is not Http.handle_request
        self._has_own_result = cls.response_from_result is not Http.response_from_result
        self._has_own_error = cls.response_from_exception is not Http.response_from_exception
        self._fitting: set[tuple[object, ...]] = set()
        self._queue_timeout = self.bound_to.config.http_queue_timeout

    def stop(self) -> None:
        """Take no more requests; those that run are answered."""
        self.server.withdraw(self)

    kill = stop

    def get_url_rule(self) -> Rule:
        """Give the rule of the URLs to answer."""
        return Rule(self.url, methods=self.methods)

    def get_entrypoint_parameters(self, request: Request) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give the arguments of the method for a request."""
        return (request,), cast(WebRequest, request).path_values

    def get_context_data(self, request: Request) -> Mapping[str, Any]:
        """Give the context data for a request: the client's ``X-Request-ID`` as the call that led here."""
        request_id = cast(WebRequest, request).head.request_id
        return {CALL_ID_STACK: [request_id]} if request_id is not None else {}

    def response_from_result(self, result: Any) -> Response:
        """Give the response for what the method returned."""
        return response_from_answer(answer_from_result(result))

    def response_from_exception(self, exc: Exception) -> Response:
        """Give the response for what the method, or the way to it, raised."""
        return response_from_answer(self._describe(exc))

    def handle_request(self, request: Request) -> Response:
        """Run the method for a request and give the response."""
        return response_from_answer(self._run(cast(WebRequest, request)))

    def respond(self, request: WebRequest) -> Answer:
        """Answer a request: what the server calls."""
        if not self._has_own_handler:
            return self._run(request)
        try:
            return answer_from_response(self.handle_request(request))
        except Exception as exc:
            return self._answer_refused(exc, request)

    def _run(self, request: WebRequest) -> Answer:
        try:
            args, kwargs = self.get_entrypoint_parameters(request)
            self._check_shape(args, kwargs)
            context_data = self.get_context_data(request)
            ctx = self.bound_to.run_worker(
                self, args, kwargs, context_data=context_data, message=request, wait=self._queue_timeout
            )
        except WorkerPoolFull:
            busy = unavailable("All workers are busy.", max(1, math.ceil(self._queue_timeout)))
            return self._answer_refused(busy, request)
        except ContainerBeingKilled:
            return self._answer_refused(unavailable("The service is stopping."), request)
        except Exception as exc:
            return self._answer_refused(exc, request)
        answer = ctx.reply
        return answer if isinstance(answer, Answer) else answer_from_error(RuntimeError(), call_id=ctx.call_id)

    def _check_shape(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # The names that a rule gives are always the same: they are held against the signature once.
        shape = (len(args), *kwargs)
        if shape not in self._fitting:
            self.check_signature(args, kwargs)
            if len(self._fitting) < _KNOWN_SHAPES:
                self._fitting.add(shape)

    def _answer_refused(self, error: Exception, request: WebRequest) -> Answer:
        """Give the answer to a request that failed outside of a worker."""
        if isinstance(error, HTTPException):
            _log.warning("%s: a request was refused: %s", self.where(), safe_text(error))
        elif not self.is_expected(error):
            _log.error("%s: a request failed before its worker: %s", self.where(), safe_text(error), exc_info=error)
        token = _refused_request.set(request)
        try:
            return self._answer_error(error)
        finally:
            _refused_request.reset(token)

    def _answer_error(self, error: BaseException) -> Answer:
        if self._has_own_error and isinstance(error, Exception):
            return answer_from_response(self.response_from_exception(error))
        return self._describe(error)

    def _describe(self, error: BaseException) -> Answer:
        request, ctx = _refused_request.get(), current_worker.get()
        is_clients_fault = isinstance(error, (BadRequest, *self.expected_exceptions))
        if not is_clients_fault:
            error = _as_gateway(error)
        if request is None and ctx is not None:
            request = ctx.message
        return answer_from_error(
            error,
            accept=request.head.headers.get("accept", "") if isinstance(request, WebRequest) else "",
            call_id=ctx.call_id if ctx is not None else None,
            is_clients_fault=is_clients_fault,
        )

    def is_expected(self, error: BaseException) -> bool:
        """Say whether an exception is an answer rather than a fault: the client's mistakes are."""
        status = error.code if isinstance(error, HTTPException) else http_status(error)
        is_clients_fault = status < 500 if status is not None else isinstance(error, BadRequest)
        return is_clients_fault or super().is_expected(error)

    def encode(self, ctx: WorkerContext) -> None:
        """Turn the outcome into the answer, so that what cannot be sent is never committed."""
        if ctx.error is not None:
            answer = self._answer_error(ctx.error)
        elif self._has_own_result:
            answer = answer_from_response(self.response_from_result(ctx.result))
        else:
            answer = answer_from_result(ctx.result)
        answer.call_id = ctx.call_id
        ctx.reply = answer

    def settle(self, ctx: WorkerContext) -> None:
        """Send a streamed body while the worker has its dependencies; of a whole one, what needs no waiting.

        The rest follows when the worker has ended, so that a slow client does not hold it.
        """
        answer = ctx.reply
        exchange = getattr(ctx.message, "exchange", None)
        if answer is None or exchange is None or self._has_own_handler:
            return
        if answer.parts is not None:
            exchange.send(answer)
        else:
            exchange.begin(answer)

    def give_back(self, ctx: WorkerContext) -> None:
        """Tell the client of a request that was not finished to try again later."""
        exchange = getattr(ctx.message, "exchange", None)
        if exchange is not None:
            answer = answer_from_error(unavailable("The service is stopping."))
            answer.call_id = ctx.call_id
            exchange.reject(answer)

    def where(self) -> str:
        """Name the method that is fired."""
        return f"{self.bound_to.service_name}.{self.method_name}"

    def describe(self) -> str:
        """Say which requests fire the method."""
        return f"http {self.method} {self.url} -> {self.method_name}"


def _as_gateway(error: BaseException) -> BaseException:
    """Give the error for outside where the fault is the time or another service, whose name is nobody's business."""
    if isinstance(error, WorkerTimeout):
        return GatewayTimeout("The service took too long.")
    if isinstance(error, RpcTimeout):
        return GatewayTimeout("A service that is needed for this took too long.")
    if isinstance(error, CircuitOpen):
        return unavailable("A service that is needed for this does not answer.", max(1, math.ceil(error.retry_in)))
    if isinstance(error, TooManyCalls):
        return unavailable("A service that is needed for this is busy.")
    return error


http = Http.decorator
