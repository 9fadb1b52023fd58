"""nameko's standalone RPC clients, under the names of version 2 and of version 3, on rpcservice's."""

from collections.abc import Mapping
from typing import Any

from rpcservice.amqp.requests import begin_call
from rpcservice.compat.nameko import _clients
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.exceptions import nameko_errors
from rpcservice.compat.nameko.standalone._arguments import take_config
from rpcservice.core.context import new_id
from rpcservice.standalone.rpc import CallContext, RpcClient

__all__ = (
    "ClusterRpcClient",
    "ClusterRpcProxy",
    "ServiceRpcClient",
    "ServiceRpcProxy",
)

_OWN_CHOICE = ("correlation_id", "declare", "exchange", "mandatory", "reply_to", "retry", "retry_policy", "routing_key")
"""Options of publishers that requests do not have: the client chooses them itself, and connects again by itself."""
_ONE_CONNECTION = "the clients of this module wait for replies in any number of threads by themselves"

__getattr__ = missing_names(
    __name__,
    dict.fromkeys(
        ("ConsumeEvent", "PollingQueueConsumer", "ReplyListener", "SingleThreadedReplyListener", "StandaloneProxyBase"),
        _ONE_CONNECTION,
    )
    | {"ClusterProxy": "ClusterRpcClient gives what leads to the services, by `with` or start()"},
)


class Client(_clients.Client):
    """A client for all services, for one, or for one method: its attributes and items lead on to the next."""

    def __init__(
        self,
        client: "ClusterRpcClient",
        context: CallContext,
        service_name: str | None = None,
        method_name: str | None = None,
    ) -> None:
        self._client = client
        self._context = context
        self.service_name = service_name
        self.method_name = method_name

    @property
    def _worker_ctx(self) -> CallContext:
        """What stands for a worker's context, under its name in nameko 2; django-nameko changes its ``data``."""
        return self._context

    @property
    def context_data(self) -> Mapping[str, Any]:  # type: ignore[override]  # made anew for each call
        """What travels with a call."""
        return self._context.context_data

    def __getattr__(self, name: str) -> "Client":
        if self.method_name is not None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        if self.service_name is None:
            return Client(self._client, self._context, name)
        return Client(self._client, self._context, self.service_name, name)

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        if not self.fully_specified:
            raise ValueError(f"Cannot call unspecified method {self.identifier}")
        return self._client.start_call(self._context, self.identifier, args, kwargs)


class RpcCall:
    """A call that has been sent; its attributes are those of rpcservice's own.

    Args:
        call: That one.
    """

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    @nameko_errors()
    def result(self, timeout: float | None = None) -> Any:
        """Wait for the reply and give the result; may be called again, and raises the same again.

        Args:
            timeout: Seconds to wait; None as long as the call may take.

        Raises:
            RemoteError: The method raised; or its own class, if that is registered.
            UnknownService: Nothing is bound for the service.
            RpcTimeout: There is no reply in time.
            ConnectionLost: The connection to the broker broke meanwhile.
        """
        return self._call.result(timeout)


class ClusterRpcClient(RpcClient):
    """Calls any service: ``with ClusterRpcClient() as rpc: rpc.orders.place(sku)``.

    Args:
        arguments: A configuration (of nameko 2), ``context_data``, which travels with each call, and ``timeout``, the
            seconds that a call may take; None is without end.
        options: The same by name; ``uri``, ``ssl``, ``login_method``, ``serializer`` and other options of publishers.

    Raises:
        ConfigurationError: The configuration is wrong.
        TypeError: There is no such option.
    """

    service_name: str | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        settings, others = take_config(arguments, options)
        for name, value in zip(("context_data", "timeout", "reply_listener_cls"), others, strict=False):
            if name in options:
                raise TypeError(f"{type(self).__name__} got two values for {name}")
            options[name] = value
        if options.pop("reply_listener_cls", None) is not None:
            raise TypeError(f"reply_listener_cls has no meaning here: {_ONE_CONNECTION}; leave it out")
        for name in _OWN_CHOICE:
            options.pop(name, None)
        options.setdefault("timeout", None)
        super().__init__(settings, **options)
        self.uuid = new_id()

    @property
    def client(self) -> Client:
        """What :meth:`start` gives."""
        return Client(self, self._context(self._context_data), self.service_name)

    @nameko_errors()
    def start_call(self, context: CallContext, routing_key: str, args: Any, kwargs: Any) -> "RpcCall":
        """Send a request; gives the call, whose ``result()`` waits."""
        return RpcCall(begin_call(self._caller, context, routing_key, args, kwargs, self._caller.options))

    @nameko_errors()
    def start(self) -> Client:
        """Connect, and give what calls go through.

        Raises:
            BrokerUnavailable: The broker could not be reached within 10 seconds.
        """
        self._keep()
        return self.client

    @nameko_errors()
    def __enter__(self) -> Client:
        self._enter()
        return self.client

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


class ServiceRpcClient(ClusterRpcClient):
    """Calls one service: ``with ServiceRpcClient("orders") as orders: orders.place(sku)``.

    Args:
        service_name: The service.
        arguments: As for :class:`ClusterRpcClient`.
        options: As for :class:`ClusterRpcClient`.
    """

    def __init__(self, service_name: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.service_name = service_name


ClusterRpcProxy = ClusterRpcClient
ServiceRpcProxy = ServiceRpcClient
