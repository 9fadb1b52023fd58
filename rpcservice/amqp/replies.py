"""ReplyListener: sends requests, and hands each reply to the call that waits for it."""

import logging
import os
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import AmqpConnection, ConnectionKey, publishing_key
from rpcservice.amqp.link import Delivery, LinkChannel, Message, Returned
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.message import REPLY_QUEUE_EXPIRES, check_timeout
from rpcservice.concurrency import Event, Task, Timer
from rpcservice.core.context import new_id
from rpcservice.core.faults import error_from_data
from rpcservice.core.resource import Resource
from rpcservice.errors import BrokerError, ChannelClosed, ConnectionLost, MethodNotFound, RpcTimeout, UnknownService

SWEEP_INTERVAL = 30.0
"""Seconds between looks for calls whose result nobody asks for."""

A_MOMENT = 0.001
"""Seconds after which a request is tried again that found its channel ended."""

A_WHILE = 2.0
"""Seconds after which an outcome that is on its way does not come any more."""

_log = logging.getLogger(__name__)


class RpcCall:
    """A call under way; :meth:`result` waits for its end. Made by ``call_async``.

    Any thread may ask for the result, and more than one.

    Attributes:
        service_name: The service that is called.
        method_name: Its method.
        timeout: Seconds that the call may take altogether; None is without end.
    """

    __slots__ = (
        "_callbacks",
        "_event",
        "_listener",
        "_outcome",
        "_timer",
        "correlation_id",
        "deadline",
        "method_name",
        "reply",
        "service_name",
        "timeout",
    )

    def __init__(
        self, service_name: str, method_name: str, timeout: float | None, event: Event, listener: "ReplyListener"
    ) -> None:
        self.service_name = service_name
        self.method_name = method_name
        self.timeout = timeout
        self.deadline = None if timeout is None else monotonic() + timeout
        self.correlation_id = ""
        self.reply: Delivery | None = None
        self._event = event
        self._listener = listener
        self._outcome: tuple[Any, Exception | None] | None = None
        self._callbacks: tuple[Callable[[RpcCall], object], ...] = ()
        self._timer: Timer | None = None

    def renew(self) -> "RpcCall":
        """Give the same call as if nothing had happened to it: nothing was sent yet."""
        call = RpcCall(
            self.service_name, self.method_name, self.timeout, self._listener.backend.event(), self._listener
        )
        call.deadline = self.deadline
        call.correlation_id = self.correlation_id
        return call

    def settle(self, error: Exception | None) -> None:
        """End the call, once: with an error, or with the reply that has been put in place.

        Only who has taken the call out of the listener's table may do so.
        """
        if error is not None:
            self._outcome = (None, error)
        self._event.set()
        if self._callbacks:
            self._call_back()

    def expire(self) -> None:
        """End the call because its time is up, unless its outcome is there."""
        if self._listener.drop(self):
            self.settle(RpcTimeout(self.service_name, self.method_name, self.timeout or 0))

    @property
    def was_answered(self) -> bool:
        """Whether it has ended with a reply, be it an error that the method raised."""
        return self.reply is not None

    def is_done(self) -> bool:
        """Say whether :meth:`result` would give or raise at once."""
        return self._event.is_set()

    def add_done_callback(self, function: Callable[["RpcCall"], object]) -> None:
        """Have a function called with this call, once, when the outcome is there; at once where it is already.

        Args:
            function: Called where the outcome arrives, in the reader of the connection: it must not wait, though it
                may ask for the result. What it raises is logged.
        """
        if self._is_of_parent():
            # Without the guard, which nobody gives back here if a thread held it at the fork.
            if not self._event.is_set():
                self._outcome = (None, self._lost_to_parent())
                self._event.set()
            self._tell(function)
            return
        with self._listener.guard:
            self._callbacks = (*self._callbacks, function)
            if self._timer is None and self.deadline is not None and not self._event.is_set():
                # Somebody who waits looks at the clock; nobody does now.
                remaining = max(0, self.deadline - monotonic())
                self._timer = self._listener.backend.call_later(remaining, self.expire)
        if self._event.is_set():
            self._call_back()

    def _call_back(self) -> None:
        with self._listener.guard:
            callbacks, self._callbacks = self._callbacks, ()
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for function in callbacks:
            self._tell(function)

    def _tell(self, function: Callable[["RpcCall"], object]) -> None:
        try:
            function(self)
        except Exception:
            _log.exception("a callback of the call %s.%s failed", self.service_name, self.method_name)

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the reply and give the result; may be called again, and raises the same again.

        Args:
            timeout: Seconds to wait here; None waits as long as the call may take.

        Raises:
            TypeError: The timeout is no number.
            ValueError: It is negative.
            RpcTimeout: No reply in time. When the call's own time is up, a late reply is dropped.
            UnknownService: Nothing is bound for the service.
            ConnectionLost: The connection to the broker broke meanwhile, or the call is one of the parent process.
            RemoteError: The method raised; or its own class, if that is registered.
        """
        outcome = self._outcome
        if outcome is None:
            if not self._event.is_set():
                self._wait(timeout)
            outcome = self._outcome
            if outcome is None:
                outcome = self._outcome = self._decode()
        value, error = outcome
        if error is not None:
            # Each time from here: what was raised in one thread must not grow longer in the next.
            raise error.with_traceback(None)
        return value

    def _wait(self, timeout: float | None) -> None:
        if self._is_of_parent():
            raise self._lost_to_parent()
        timeout = check_timeout(timeout, "to wait as long as the call may take")
        remaining = None if self.deadline is None else max(0, self.deadline - monotonic())
        if timeout is not None and (remaining is None or timeout < remaining):
            if not self._event.wait(timeout):
                raise RpcTimeout(self.service_name, self.method_name, timeout)
        elif not self._event.wait(remaining):
            self.expire()
            # Where somebody else has taken it, the outcome is on its way, unless a signal handler has broken that off.
            if not self._event.wait(A_WHILE):
                self.settle(RpcTimeout(self.service_name, self.method_name, self.timeout or 0))

    def _is_of_parent(self) -> bool:
        return self._listener.pid != os.getpid()

    def _lost_to_parent(self) -> ConnectionLost:
        return ConnectionLost(
            f"the reply of {self.service_name}.{self.method_name} goes to the process that made the call, before a "
            "fork: ask there, or call again; the call may have been carried out",
            maybe_executed=True,
        )

    def _decode(self) -> tuple[Any, Exception | None]:
        assert self.reply is not None
        try:
            payload = self._listener.codecs.decode(self.reply.body, self.reply.properties)
        except Exception as exc:
            return None, exc
        fault = payload.get("error") if isinstance(payload, Mapping) else payload
        if not fault and isinstance(payload, Mapping):
            return payload.get("result"), None
        error = error_from_data(fault)
        if isinstance(error, MethodNotFound):
            error.service_name = self.service_name
        return None, error


class ReplyListener(Resource):
    """One reply queue a process and connection, on a channel of its own; its key is the key of the connection."""

    key: ConnectionKey

    def setup(self) -> None:
        """Ask for the connection; the reply queue is there before requests can be sent."""
        self.connection = self.resources.get(AmqpConnection, self.key)
        self.codecs = self.resources.get(Codecs)
        self.routing_key = new_id()
        self.queue_name = f"rpc.reply-{self.routing_key}"
        self.guard = self.backend.guard()
        self.pid = os.getpid()
        # Who takes a call out of here settles it: once, on threads too, for the dictionary's own steps are whole.
        self._pending: dict[str, RpcCall] = {}
        self._stopped = self.backend.event()
        self._sweeper: Task | None = None
        self._is_killed = False
        self._replies = self.connection.add_channel(
            ManagedChannel(self.connection, "replies", on_open=self._open, on_lost=self._fail_all)
        )
        publishing = self.resources.get(AmqpConnection, publishing_key(self.key, self.config))
        self._requests = publishing.add_channel(
            ManagedChannel(publishing, "requests", on_open=self._open_requests, on_lost=self._fail_all)
        )

    def start(self) -> None:
        """Start to look for calls that nobody waits for any more."""
        self.pid = os.getpid()
        self._sweeper = self.backend.spawn(self._sweep)

    def _open(self, channel: LinkChannel) -> None:
        exchange = self.config.rpc_exchange
        channel.declare_exchange(exchange, "topic", durable=True)
        channel.declare_queue(self.queue_name, durable=True, arguments={"x-expires": REPLY_QUEUE_EXPIRES})
        channel.bind_queue(self.queue_name, exchange, self.routing_key)
        channel.consume(self.queue_name, self._receive, no_ack=True, on_cancel=self._queue_deleted)

    def _queue_deleted(self) -> None:
        if not self._stopped.is_set():
            _log.error("the reply queue %s was deleted, perhaps with replies; it is declared again", self.queue_name)
            self._replies.reopen()

    def _open_requests(self, channel: LinkChannel) -> None:
        channel.on_return = self._return

    def send(self, message: Message, service_name: str, method_name: str, timeout: float | None) -> RpcCall:
        """Send a request; waits for the connection as long as the call may take, and then for nothing.

        Raises:
            ConnectionLost: The connection did not come back in time; nothing was sent.
            MessageTooLarge: Nothing was sent.
        """
        call = RpcCall(service_name, method_name, timeout, self.backend.event(), self)
        call.correlation_id = message.properties["correlation_id"]
        while not self._try_to_send(message, call):
            call = call.renew()
            # On threads, a channel may have ended that nobody has taken away yet.
            self.backend.sleep(A_MOMENT)
            self.wait_until_up(call.deadline)
        return call

    def send_now(self, message: Message, service_name: str, method_name: str) -> RpcCall | None:
        """Send a request without waiting and without a time-out; None where there is no connection to send it on.

        Raises:
            MessageTooLarge: Nothing was sent.
        """
        call = RpcCall(service_name, method_name, None, self.backend.event(), self)
        call.correlation_id = message.properties["correlation_id"]
        return call if self._try_to_send(message, call) else None

    def expect(self, correlation_id: str, service_name: str = "", method_name: str = "") -> RpcCall:
        """Give the call that ends with the reply to a request, which somebody sends in another way, or has sent."""
        call = RpcCall(service_name, method_name, None, self.backend.event(), self)
        call.correlation_id = correlation_id
        self._pending[correlation_id] = call
        return call

    def wait_for_late(self, call: RpcCall, seconds: float) -> bool:
        """Wait for the reply to a call of :meth:`expect`, which is forgotten then; False where none came."""
        if not call._event.wait(seconds) and not self.drop(call):
            # Somebody else has just taken it, and is about to settle it.
            call._event.wait()
        return call.was_answered

    def wait_until_up(self, deadline: float | None) -> None:
        """Wait until requests can be sent, at most until ``deadline`` on the monotonic clock (None: for ever).

        Raises:
            ConnectionLost: The connection did not come back in time.
        """
        self._replies.wait(deadline)
        self._requests.wait(deadline)

    def _try_to_send(self, message: Message, call: RpcCall) -> bool:
        # Before the look at the channels: on threads, who loses one after that finds this call and settles it.
        self._pending[call.correlation_id] = call
        channel = self._requests.current
        if channel is not None and self._replies.current is not None:
            try:
                channel.publish(message)
                return True
            except (ConnectionLost, ChannelClosed) as exc:
                # On threads it may have ended a moment ago; the next look finds that it has.
                _log.debug("request %s was not sent: %s", message.routing_key, exc)
            except BaseException:
                self.drop(call)
                raise
        self.drop(call)
        return False

    def _receive(self, delivery: Delivery) -> None:
        call = self._pending.pop(delivery.properties.get("correlation_id", ""), None)
        if call is not None:
            call.reply = delivery
            call.settle(None)

    def _return(self, returned: Returned) -> None:
        call = self._pending.pop(returned.properties.get("correlation_id", ""), None)
        if call is not None:
            call.settle(UnknownService(call.service_name))

    def _fail_all(self, failure: Exception) -> None:
        while self._pending:
            try:
                _, call = self._pending.popitem()
            except KeyError:
                return  # on threads, the last one has just been answered
            call.settle(ConnectionLost(f"{failure}; the call may have been carried out", maybe_executed=True))

    def drop(self, call: RpcCall) -> bool:
        """Forget a call; False where somebody else has taken it, who settles it."""
        correlation_id = call.correlation_id
        # A request that is sent again has a call of its own each time, under the same id.
        return self._pending.get(correlation_id) is call and self._pending.pop(correlation_id, None) is not None

    def _sweep(self) -> None:
        """Drop calls whose time is up although nobody waits for them: they would stay for ever."""
        while not self._stopped.wait(SWEEP_INTERVAL):
            now = monotonic()
            for call in list(self._pending.values()):
                if call.deadline is not None and call.deadline < now:
                    call.expire()
        self._delete_queue()

    def _delete_queue(self) -> None:
        channel = self._replies.current
        if self._is_killed or channel is None:
            return
        try:
            channel.delete_queue(self.queue_name)
        except BrokerError as exc:
            _log.warning("the reply queue %s stays for five minutes: %s", self.queue_name, exc)

    def stop(self) -> None:
        """Have the sweeper delete the reply queue: no thread can be started while an interpreter ends."""
        self._stopped.set()
        if self._sweeper is not None:
            self.connection.wait_last(self._sweeper)

    def kill(self) -> None:
        """Wake the sweeper; the broker deletes the queue by itself after five minutes."""
        self._is_killed = True
        self._stopped.set()
