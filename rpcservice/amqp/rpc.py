"""@rpc, the entrypoint that answers calls, and ServiceRpc and ClusterRpc, the dependencies that make them."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self

from rpcservice.amqp.codec import Codec, Codecs
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.amqp.message import check_timeout, context_from_headers, request_arguments
from rpcservice.amqp.options import PublishOptions
from rpcservice.amqp.replies import ReplyListener, RpcCall
from rpcservice.amqp.responder import Responder
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.extension import Host
from rpcservice.core.resource import Resource
from rpcservice.errors import BadRequest, MethodNotFound

__all__ = ("ClusterRpc", "Rpc", "RpcCall", "ServiceRpc", "rpc")

_log = logging.getLogger(__name__)


class RpcConsumer(Resource):
    """The request queue of one service, all of its methods together; its key is the service's name.

    Attributes:
        methods: The entrypoints by the names of their methods.
        otherwise: The entrypoint that is handed requests for none of these methods; without one they are refused.
    """

    key: str

    def setup(self) -> None:
        """Prepare; the queue is declared with the connection."""
        self.methods: dict[str, Rpc] = {}
        self.otherwise: Rpc | None = None
        self._host: Host | None = None
        self._received = 0
        self.responder = self.resources.get(Responder)
        self._codecs = self.responder.codecs

    def add(self, entrypoint: "Rpc") -> None:
        """Take in a method; the first one brings the queue."""
        if self._host is None:
            self._host = host = entrypoint.host
            self._send = host.around("publish", self.responder.send)
            self._take = host.around("receipt", self._receive)
            channel = self.resources.get(ServiceChannel, (connection_key(self.config), self.key))
            prefetch = self.config.prefetch_count if self.config.prefetch_count is not None else self.config.max_workers
            self._consumer = Consumer(channel, self._declare, self._on_message, prefetch)
        self.methods[entrypoint.method_name] = entrypoint

    def _declare(self, channel: LinkChannel) -> str:
        queue, exchange = f"rpc-{self.key}", self.config.rpc_exchange
        channel.declare_exchange(exchange, "topic", durable=True)
        channel.declare_queue(queue, durable=True)
        channel.bind_queue(queue, exchange, f"{self.key}.*")
        return queue

    def begin(self) -> None:
        """Take requests in."""
        self._consumer.start()

    def end(self) -> None:
        """Take no more requests in."""
        self._consumer.stop()

    def abandon(self) -> None:
        """Take no more requests in, without waiting."""
        self._consumer.kill()

    def _on_message(self, request: Delivery) -> None:
        """Take a request in; where a hook fails, it fails this request alone."""
        received = self._received
        try:
            self._take(request)
        except Exception as exc:
            _log.exception("request %s: an around_receipt hook failed", request.routing_key)
            if self._received == received:
                self.refuse(request, exc)

    def _receive(self, request: Delivery) -> None:
        self._received += 1
        name = request.routing_key.rpartition(".")[2]
        try:
            entrypoint = self.methods.get(name, self.otherwise)
            if entrypoint is None:
                raise MethodNotFound(name, tuple(sorted(self.methods)), self.key)
            entrypoint.receive_delivery(request, self._codecs)
        except BadRequest as exc:
            _log.warning("request %s: %s", request.routing_key, exc)
            self.refuse(request, exc)
        except Exception as exc:
            _log.exception("request %s could not be taken in", request.routing_key)
            self.refuse(request, exc)

    def refuse(self, request: Delivery, error: Exception) -> None:
        """Answer a request that gets no worker."""
        try:
            self.answer(request, *self.responder.encode(request, None, error))
        except Exception as exc:
            self.answer_plainly(request, exc)

    def answer(self, request: Delivery, codec: Codec, body: bytes) -> None:
        """Send the reply to a request, then ack the request."""
        self._answer(request, codec, body, self._send)

    def answer_plainly(self, request: Delivery, error: Exception) -> None:
        """Answer a request whose reply could not be sent, with that error and without the hooks that made it."""
        _log.error("the reply to %s could not be sent", request.routing_key, exc_info=error)
        codec, body = self.responder.encode(request, None, error)
        self._answer(request, codec, body, self.responder.send)

    def _answer(self, request: Delivery, codec: Codec, body: bytes, send: Callable[[Message], Any]) -> None:
        if not request.channel.is_open:
            # The broker gives the request to somebody else; our own callers know that the connection broke.
            _log.warning("request %s: the connection broke, so its outcome is dropped", request.routing_key)
            return
        message = self.responder.reply(request, codec, body)
        if message is None:
            request.ack()
            return
        message.was_sent = False
        try:
            send(message)
        except Exception:
            if not message.was_sent:
                raise
            _log.exception("an around_publish hook failed when the reply to %s was sent", request.routing_key)
        if message.on_done is None:
            request.ack()
        elif not message.was_sent:
            # A hook has kept it back, so no confirm will come.
            message.on_done(None)


class Rpc(Entrypoint):
    """Answers RPC calls with its method; use it as the decorator ``@rpc``."""

    stop_phase = "serving"

    def setup(self) -> None:
        """Join the service's request queue."""
        self._consumer = self.host.resource(RpcConsumer, self.host.service_name)
        self._consumer.add(self)

    def start(self) -> None:
        """Take requests in."""
        self._consumer.begin()

    def stop(self) -> None:
        """Take no more requests in."""
        self._consumer.end()

    def kill(self) -> None:
        """Take no more requests in, without waiting."""
        self._consumer.abandon()

    def receive_delivery(self, request: Delivery, codecs: Codecs) -> None:
        """Have a worker carry a request out; called in the reader, so it must not wait.

        Raises:
            BadRequest: The request cannot be decoded, or its arguments do not fit the method.
        """
        args, kwargs = request_arguments(codecs.decode(request.body, request.properties))
        self.check_signature(args, kwargs)
        context = context_from_headers(request.headers)
        self.host.spawn_worker(self, args, kwargs, context_data=context, message=request)

    def encode(self, ctx: WorkerContext) -> None:
        """Encode the outcome in the request's own serializer."""
        ctx.reply = self._consumer.responder.encode(ctx.message, ctx.result, ctx.error)

    def settle(self, ctx: WorkerContext) -> None:
        """Send the reply, then ack the request; a reply that cannot be sent gives way to the error."""
        try:
            self._consumer.answer(ctx.message, *ctx.reply)
        except Exception as exc:
            ctx.error, ctx.result = exc, None
            self._consumer.answer_plainly(ctx.message, exc)

    def give_back(self, ctx: WorkerContext) -> None:
        """Put the request back on its queue."""
        ctx.message.reject(requeue=True)

    def describe(self) -> str:
        """Name the method as callers do."""
        return f"rpc {self.host.service_name}.{self.method_name}"


rpc = Rpc.decorator


class RpcOptions(PublishOptions):
    """What a client's calls have in common.

    Attributes:
        given: What is to be different from the client's own options.
        timeout: Seconds that a call may take; None is without end.
    """

    given: Mapping[str, Any]


class Caller(Protocol):
    """What a client sends its requests by: a bound :class:`ClusterRpc`, or what stands for one."""

    options: Any
    """What calls go with unless they ask for something else."""

    def make_options(self, changes: Mapping[str, Any]) -> Any:
        """Give the options of this caller with changes."""
        ...

    def start_call(
        self, ctx: Any, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
    ) -> RpcCall:
        """Send a request; gives the call, to be waited for."""
        ...


class ClusterRpc(DependencyProvider):
    """Injects a client for any service: ``self.cluster["products"].price(sku)``, or ``self.cluster.products...``.

    Args:
        timeout: Seconds that a call may take; not given, ``rpc_timeout`` holds; None waits for ever.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``, for that broker.
        login_method: As ``LOGIN_METHOD``, for that broker.
        options: ``serializer``, ``compression``, ``headers``, ``extra_headers``, ``priority``, ``delivery_mode``,
            ``expiration`` (seconds); ``use_confirms`` has no effect, for the reply is the confirmation.
    """

    _OPTIONS = frozenset(
        (
            "compression",
            "delivery_mode",
            "expiration",
            "extra_headers",
            "headers",
            "priority",
            "serializer",
            "timeout",
            "use_confirms",
        )
    )

    def __init__(
        self,
        *,
        uri: str | None = None,
        ssl: bool | Mapping[str, Any] | None = None,
        login_method: str | None = None,
        **options: Any,
    ) -> None:
        self._uri = uri
        self._ssl = ssl
        self._login_method = login_method
        self._given = self.check(options)

    @classmethod
    def check(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Give options back that a client may have.

        Raises:
            TypeError: There is no such option, or ``timeout`` is no number.
            ValueError: ``timeout`` is negative.
        """
        for name in options:
            if name not in cls._OPTIONS:
                raise TypeError(f"{name!r} is no option of an RPC client; there are: {', '.join(sorted(cls._OPTIONS))}")
        if "timeout" in options:
            options["timeout"] = check_timeout(options["timeout"], "to wait for ever")
        return options

    def setup(self) -> None:
        """Ask for the reply queue of the connection."""
        key = connection_key(self.host.config, uri=self._uri, ssl=self._ssl, login_method=self._login_method)
        self.replies = self.host.resource(ReplyListener, key)
        self.exchange = self.host.config.rpc_exchange
        self.options = self.make_options({})
        self.publish = self.host.around("publish", self._publish)

    def make_options(self, changes: Mapping[str, Any]) -> RpcOptions:
        """Give the options of this client with changes."""
        options = {**self._given, **self.check(dict(changes))}
        timeout = check_timeout(options.pop("timeout", self.host.config.rpc_timeout), "to wait for ever")
        made = RpcOptions(self.replies.codecs, options, self._OPTIONS, "an RPC client")
        made.given, made.timeout, made.mandatory = changes, timeout, True
        made.properties["reply_to"] = self.replies.routing_key
        return made

    def _publish(self, message: Message) -> RpcCall:
        service_name, _, method_name = message.routing_key.rpartition(".")
        return self.replies.send(message, service_name, method_name, message.timeout)

    def start_call(
        self, ctx: WorkerContext, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: RpcOptions
    ) -> RpcCall:
        """Send a request; gives the call, to be waited for."""
        message = options.message(self.exchange, routing_key, {"args": args, "kwargs": kwargs}, ctx.context_data)
        message.properties["correlation_id"] = message.properties["message_id"]
        message.timeout = options.timeout
        call: RpcCall = self.publish(message)
        return call

    def get_dependency(self, ctx: WorkerContext) -> "ClusterClient | ServiceClient":
        """Give the worker a client that sends the worker's context data along."""
        return ClusterClient(self, ctx)


class ServiceRpc(ClusterRpc):
    """Injects a client for one service: ``self.products.price(sku)``.

    Args:
        service_name: The service to call.
        options: As for :class:`ClusterRpc`.
    """

    def __init__(self, service_name: str, **options: Any) -> None:
        super().__init__(**options)
        self.service_name = service_name

    def get_dependency(self, ctx: WorkerContext) -> "ServiceClient":
        """Give the worker a client that sends the worker's context data along."""
        return ServiceClient(self, ctx, self.service_name)


class ClusterClient:
    """What :class:`ClusterRpc` injects: its attributes and items are clients for services."""

    def __init__(self, provider: Caller, ctx: Any) -> None:
        self._provider = provider
        self._ctx = ctx

    def __getitem__(self, service_name: str) -> "ServiceClient":
        return ServiceClient(self._provider, self._ctx, service_name)

    def __getattr__(self, service_name: str) -> "ServiceClient":
        if service_name.startswith("__"):
            raise AttributeError(service_name)
        return self[service_name]


class ServiceClient:
    """What :class:`ServiceRpc` injects: its attributes and items are the service's methods."""

    def __init__(self, provider: Caller, ctx: Any, service_name: str) -> None:
        self._provider = provider
        self._ctx = ctx
        self._service_name = service_name

    def __getitem__(self, method_name: str) -> "MethodClient":
        return MethodClient(self._provider, self._ctx, f"{self._service_name}.{method_name}", self._provider.options)

    def __getattr__(self, method_name: str) -> "MethodClient":
        if method_name.startswith("__"):
            raise AttributeError(method_name)
        return self[method_name]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(
            f"service {self._service_name!r} cannot be called without naming a method: client.method(...) "
            'or client["method"](...)'
        )


class MethodClient:
    """A remote method: call it and wait, or start it with :meth:`call_async`."""

    __slots__ = ("_ctx", "_options", "_provider", "_routing_key")

    def __init__(self, provider: Caller, ctx: Any, routing_key: str, options: Any) -> None:
        self._provider = provider
        self._ctx = ctx
        self._routing_key = routing_key
        self._options = options

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its result; raises as :meth:`RpcCall.result` does."""
        return self._provider.start_call(self._ctx, self._routing_key, args, kwargs, self._options).result()

    def call_async(self, *args: Any, **kwargs: Any) -> RpcCall:
        """Start a call; its ``result()`` waits.

        Raises:
            ConnectionLost: The broker did not come back within the call's time-out; nothing was sent.
            UnserializableValueError: An argument cannot be encoded.
            MessageTooLarge: The request is too large.
        """
        return self._provider.start_call(self._ctx, self._routing_key, args, kwargs, self._options)

    def with_options(self, **changes: Any) -> Self:
        """Give the same method with other options, such as ``timeout=2``; those that it has already stay."""
        options = self._provider.make_options({**self._options.given, **changes})
        return type(self)(self._provider, self._ctx, self._routing_key, options)
