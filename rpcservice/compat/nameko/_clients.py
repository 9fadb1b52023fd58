"""What services call others by: nameko 3's Client and RpcCall, and 2's proxies, which stand on them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from rpcservice.amqp.message import headers_from_context
from rpcservice.compat.nameko.amqp.publish import Publisher, UndeliverableMessage
from rpcservice.compat.nameko.exceptions import UnknownService, deserialize
from rpcservice.core.context import new_id

ANYTHING = "*"


class RpcCall:
    """One request and its reply.

    Args:
        correlation_id: The id of the call.
        send_request: Sends a payload.
        get_response: Waits for the reply and gives its body.
    """

    _response: Mapping[str, Any] | None = None

    def __init__(
        self, correlation_id: str, send_request: Callable[..., Any], get_response: Callable[[], Mapping[str, Any]]
    ) -> None:
        self.correlation_id = correlation_id
        self._send_request = send_request
        self._get_response = get_response

    @property
    def reply_event(self) -> Any:
        """What is waited for, as nameko 2's :class:`RpcReply` takes it."""
        return self._get_response

    def send_request(self, *args: Any, **kwargs: Any) -> None:
        """Send the request with the arguments of the method."""
        self._send_request({"args": args, "kwargs": kwargs})

    def get_response(self) -> Mapping[str, Any]:
        """Wait for the reply; gives its body, a mapping with ``result`` and ``error``."""
        if self._response is None:
            self._response = self._get_response()
        return self._response

    def result(self) -> Any:
        """Wait for the reply and give the result; may be called again, and raises the same again.

        Raises:
            RemoteError: The method raised; or its own class, if that is registered.
            UnknownService: Nothing is bound for the service.
            ConnectionLost: The connection to the broker broke meanwhile.
        """
        response = self.get_response()
        error = response.get("error")
        if error:
            raise deserialize(error)
        return response["result"]


class RpcReply(RpcCall):
    """The reply to one request, of nameko 2.

    Args:
        reply_event: Its ``wait()`` gives the body of the reply.
    """

    def __init__(self, reply_event: Any) -> None:
        super().__init__("", _send_nothing, reply_event.wait)
        self._event = reply_event

    @property
    def reply_event(self) -> Any:
        """What is waited for."""
        return self._event

    @property
    def resp_body(self) -> Mapping[str, Any] | None:
        """The body of the reply, once it was waited for."""
        return self._response


def _send_nothing(payload: Any) -> None:
    raise RuntimeError("the request of an RpcReply has been sent already")


class Client:
    """A client for all services, for one, or for one method: its attributes and items lead on to the next.

    Args:
        publish: Sends a request.
        register_for_reply: Called with a correlation id; gives a function that waits for the reply.
        context_data: Travels with each request.
        service_name: The service; None for a client for all of them.
        method_name: The method; None for a client for all of them.
    """

    worker_ctx: Any = None
    """The worker that the client was made for."""
    service_name: str | None = None
    method_name: str | None = None

    def __init__(
        self,
        publish: Callable[..., Any],
        register_for_reply: Callable[[str], Callable[[], Mapping[str, Any]]],
        context_data: Mapping[str, Any],
        service_name: str | None = None,
        method_name: str | None = None,
    ) -> None:
        self.publish = publish
        self.register_for_reply = register_for_reply
        self.context_data = context_data
        self.service_name = service_name
        self.method_name = method_name

    def __getattr__(self, name: str) -> "Client":
        if self.method_name is not None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        if self.service_name:
            return MethodProxy.of(self, name)
        client = Client(self.publish, self.register_for_reply, self.context_data, name)
        client.worker_ctx = self.worker_ctx
        return client

    def __getitem__(self, name: str) -> "Client":
        client: Client = getattr(self, name)
        return client

    @property
    def fully_specified(self) -> bool:
        """Whether both service and method are known."""
        return self.service_name is not None and self.method_name is not None

    @property
    def identifier(self) -> str:
        """Service and method, with a star for what is not known."""
        return f"{self.service_name or ANYTHING}.{self.method_name or ANYTHING}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its result."""
        return self._call(*args, **kwargs).result()

    def call_async(self, *args: Any, **kwargs: Any) -> RpcCall:
        """Start a call; its ``result()`` waits."""
        return self._call(*args, **kwargs)

    def _call(self, *args: Any, **kwargs: Any) -> RpcCall:
        if self.service_name is None or self.method_name is None:
            raise ValueError(f"Cannot call unspecified method {self.identifier}")
        correlation_id = new_id()
        send_request = partial(
            self.publish,
            routing_key=f"{self.service_name}.{self.method_name}",
            mandatory=True,
            correlation_id=correlation_id,
            extra_headers=headers_from_context(self.context_data),
        )
        call = RpcCall(correlation_id, send_request, self.register_for_reply(correlation_id))
        try:
            call.send_request(*args, **kwargs)
        except UndeliverableMessage as exc:
            raise UnknownService(self.service_name) from exc
        return call

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.identifier}>"


class MethodProxy(Client):
    """A client for one method; it may be made as in nameko 2.

    Args:
        worker_ctx: The worker that calls.
        service_name: The service.
        method_name: Its method.
        reply_listener: Where replies come in.
        options: Of the publisher.
    """

    publisher_cls: type[Any] = Publisher

    def __init__(
        self, worker_ctx: Any, service_name: str, method_name: str, reply_listener: Any, **options: Any
    ) -> None:
        publisher, register_for_reply = reply_listener.make_publisher(self.publisher_cls, options)
        super().__init__(
            publisher.publish,
            register_for_reply,
            worker_ctx.context_data,
            service_name,
            method_name,
        )
        self.worker_ctx = worker_ctx
        self.reply_listener = reply_listener
        self.publisher = publisher

    @classmethod
    def of(cls, client: Client, method_name: str) -> Self:
        """Give the client for a method of the service that a client is for."""
        made = cls.__new__(cls)
        Client.__init__(
            made,
            client.publish,
            client.register_for_reply,
            client.context_data,
            client.service_name,
            method_name,
        )
        made.worker_ctx = client.worker_ctx
        return made

    @property
    def container(self) -> Any:
        """The container of the worker that calls."""
        return self.worker_ctx.container


class ServiceProxy:
    """A client for one service, made as in nameko 2.

    Args:
        worker_ctx: The worker that calls.
        service_name: The service.
        reply_listener: Where replies come in.
        options: Of the publisher.
    """

    def __init__(self, worker_ctx: Any, service_name: str, reply_listener: Any, **options: Any) -> None:
        self.worker_ctx = worker_ctx
        self.service_name = service_name
        self.reply_listener = reply_listener
        self.options = options

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return MethodProxy(self.worker_ctx, self.service_name, name, self.reply_listener, **self.options)
