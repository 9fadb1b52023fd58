"""ClusterRpcClient and ServiceRpcClient: calls from programs that are no services."""

from collections.abc import Mapping
from typing import Any

from rpcservice.amqp.clients import ClusterClient, ClusterRpc, MethodClient, RpcOptions, ServiceClient
from rpcservice.amqp.rpccall import RpcCall
from rpcservice.concurrency import Backend
from rpcservice.core.callpolicy import POLICY_OPTIONS, CallPolicies, CallPolicy, make_policies, take_policy_options
from rpcservice.core.context import CALL_ID_STACK, new_id
from rpcservice.standalone.session import CLIENT_NAME, GivenConfig, Session, Standalone, client_settings


class CallContext:
    """Stands for a worker's context: what travels with each call, and a call id for each.

    Args:
        prefix: What the call ids begin with.
        data: The context data; a call stack in it goes on.
        calls_tracked: The greatest length of the call stack.

    Attributes:
        data: The context data; what is changed in it travels with the calls that follow.
        deadline: There is none beside the time-out of each call.
    """

    deadline: float | None = None

    def __init__(self, prefix: str, data: Mapping[str, Any] | None, calls_tracked: int) -> None:
        self._prefix = prefix
        self.data = dict(data or {})
        self._parents = tuple(self.data.get(CALL_ID_STACK) or ())
        self._calls_tracked = calls_tracked

    @property
    def context_data(self) -> dict[str, Any]:
        """The context data of one call."""
        stack = [*self._parents, f"{self._prefix}.{new_id()}"]
        return {**self.data, CALL_ID_STACK: stack[-self._calls_tracked :]}


class CallOptions:
    """The options of a method, checked; made into what is sent once a session.

    Args:
        given: What is to be different from the client's own options.
        policy: How calls are carried out; it outlives sessions.
    """

    __slots__ = ("given", "made", "policy")

    def __init__(self, given: Mapping[str, Any], policy: CallPolicy | None) -> None:
        self.given = given
        self.policy = policy
        self.made: tuple[ClusterRpc, RpcOptions] | None = None

    def of(self, provider: ClusterRpc) -> RpcOptions:
        """Give what a session's calls are sent with."""
        made = self.made
        if made is None or made[0] is not provider:
            given = {name: value for name, value in self.given.items() if name not in POLICY_OPTIONS}
            self.made = made = provider, provider.make_options(given)
        return made[1]


class SessionCaller:
    """What a client's proxies send by: finds the session of this process for each call."""

    def __init__(self, client: "RpcClient", policy_options: Mapping[str, Any]) -> None:
        self._client = client
        self._policy_options = policy_options
        self._policies: CallPolicies | None = None
        self.options = self.make_options({})

    @property
    def backend(self) -> Backend:
        """On what the client runs."""
        return self._client._make_backend()

    @property
    def can_send(self) -> bool:
        """Whether requests may be sent: not when the client has been stopped."""
        return not self._client._is_stopped

    @property
    def circuits(self) -> tuple[Any, ...]:
        """The circuits of the client's breakers, one for each service called."""
        return () if self._policies is None else self._policies.circuits

    def make_options(self, changes: Mapping[str, Any]) -> CallOptions:
        """Give the client's options with changes.

        Raises:
            TypeError: There is no such option.
        """
        given = ClusterRpc.check(dict(changes))
        return CallOptions(given, self._make_policy(take_policy_options({**self._policy_options, **given})))

    def _make_policy(self, options: Mapping[str, Any]) -> CallPolicy | None:
        if not options:
            return None
        with self._client._guard:
            if self._policies is None:
                self._policies = make_policies(self.backend, None)
        return self._policies.make(options)

    def start_call(
        self, ctx: CallContext, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> RpcCall:
        """Send a request, for which the client may have to connect; gives the call, to be waited for."""
        provider, made = self.reach(options)
        context: Any = ctx
        return provider.start_call(context, routing_key, args, kwargs, made)

    def reach(self, options: CallOptions) -> tuple[ClusterRpc, RpcOptions]:
        """Give what sends requests in the session of this process, which may have to be started."""
        session, provider = self._client._use()
        made = options.of(provider)
        if not session.is_up:
            session.wait_until_up(made.timeout)
        return provider, made


class RpcClient(Standalone[ClusterRpc]):
    """What the two clients have in common."""

    _provider_class = ClusterRpc
    _caller_class = SessionCaller

    def __init__(
        self,
        config: GivenConfig = None,
        *,
        context_data: Mapping[str, Any] | None = None,
        uri: str | None = None,
        ssl: bool | Mapping[str, Any] | None = None,
        login_method: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(client_settings(config, uri, ssl, login_method), CLIENT_NAME)
        policy_options = take_policy_options(options)
        if "prefer_local" in options:
            raise TypeError("prefer_local is for the clients of services: a program that is none hosts none")
        self._provider = self._provider_class(**options)
        self._prefix = f"{CLIENT_NAME}.{new_id()}"
        self._context_data = dict(context_data or {})
        self._caller = self._caller_class(self, policy_options)

    @property
    def circuits(self) -> tuple[Any, ...]:
        """The circuits of the client's breakers, one for each service called, with ``service_name`` and ``state``."""
        return self._caller.circuits

    def _bind(self, session: Session) -> ClusterRpc:
        host: Any = session
        provider = self._provider.bind(host, "rpc")
        provider.setup()
        return provider

    def _context(self, data: Mapping[str, Any]) -> CallContext:
        return CallContext(self._prefix, data, self._config.parent_calls_tracked + 1)


class ClusterRpcClient(RpcClient):
    """Calls any service: ``with ClusterRpcClient(config) as rpc: rpc.orders.place(sku)``.

    The client itself may be used as its proxy, ``client.orders.place(sku)``; a service that is named as a method of
    the client is an item of it, ``client["start"]``.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        context_data: What travels with each call: language, user_id ...
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        options: ``timeout``, the seconds that a call may take (not given, ``rpc_timeout`` holds; None waits for
            ever), ``serializer``, ``headers``, ``priority``, ``delivery_mode``, ``expiration`` (seconds), ``retry``,
            ``breaker``, ``max_in_flight``, ``fallback``.

    Raises:
        ConfigError: The configuration is wrong.
        TypeError: There is no such option.
    """

    @property
    def proxy(self) -> ClusterClient:
        """What :meth:`start` gives, without connecting: the first call does that."""
        return self.with_context(self._context_data)

    def with_context(self, context_data: Mapping[str, Any]) -> ClusterClient:
        """Give a proxy on the same connection whose calls take other context data along."""
        return ClusterClient(self._caller, self._context(context_data))

    def start(self) -> ClusterClient:
        """Connect and give the proxy, whose attributes and items are the services.

        Raises:
            BrokerUnavailable: The broker could not be reached within ``startup_timeout``, here 10 seconds unless the
                configuration says otherwise.
        """
        self._keep()
        return self.proxy

    def __getitem__(self, service_name: str) -> ServiceClient:
        return self.proxy[service_name]

    def __getattr__(self, service_name: str) -> ServiceClient:
        if service_name.startswith("_"):
            raise AttributeError(service_name)
        return self.proxy[service_name]

    def __enter__(self) -> ClusterClient:
        self._enter()
        return self.proxy

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


class ServiceRpcClient(RpcClient):
    """Calls one service: ``with ServiceRpcClient("orders", config) as orders: orders.place(sku)``.

    As with :class:`ClusterRpcClient`, the client itself may be used as its proxy.

    Args:
        service_name: The service.
        config: As for :class:`ClusterRpcClient`.
        options: As for :class:`ClusterRpcClient`.
    """

    def __init__(self, service_name: str, config: GivenConfig = None, **options: Any) -> None:
        super().__init__(config, **options)
        self.service_name = service_name

    @property
    def proxy(self) -> ServiceClient:
        """What :meth:`start` gives, without connecting: the first call does that."""
        return self.with_context(self._context_data)

    def with_context(self, context_data: Mapping[str, Any]) -> ServiceClient:
        """Give a proxy on the same connection whose calls take other context data along."""
        return ServiceClient(self._caller, self._context(context_data), self.service_name)

    def start(self) -> ServiceClient:
        """Connect and give the proxy, whose attributes and items are the service's methods.

        Raises:
            BrokerUnavailable: As for :meth:`ClusterRpcClient.start`.
        """
        self._keep()
        return self.proxy

    def __getitem__(self, method_name: str) -> MethodClient:
        return self.proxy[method_name]

    def __getattr__(self, method_name: str) -> MethodClient:
        if method_name.startswith("_"):
            raise AttributeError(method_name)
        return self.proxy[method_name]

    def __enter__(self) -> ServiceClient:
        self._enter()
        return self.proxy

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


ClusterRpcProxy = ClusterRpcClient
ServiceRpcProxy = ServiceRpcClient
