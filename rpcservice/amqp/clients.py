"""ServiceRpc and ClusterRpc, the dependencies that call other services, and what they inject."""

from collections.abc import Mapping
from time import time
from typing import Any, Self

from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.link import Message
from rpcservice.amqp.localcalls import LocalCalls, LocalServices
from rpcservice.amqp.message import DEADLINE, check_timeout, time_left
from rpcservice.amqp.options import Publication, PublishOptions
from rpcservice.amqp.replies import ReplyListener
from rpcservice.amqp.requests import Caller, Request, begin_call
from rpcservice.amqp.rpccall import RepeatedCall, RpcCall
from rpcservice.concurrency import Backend
from rpcservice.core.callpolicy import (
    POLICY_OPTIONS,
    CallPolicies,
    CallPolicy,
    check_policy_options,
    make_policies,
    take_policy_options,
)
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider


class Repetition(Publication):
    """A request that was sent before."""

    __slots__ = ()


class RpcOptions(PublishOptions):
    """What a client's calls have in common.

    Attributes:
        given: What is to be different from the client's own options.
        policy: How calls are carried out; None where they are just sent.
        timeout: Seconds that a call may take; None is without end.
    """

    given: Mapping[str, Any]
    policy: CallPolicy | None

    def copy(self, message: Publication, was_sent: bool) -> Publication:
        """Give a request once more, with the same ids, for a reply to wherever these options have it.

        Args:
            message: The request.
            was_sent: Such a copy was sent before.
        """
        properties = {**message.properties, "reply_to": self.properties["reply_to"]}
        properties["headers"] = dict(properties["headers"])
        cls = Repetition if was_sent else Publication
        copy = cls(message.exchange, message.routing_key, message.body, properties, message.mandatory)
        copy.options = self
        return copy


class ClusterRpc(DependencyProvider):
    """Injects a client for any service: ``self.cluster["products"].price(sku)``, or ``self.cluster.products...``.

    Args:
        timeout: Seconds that a call may take; not given, ``rpc_timeout`` holds; None waits for ever.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``, for that broker.
        login_method: As ``LOGIN_METHOD``, for that broker.
        prefer_local: Call services that run in the same process without the broker.
        options: ``serializer``, ``compression``, ``headers``, ``extra_headers``, ``priority``, ``delivery_mode``,
            ``expiration`` (seconds); ``use_confirms`` has no effect, for the reply is the confirmation. ``retry``,
            ``breaker``, ``max_in_flight`` and ``fallback`` say what becomes of calls that get no answer; with ``retry``
            the ``timeout`` is that of one attempt.
    """

    _OPTIONS = frozenset(
        (
            *POLICY_OPTIONS,
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
        prefer_local: bool = False,
        **options: Any,
    ) -> None:
        if not isinstance(prefer_local, bool):
            raise TypeError(f"prefer_local={prefer_local!r}: give True or False")
        self._prefer_local = prefer_local
        self._uri = uri
        self._ssl = ssl
        self._login_method = login_method
        self._given = self.check(options)

    @classmethod
    def check(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Give options back that a client may have.

        Raises:
            TypeError: There is no such option, or it is something else than it may be.
            ValueError: A number is out of its range.
        """
        for name in options:
            if name not in cls._OPTIONS:
                raise TypeError(f"{name!r} is no option of an RPC client; there are: {', '.join(sorted(cls._OPTIONS))}")
        if "timeout" in options:
            options["timeout"] = check_timeout(options["timeout"], "to wait for ever")
        check_policy_options(options)
        return options

    def setup(self) -> None:
        """Ask for the reply queue of the connection."""
        key = connection_key(self.bound_to.config, uri=self._uri, ssl=self._ssl, login_method=self._login_method)
        self.replies = self.bound_to.resource(ReplyListener, key)
        self.exchange = self.bound_to.config.rpc_exchange
        self.skew = self.bound_to.config.clock_skew
        self._policies: CallPolicies | None = None
        self.options = self.make_options({})
        publish = self._publish
        # What runs here takes its requests from the broker that the configuration names.
        if self._prefer_local and key == connection_key(self.bound_to.config):
            self._local = LocalCalls(self.bound_to.resource(LocalServices), self.replies)
            publish = self._publish_here
        self.publish = self.bound_to.around("publish", publish)

    @property
    def backend(self) -> Backend:
        """On what the client runs."""
        return self.bound_to.backend

    @property
    def can_send(self) -> bool:
        """Whether requests may be sent: not when the process is stopping."""
        return not self.replies.connection.is_stopping

    @property
    def circuits(self) -> tuple[Any, ...]:
        """The circuits of the client's breakers, one for each service called, with ``service_name`` and ``state``."""
        return () if self._policies is None else self._policies.circuits

    def make_options(self, changes: Mapping[str, Any]) -> RpcOptions:
        """Give the options of this client with changes."""
        options = {**self._given, **self.check(dict(changes))}
        timeout = check_timeout(options.pop("timeout", self.bound_to.config.rpc_timeout), "to wait for ever")
        policy = self._make_policy(take_policy_options(options))
        made = RpcOptions(self.replies.codecs, options, self._OPTIONS, "an RPC client")
        made.given, made.policy, made.timeout, made.mandatory = changes, policy, timeout, True
        made.properties["reply_to"] = self.replies.routing_key
        return made

    def _make_policy(self, options: Mapping[str, Any]) -> CallPolicy | None:
        if not options:
            return None
        if self._policies is None:
            self._policies = make_policies(self.backend, getattr(self.bound_to, "service_cls", None))
        return self._policies.make(options)

    def _publish(self, message: Message) -> RpcCall:
        service_name, _, method_name = message.routing_key.rpartition(".")
        call_cls = RepeatedCall if type(message) is Repetition else RpcCall
        return self.replies.send(message, service_name, method_name, message.timeout, call_cls)

    def _publish_here(self, message: Message) -> RpcCall:
        service_name, _, method_name = message.routing_key.rpartition(".")
        call = self._local.start(message, service_name, method_name, type(message) is Repetition)
        return self._publish(message) if call is None else call

    def start_call(
        self, ctx: WorkerContext, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: RpcOptions
    ) -> RpcCall:
        """Send a request; gives the call, to be waited for."""
        message = options.message(self.exchange, routing_key, {"args": args, "kwargs": kwargs}, ctx.context_data)
        return self.send(message, ctx.deadline, options)

    def send(self, message: Message, deadline: float | None, options: RpcOptions) -> RpcCall:
        """Send a request, once.

        Args:
            message: The request.
            deadline: Until when somebody waits for what it is for, in seconds since 1970; None where nobody says.
            options: What it goes with.
        """
        timeout = options.timeout if deadline is None else time_left(deadline, options.timeout, self.skew)
        properties = message.properties
        properties["correlation_id"] = properties["message_id"]
        message.timeout = timeout
        if timeout is not None:
            until = time() + timeout
            # What is allowed for clocks that differ must not add up from call to call.
            properties["headers"][DEADLINE] = int(1000 * (until if deadline is None else min(until, deadline)))
        call: RpcCall = self.publish(message)
        return call

    def reach(self, options: RpcOptions) -> "tuple[ClusterRpc, RpcOptions]":
        """Give itself."""
        return self, options

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
        """Say that a method has to be named."""
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
        options = self._options
        if options.policy is not None:
            return options.policy.call(Request(self._provider, self._ctx, self._routing_key, args, kwargs, options))
        return self._provider.start_call(self._ctx, self._routing_key, args, kwargs, options).result()

    def call_async(self, *args: Any, **kwargs: Any) -> RpcCall:
        """Start a call; its ``result()`` waits.

        Raises:
            ConnectionLost: The broker did not come back within the call's time-out; nothing was sent.
            UnserializableValueError: An argument cannot be encoded.
            MessageTooLarge: The request is too large.
            CircuitOpen: The client's breaker is open; nothing was sent.
            TooManyCalls: ``max_in_flight`` calls are under way; nothing was sent.
        """
        call: RpcCall = begin_call(self._provider, self._ctx, self._routing_key, args, kwargs, self._options)
        return call

    def with_options(self, **changes: Any) -> Self:
        """Give the same method with other options, such as ``timeout=2``; those that it has already stay."""
        options = self._provider.make_options({**self._options.given, **changes})
        return type(self)(self._provider, self._ctx, self._routing_key, options)
