"""ClusterRpcClient and ServiceRpcClient, which call services from event loops."""

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from rpcservice.aio.loops import AsyncClient, Work, end, tell
from rpcservice.aio.policies import LoopRequest, call_by_policy
from rpcservice.amqp.clients import ClusterClient, ClusterRpc, MethodClient, Repetition, RpcOptions, ServiceClient
from rpcservice.amqp.link import Message
from rpcservice.amqp.rpccall import RepeatedCall, RpcCall
from rpcservice.concurrency import Backend, threads
from rpcservice.errors import ConnectionLost, RpcTimeout
from rpcservice.standalone.rpc import CallOptions, RpcClient, SessionCaller
from rpcservice.standalone.session import GivenConfig, Session


class PendingCall:
    """A call from a loop: sent when there is a connection, and dropped together with the future that waits for it."""

    __slots__ = ("_call", "_deadline", "_message", "_names", "_provider", "_timer", "_up", "future", "loop")

    def __init__(self, provider: "LoopRpc", message: Message) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self._provider = provider
        self._message = message
        service_name, _, method_name = message.routing_key.rpartition(".")
        self._names = service_name, method_name
        self._call: RpcCall | None = None
        self._up: asyncio.Future[Any] | None = None
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        if message.timeout is not None:
            self._deadline = monotonic() + message.timeout
            self._timer = self.loop.call_later(message.timeout, self._expire)
        self.future.add_done_callback(self._forget)

    def send(self) -> None:
        """Send the request, now or when there is a connection.

        Raises:
            MessageTooLarge: Nothing was sent.
        """
        provider = self._provider
        call = None
        if provider.session.is_up:
            call_cls = RepeatedCall if type(self._message) is Repetition else RpcCall
            call = provider.replies.send_now(self._message, *self._names, call_cls)
        if call is None:
            self._up = provider.connecting.ask()
            self._up.add_done_callback(self._send_again)
        else:
            self._call, self._up = call, None
            call.add_done_callback(self._arrive)
            # Only now, for the loop's own timer is enough; but a loop may be closed with calls in flight.
            call.deadline = self._deadline

    def _send_again(self, up: "asyncio.Future[Any]") -> None:
        if up.cancelled():
            return
        error = up.exception()
        if error is None and not self.future.done():
            try:
                self.send()
            except Exception as exc:
                error = exc
        if error is not None:
            end(self.future, None, error)

    def _arrive(self, call: RpcCall) -> None:
        """Pass the outcome on; called where it arrives, in the connection's reader."""
        tell(self.loop, self._take, call)

    def _take(self, call: RpcCall) -> None:
        if self.future.done():
            return
        try:
            self.future.set_result(call.result())
        except Exception as exc:
            self.future.set_exception(exc)

    def _expire(self) -> None:
        seconds = self._message.timeout or 0
        if self._call is None:
            reason = self._provider.replies.connection.health() or "the connection is being set up"
            error: Exception = ConnectionLost(f"nothing was sent within {seconds:g} s: {reason}", maybe_executed=False)
        else:
            error = RpcTimeout(*self._names, seconds)
        end(self.future, None, error)

    def _forget(self, future: "asyncio.Future[Any]") -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._up is not None:
            self._up.cancel()
        if self._call is not None:
            self._provider.replies.drop(self._call)

    @property
    def was_answered(self) -> bool:
        """Whether it has ended with a reply, be it an error that the method raised."""
        return self._call is not None and self._call.was_answered


class LoopRpc(ClusterRpc):
    """Sends requests from loops: what starts a call gives a future."""

    def setup(self) -> None:
        """Prepare to wait for the connection."""
        super().setup()
        session: Any = self.host
        self.session: Session = session
        self.connecting = Work(self._connect)

    def _connect(self) -> None:
        self.session.wait_until_up(None)
        self.replies.wait_until_up(None)

    def _publish(self, message: Message) -> Any:
        pending = PendingCall(self, message)
        try:
            pending.send()
        except BaseException:
            pending.future.cancel()
            raise
        return pending

    def start_call(self, *request: Any) -> Any:
        """Send a request, or have it sent when there is a connection; gives a future."""
        started: Any = super().start_call(*request)
        return started.future


class LoopCaller(SessionCaller):
    """Does not wait until the session has started; the calls do, and what starts one gives a future."""

    def reach(self, options: CallOptions) -> tuple[ClusterRpc, RpcOptions]:
        """Give what sends requests in the session of this process, which may not have started."""
        provider = self._client._use()[1]
        return provider, options.of(provider)


class LoopRpcClient(RpcClient):
    """The connection of a client, with the steps that may wait as they are for threads."""

    _provider_class = LoopRpc
    _caller_class = LoopCaller

    def _make_backend(self) -> Backend:
        return threads()


class AsyncCluster(ClusterClient):
    """Any service: its attributes and items are the services."""

    def __getitem__(self, service_name: str) -> "AsyncService":
        return AsyncService(self._provider, self._ctx, service_name)


class AsyncService(ServiceClient):
    """A service: its attributes and items are its methods."""

    def __getitem__(self, method_name: str) -> "AsyncMethod":
        return AsyncMethod(self._provider, self._ctx, f"{self._service_name}.{method_name}", self._provider.options)


class AsyncMethod(MethodClient):
    """A remote method: await it, or start it with :meth:`call_async`."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method and wait for its result; raises as :meth:`RpcCall.result` does."""
        return await self.call_async(*args, **kwargs)

    def call_async(self, *args: Any, **kwargs: Any) -> "asyncio.Future[Any]":  # type: ignore[override]  # is awaited
        """Start a call; gives a future of the running loop. To cancel it drops the call.

        Raises:
            ConnectionLost: The client has been stopped; nothing was sent.
            UnserializableValueError: An argument cannot be encoded.
            MessageTooLarge: The request is too large.

        With ``retry``, ``breaker``, ``max_in_flight`` or ``fallback`` the future is a task, which raises them.
        """
        policy = self._options.policy
        if policy is not None:
            request = LoopRequest(self._provider, self._ctx, self._routing_key, args, kwargs, self._options)
            return asyncio.ensure_future(call_by_policy(policy, request))
        started: Any = self._provider.start_call(self._ctx, self._routing_key, args, kwargs, self._options)
        return started  # type: ignore[no-any-return]  # a LoopRpc gives a future


class ClusterRpcClient(AsyncClient[AsyncCluster]):
    """Calls any service: ``async with ClusterRpcClient(config) as cluster: await cluster.orders.place(sku)``.

    The client itself may be used as its proxy, ``await client.orders.place(sku)``; a service that is named as a
    method of the client is an item of it, ``client["start"]``.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        options: As for :class:`rpcservice.standalone.ClusterRpcClient`: ``timeout``, ``context_data``, ``uri`` ...

    Raises:
        ConfigError: The configuration is wrong.
        TypeError: There is no such option.
    """

    _client: LoopRpcClient

    def __init__(self, config: GivenConfig = None, **options: Any) -> None:
        super().__init__(LoopRpcClient(config, **options))

    @property
    def proxy(self) -> AsyncCluster:
        """What :meth:`start` gives, without connecting: the first call does that."""
        return self.with_context(self._client._context_data)

    def with_context(self, context_data: Mapping[str, Any]) -> AsyncCluster:
        """Give a proxy on the same connection whose calls take other context data along."""
        return AsyncCluster(self._client._caller, self._client._context(context_data))

    def __getitem__(self, service_name: str) -> AsyncService:
        return self.proxy[service_name]

    def __getattr__(self, service_name: str) -> AsyncService:
        if service_name.startswith("_"):
            raise AttributeError(service_name)
        return self.proxy[service_name]

    def _handle(self) -> AsyncCluster:
        return self.proxy


class ServiceRpcClient(AsyncClient[AsyncService]):
    """Calls one service: ``async with ServiceRpcClient("orders", config) as orders: await orders.place(sku)``.

    As with :class:`ClusterRpcClient`, the client itself may be used as its proxy.

    Args:
        service_name: The service.
        config: As for :class:`ClusterRpcClient`.
        options: As for :class:`ClusterRpcClient`.
    """

    _client: LoopRpcClient

    def __init__(self, service_name: str, config: GivenConfig = None, **options: Any) -> None:
        super().__init__(LoopRpcClient(config, **options))
        self.service_name = service_name

    @property
    def proxy(self) -> AsyncService:
        """What :meth:`start` gives, without connecting: the first call does that."""
        return self.with_context(self._client._context_data)

    def with_context(self, context_data: Mapping[str, Any]) -> AsyncService:
        """Give a proxy on the same connection whose calls take other context data along."""
        return AsyncService(self._client._caller, self._client._context(context_data), self.service_name)

    def __getitem__(self, method_name: str) -> AsyncMethod:
        return self.proxy[method_name]

    def __getattr__(self, method_name: str) -> AsyncMethod:
        if method_name.startswith("_"):
            raise AttributeError(method_name)
        return self.proxy[method_name]

    def _handle(self) -> AsyncService:
        return self.proxy
