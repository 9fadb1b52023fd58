"""Request, what a client sends by its policy; Caller, what clients send by."""

from collections.abc import Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Protocol

from rpcservice.amqp.options import Publication
from rpcservice.amqp.rpccall import RepeatedCall, RpcCall
from rpcservice.concurrency import Backend

if TYPE_CHECKING:
    from rpcservice.amqp.clients import ClusterRpc, RpcOptions


class Caller(Protocol):
    """What a client sends its requests by: a bound :class:`ClusterRpc`, or what stands for one."""

    options: Any
    """What calls go with unless they ask for something else."""

    @property
    def backend(self) -> Backend:
        """On what the client runs."""
        ...

    @property
    def can_send(self) -> bool:
        """Whether requests may be sent: not when the client has been stopped."""
        ...

    def reach(self, options: Any) -> "tuple[ClusterRpc, RpcOptions]":
        """Give what sends a request, for which the client may have to connect, and what the request goes with."""
        ...

    def make_options(self, changes: Mapping[str, Any]) -> Any:
        """Give the options of this caller with changes."""
        ...

    def start_call(
        self, ctx: Any, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
    ) -> RpcCall:
        """Send a request; gives the call, to be waited for."""
        ...


class Request:
    """A request of a client with a policy: it may be sent more than once, each time with the same ids."""

    def __init__(
        self, caller: Caller, ctx: Any, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
    ) -> None:
        self.args = args
        self.kwargs = kwargs
        self.service_name, _, self.method_name = routing_key.rpartition(".")
        self._caller = caller
        self._ctx = ctx
        self._routing_key = routing_key
        self._options = options
        self._provider: ClusterRpc | None = None
        self._message: Publication | None = None
        self._was_sent = False
        self._call: Any = None

    @property
    def backend(self) -> Backend:
        """On what the client runs."""
        return self._caller.backend

    @property
    def service(self) -> Any:
        """The service instance that calls; None in programs that are no services."""
        return getattr(self._ctx, "service", None)

    @property
    def was_answered(self) -> bool:
        """Whether what was sent last has ended with a reply."""
        return self._call is not None and bool(self._call.was_answered)

    @property
    def can_be_sent(self) -> bool:
        """Whether it is of use to send it: not when the client has been stopped."""
        return self._caller.can_send

    def time_left(self) -> float | None:
        """Give the seconds for which somebody waits for what this request is for; None where nobody says."""
        deadline, provider = self._ctx.deadline, self._provider
        return None if deadline is None or provider is None else deadline + provider.skew - time()

    def send(self) -> Any:
        """Send it; gives the call, to be waited for."""
        self._call = None
        provider, options = self._caller.reach(self._options)
        self._provider = provider
        if self._message is None:
            # Encoded once, for what it is made of may change meanwhile.
            payload = {"args": self.args, "kwargs": self.kwargs}
            self._message = options.message(provider.exchange, self._routing_key, payload, self._ctx.context_data)
        message = options.copy(self._message, self._was_sent)
        self._was_sent = True
        self._call = provider.send(message, self._ctx.deadline, options)
        return self._call

    def expect_late(self, seconds: float) -> RepeatedCall | None:
        """Give a call that ends with the reply to what was sent before, should it come so soon; None for no request."""
        if self._message is None or self._provider is None:
            return None
        message_id = self._message.properties["message_id"]
        return self._provider.replies.expect_late(message_id, self.service_name, self.method_name, seconds)

    def wait(self, seconds: float) -> RepeatedCall | None:
        """Wait before it is sent again; gives the call where the reply to what was sent before comes after all."""
        end = monotonic() + seconds
        call = self.expect_late(seconds)
        if call is not None and call.wait():
            self._call = call
            return call
        self.backend.sleep(max(0, end - monotonic()))
        return None


def begin_call(
    caller: Caller, ctx: Any, routing_key: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any
) -> Any:
    """Start a call, by the client's policy where it has one; gives what waits for it."""
    if options.policy is not None:
        return options.policy.start(Request(caller, ctx, routing_key, args, kwargs, options))
    return caller.start_call(ctx, routing_key, args, kwargs, options)
