"""Clients for programs that are no services: RPC and events from scripts, web applications, management commands.

They need no patching and no eventlet. One client, with one connection and one reply queue, serves any number of
threads. A client may be made, and even used, before a fork: each process connects for itself.
"""

import atexit
import copy
import os
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from rpcservice.amqp.connection import AmqpConnection, connection_key
from rpcservice.amqp.events import EventDispatcher, make_event_exchange
from rpcservice.amqp.replies import RpcCall
from rpcservice.amqp.rpc import ClusterClient, ClusterRpc, RpcOptions, ServiceClient
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.amqp.topology import Declarations
from rpcservice.concurrency import Backend, Lock, for_clients, threads
from rpcservice.config import Settings, make_settings
from rpcservice.core.context import CALL_ID_STACK, new_id
from rpcservice.core.resource import Resource, Resources
from rpcservice.errors import ConfigError, ConnectionLost

__all__ = ("ClusterRpcClient", "ClusterRpcProxy", "ServiceRpcClient", "ServiceRpcProxy", "event_dispatcher")

R = TypeVar("R", bound=Resource)
P = TypeVar("P")

CLIENT_NAME = "standalone_rpc_client"
"""With what the call ids of clients begin."""
BROKER_WAIT = 10.0
"""Seconds that a client waits for the broker when it starts, unless the configuration says otherwise."""

GivenConfig = Mapping[str, Any] | Settings | None


def client_settings(
    config: GivenConfig,
    uri: str | None = None,
    ssl: bool | Mapping[str, Any] | None = None,
    login_method: str | None = None,
) -> Settings:
    """Give the settings of a client.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        uri: Another broker than ``AMQP_URI``; then ``AMQP_SSL`` is not for it.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.

    Raises:
        ConfigError: One of them is wrong.
    """
    settings = make_settings({} if config is None else config)
    if settings is not config and "startup_timeout" not in settings.raw:
        settings = replace(settings, startup_timeout=BROKER_WAIT)
    changes: dict[str, Any] = {}
    if uri is not None:
        changes = {"AMQP_URI": uri, "AMQP_SSL": None}
    if ssl is not None:
        changes["AMQP_SSL"] = ssl
    if login_method is not None:
        changes["LOGIN_METHOD"] = login_method
    checked = make_settings({"link": settings.link, **changes}, "client")
    return replace(settings, **{name.lower(): getattr(checked, name.lower()) for name in changes})


class Session:
    """What a client has in one process while it is started, and the host that its providers are bound to.

    Attributes:
        pid: The process.
        is_up: It is connected, or connects again by itself.
        has_ended: It was stopped, or could not be started: the next one is another session.
    """

    def __init__(self, config: Settings, service_name: str, backend: Backend) -> None:
        self.config = config
        self.service_name = service_name
        self.backend = backend
        self.resources = Resources(config, self.backend)
        self.pid = os.getpid()
        self.is_up = False
        self.has_ended = False
        self.guard = self.backend.guard()
        self._is_starting = False
        self._tried = self.backend.event()
        self._error: Exception | None = None

    def resource(self, cls: type[R], key: Hashable = None) -> R:
        """Give this session's one instance of a resource for that key."""
        return self.resources.get(cls, key)

    def around(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Give the call itself: there are no hooks."""
        return call

    def in_the_name_of(self, service_name: str) -> Any:
        """Give the same host under another service's name."""
        named = copy.copy(self)
        named.service_name = service_name
        return named

    def check_home(self) -> None:
        """Say that greenlets of one thread serve no other.

        Raises:
            ConfigError: The caller is another thread than the one that the client's greenlets run in.
        """
        if not self.backend.is_home():
            raise ConfigError(
                "this client runs on greenlets of another thread, since the process is patched by eventlet or its "
                "broker is embedded; make a client for each such thread"
            )

    def wait_until_up(self, timeout: float | None) -> None:
        """Start, unless that has been done, and wait until it is.

        Args:
            timeout: Seconds to wait; the start goes on after that. None waits for its end.

        Raises:
            BrokerUnavailable: The broker could not be reached within ``startup_timeout``.
            ConnectionLost: It is not up in time; nothing was sent.
        """
        with self.guard:
            is_first, self._is_starting = not self._is_starting, True
        if is_first:
            self.backend.spawn(self._start)
        if not self._tried.wait(timeout):
            raise ConnectionLost(f"nothing was sent: the client is not connected yet, after {timeout:g} s")
        if self._error is not None:
            raise self._error

    def _start(self) -> None:
        try:
            self.resources.start()
            self.is_up = True
            atexit.register(self.stop)
        except Exception as exc:
            self._error = exc
            self.has_ended = True
            self.resources.kill()
        finally:
            self._tried.set()

    def stop(self) -> None:
        """Say goodbye to the broker; calls under way fail."""
        self._end(self.resources.stop if self.is_up else self.resources.kill)

    def abandon(self) -> None:
        """End without waiting: the client has gone, and nobody has stopped it."""
        if self.is_up and not self.has_ended and self.pid == os.getpid():
            warnings.warn("a standalone client was dropped without stop()", ResourceWarning, stacklevel=2)
            self._end(self.resources.kill)

    def let_go(self) -> None:
        """Close what a fork has brought from the parent, without a word to the broker: the parent goes on."""
        for resource in self.resources:
            if isinstance(resource, AmqpConnection):
                resource.let_go()

    def _end(self, end: Callable[[], None]) -> None:
        self.has_ended = True
        self.is_up = False
        if self.pid == os.getpid():
            atexit.unregister(self.stop)
            end()


class _Standalone(Generic[P]):
    """What standalone clients have in common: they connect when they are first used, or started.

    ``start`` and ``stop``, or a ``with`` block; blocks may be nested and may overlap, in threads, and the end of the
    last one stops, unless ``start`` has been called. After a fork each process connects for itself.
    """

    def __init__(self, config: Settings, service_name: str) -> None:
        self._config = config
        self._name = service_name
        self._bound: tuple[Session, P] | None = None
        # One a process: in a forked one, nobody would give back what another thread held at the fork.
        self._guards: dict[int, Lock] = {}
        self._blocks = 0
        self._is_kept = False
        self._is_stopped = False

    def _bind(self, session: Session) -> P:
        """Give what uses a session; nothing is connected yet."""
        raise NotImplementedError

    def _make_backend(self) -> Backend:
        """Give what the connection of a session is to run on."""
        return for_clients(is_embedded=self._config.amqp_uri.startswith("memory:"))

    @property
    def _guard(self) -> Lock:
        pid = os.getpid()
        return self._guards.get(pid) or self._guards.setdefault(pid, threads().guard())

    def _use(self) -> tuple[Session, P]:
        """Give the session of this process, which may have to be started, and what uses it."""
        bound = self._bound
        if bound is None or bound[0].has_ended or bound[0].pid != os.getpid():
            bound = self._renew()
        bound[0].check_home()
        return bound

    def _renew(self) -> tuple[Session, P]:
        with self._guard:
            bound = self._bound
            if bound is not None and bound[0].pid != os.getpid():
                bound[0].let_go()
            elif bound is not None and not bound[0].has_ended:
                return bound
            if self._is_stopped:
                raise ConnectionLost("nothing was sent: this client has been stopped; start() it again")
            session = Session(self._config, self._name, self._make_backend())
            self._bound = bound = session, self._bind(session)
            weakref.finalize(self, session.abandon).atexit = False
            return bound

    def _connect(self) -> None:
        self._is_stopped = False
        self._use()[0].wait_until_up(None)

    def _keep(self) -> None:
        self._is_kept = True
        self._connect()

    def _enter(self) -> None:
        with self._guard:
            self._blocks += 1
        try:
            self._connect()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        with self._guard:
            self._blocks -= 1
            is_last = self._blocks <= 0 and not self._is_kept
        if is_last:
            self.stop()

    def stop(self) -> None:
        """Disconnect; calls under way fail with ConnectionLost. The client may be started again."""
        with self._guard:
            bound, self._bound = self._bound, None
            self._is_stopped, self._is_kept, self._blocks = True, False, 0
        if bound is not None:
            bound[0].stop()


class _CallContext:
    """Stands for a worker's context: what travels with each call, and a call id for each.

    Args:
        prefix: What the call ids begin with.
        data: The context data; a call stack in it goes on.
        calls_tracked: The greatest length of the call stack.
    """

    def __init__(self, prefix: str, data: Mapping[str, Any] | None, calls_tracked: int) -> None:
        self._prefix = prefix
        self._data = dict(data or {})
        self._parents = tuple(self._data.get(CALL_ID_STACK) or ())
        self._calls_tracked = calls_tracked

    @property
    def context_data(self) -> dict[str, Any]:
        """The context data of one call."""
        stack = [*self._parents, f"{self._prefix}.{new_id()}"]
        return {**self._data, CALL_ID_STACK: stack[-self._calls_tracked :]}


class _Options:
    """The options of a method, checked; made into what is sent once a session."""

    __slots__ = ("given", "made")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.made: tuple[ClusterRpc, RpcOptions] | None = None

    def of(self, provider: ClusterRpc) -> RpcOptions:
        made = self.made
        if made is None or made[0] is not provider:
            self.made = made = provider, provider.make_options(self.given)
        return made[1]


class _Caller:
    """What a client's proxies send by: finds the session of this process for each call."""

    def __init__(self, client: "_RpcClient") -> None:
        self._client = client
        self.options = _Options({})

    def make_options(self, changes: Mapping[str, Any]) -> _Options:
        return _Options(ClusterRpc.check(dict(changes)))

    def start_call(
        self, ctx: _CallContext, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: _Options
    ) -> RpcCall:
        session, provider = self._client._use()
        made = options.of(provider)
        if not session.is_up:
            session.wait_until_up(made.timeout)
        context: Any = ctx
        return provider.start_call(context, routing_key, args, kwargs, made)


class _RpcClient(_Standalone[ClusterRpc]):
    _provider_class = ClusterRpc
    _caller_class = _Caller

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
        self._provider = self._provider_class(**options)
        self._prefix = f"{CLIENT_NAME}.{new_id()}"
        self._context_data = dict(context_data or {})
        self._caller = self._caller_class(self)

    def _bind(self, session: Session) -> ClusterRpc:
        host: Any = session
        provider = self._provider.bind(host, "rpc")
        provider.setup()
        return provider

    def _context(self, data: Mapping[str, Any]) -> _CallContext:
        return _CallContext(self._prefix, data, self._config.parent_calls_tracked + 1)


class ClusterRpcClient(_RpcClient):
    """Calls any service: ``with ClusterRpcClient(config) as rpc: rpc.orders.place(sku)``.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        context_data: What travels with each call: language, user_id ...
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        options: ``timeout``, the seconds that a call may take (not given, ``rpc_timeout`` holds; None waits for
            ever), ``serializer``, ``headers``, ``priority``, ``delivery_mode``, ``expiration`` (seconds).

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

    def __enter__(self) -> ClusterClient:
        self._enter()
        return self.proxy

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


class ServiceRpcClient(_RpcClient):
    """Calls one service: ``with ServiceRpcClient("orders", config) as orders: orders.place(sku)``.

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

    def __enter__(self) -> ServiceClient:
        self._enter()
        return self.proxy

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


ClusterRpcProxy = ClusterRpcClient
ServiceRpcProxy = ServiceRpcClient


class _NoContext:
    """Stands for a worker's context where nothing travels with a message."""

    context_data: Mapping[str, Any] = {}


class _Sources:
    """Sends events in one session, in the name of any service."""

    def __init__(self, session: Session, dispatcher: EventDispatcher) -> None:
        self._session = session
        self._dispatcher = dispatcher
        self._dispatches: dict[str, Callable[..., None]] = {}
        # Here and not with the first event, for resources are started with the session.
        key = connection_key(session.config, publishes=True)
        session.resource(ConfirmedSender, key)
        self._declarations = session.resource(Declarations, key)

    def dispatch_of(self, service_name: str, timeout: float) -> Callable[..., None]:
        """Give a service's dispatch function; the first time, its exchange is declared."""
        dispatch = self._dispatches.get(service_name)
        if dispatch is None:
            exchange = make_event_exchange(self._session.config, service_name)
            self._declarations.ensure((exchange,), timeout)
            with self._session.guard:
                dispatch = self._dispatches.get(service_name) or self._bind(service_name)
        return dispatch

    def _bind(self, service_name: str) -> Callable[..., None]:
        bound = self._dispatcher.bind(self._session.in_the_name_of(service_name), "dispatch")
        bound.setup()
        nothing: Any = _NoContext
        dispatch = self._dispatches[service_name] = bound.get_dependency(nothing)
        return dispatch


class StandaloneDispatcher(_Standalone[_Sources]):
    """Sends events in the name of any service; made by :func:`event_dispatcher`."""

    _provider_class = EventDispatcher

    def __init__(self, config: Settings, options: Mapping[str, Any]) -> None:
        super().__init__(config, CLIENT_NAME)
        self._dispatcher = self._provider_class(**options)
        timeout = options.get("timeout")
        self._timeout: float = config.publish_timeout if timeout is None else timeout

    def _bind(self, session: Session) -> _Sources:
        return _Sources(session, self._dispatcher)

    def __call__(self, service_name: str, event_type: str, payload: Any, **options: Any) -> None:
        """Send an event and wait until the broker has it; connects when it has to.

        Args:
            service_name: In whose name.
            event_type: The type of the event, by which handlers choose.
            payload: Anything that the serializer takes.
            options: What is to be different for this event; as for :class:`~rpcservice.EventDispatcher`.

        Raises:
            ConnectionLost: There is no connection, and none came in time; nothing was sent.
            PublishTimeout: No confirm came in time; whether the broker has the event is unknown.
            PublishRejected: The broker refused it.
            ChannelClosed: The exchange cannot be declared: there is another one of that name.
            MessageTooLarge: It was not sent.
            UnserializableValueError: The payload cannot be encoded.
        """
        session, sources = self._use()
        if not session.is_up:
            session.wait_until_up(self._timeout)
        sources.dispatch_of(service_name, self._timeout)(event_type, payload, **options)

    def start(self) -> Self:
        """Connect now and not with the first event.

        Raises:
            BrokerUnavailable: As for :meth:`ClusterRpcClient.start`.
        """
        self._keep()
        return self

    def close(self) -> None:
        """Disconnect; another name of :meth:`stop`."""
        self.stop()

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._leave()


def event_dispatcher(
    config: GivenConfig = None,
    *,
    uri: str | None = None,
    ssl: bool | Mapping[str, Any] | None = None,
    login_method: str | None = None,
    **options: Any,
) -> StandaloneDispatcher:
    """Give a function ``dispatch(service_name, event_type, payload)`` that sends events, from any thread.

    It connects with the first event and keeps the connection; :meth:`StandaloneDispatcher.close`, or the end of a
    ``with`` block, gives it up. A service's exchange is declared with its first event, unless
    ``DECLARE_EVENT_EXCHANGES`` is off.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        options: As for :class:`~rpcservice.EventDispatcher`: ``serializer``, ``priority``, ``timeout`` ...

    Raises:
        ConfigError: The configuration is wrong.
        TypeError: There is no such option.
    """
    return StandaloneDispatcher(client_settings(config, uri, ssl, login_method), options)
