"""ReplyListener: sends requests, and hands each reply to the call that waits for it."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import AmqpConnection, ConnectionKey, ManagedChannel, publishing_key
from rpcservice.amqp.link import Delivery, LinkChannel, Message, Returned
from rpcservice.amqp.message import REPLY_QUEUE_EXPIRES
from rpcservice.concurrency import Event
from rpcservice.core.context import new_id
from rpcservice.core.faults import error_from_data
from rpcservice.core.resource import Resource
from rpcservice.errors import ConnectionLost, MethodNotFound, RpcTimeout, UnknownService

SWEEP_INTERVAL = 30.0
"""Seconds between looks for calls whose result nobody asks for."""

_log = logging.getLogger(__name__)


class RpcCall:
    """A call under way; :meth:`result` waits for its end. Made by ``call_async``.

    Attributes:
        service_name: The service that is called.
        method_name: Its method.
        timeout: Seconds that the call may take altogether; None is without end.
    """

    __slots__ = (
        "_codecs",
        "_drop",
        "_event",
        "_outcome",
        "correlation_id",
        "deadline",
        "method_name",
        "reply",
        "service_name",
        "timeout",
    )

    def __init__(
        self,
        service_name: str,
        method_name: str,
        timeout: float | None,
        event: Event,
        codecs: Codecs,
        drop: Callable[["RpcCall"], None],
    ) -> None:
        self.service_name = service_name
        self.method_name = method_name
        self.timeout = timeout
        self.deadline = None if timeout is None else monotonic() + timeout
        self.correlation_id = ""
        self.reply: Delivery | None = None
        self._event = event
        self._codecs = codecs
        self._drop = drop
        self._outcome: tuple[Any, Exception | None] | None = None

    def settle(self, error: Exception | None) -> None:
        """End the call: with an error, or with the reply that has been put in place."""
        if error is not None and self._outcome is None:
            self._outcome = (None, error)
        self._event.set()

    def is_done(self) -> bool:
        """Say whether :meth:`result` would give or raise at once."""
        return self._event.is_set()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the reply and give the result; may be called again, and raises the same again.

        Args:
            timeout: Seconds to wait here; None waits as long as the call may take.

        Raises:
            RpcTimeout: No reply in time. When the call's own time is up, a late reply is dropped.
            UnknownService: Nothing is bound for the service.
            ConnectionLost: The connection to the broker broke meanwhile.
            RemoteError: The method raised; or its own class, if that is registered.
        """
        if self._outcome is None:
            if not self._event.is_set():
                self._wait(timeout)
            if self._outcome is None:
                self._outcome = self._decode()
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def _wait(self, timeout: float | None) -> None:
        remaining = None if self.deadline is None else max(0, self.deadline - monotonic())
        if timeout is not None and (remaining is None or timeout < remaining):
            if not self._event.wait(timeout):
                raise RpcTimeout(self.service_name, self.method_name, timeout)
            return
        if not self._event.wait(remaining):
            self._drop(self)
            self.settle(RpcTimeout(self.service_name, self.method_name, self.timeout or 0))

    def _decode(self) -> tuple[Any, Exception | None]:
        assert self.reply is not None
        try:
            payload = self._codecs.decode(self.reply.body, self.reply.properties)
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
        self._pending: dict[str, RpcCall] = {}
        self._stopped = self.backend.event()
        self._replies = self.connection.add_channel(
            ManagedChannel(self.connection, "replies", on_open=self._open, on_lost=self._fail_all)
        )
        publishing = self.resources.get(AmqpConnection, publishing_key(self.key, self.config))
        self._requests = publishing.add_channel(
            ManagedChannel(publishing, "requests", on_open=self._open_requests, on_lost=self._fail_all)
        )

    def start(self) -> None:
        """Start to look for calls that nobody waits for any more."""
        self.backend.spawn(self._sweep)

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
        call = RpcCall(service_name, method_name, timeout, self.backend.event(), self.codecs, self._drop)
        channel = self._requests.current
        if channel is None or self._replies.current is None:
            self._replies.wait(call.deadline)
            channel = self._requests.wait(call.deadline)
        call.correlation_id = message.properties["correlation_id"]
        self._pending[call.correlation_id] = call
        try:
            channel.publish(message)
        except BaseException:
            self._drop(call)
            raise
        return call

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
        pending, self._pending = self._pending, {}
        for call in pending.values():
            call.settle(ConnectionLost(f"{failure}; the call may have been carried out", maybe_executed=True))

    def _drop(self, call: RpcCall) -> None:
        self._pending.pop(call.correlation_id, None)

    def _sweep(self) -> None:
        """Drop calls whose time is up although nobody waits for them: they would stay for ever."""
        while not self._stopped.wait(SWEEP_INTERVAL):
            now = monotonic()
            late = [call for call in self._pending.values() if call.deadline is not None and call.deadline < now]
            for call in late:
                self._drop(call)
                call.settle(RpcTimeout(call.service_name, call.method_name, call.timeout or 0))

    def stop(self) -> None:
        """Delete the reply queue."""
        self._stopped.set()
        channel = self._replies.current
        if channel is not None:
            self.connection.ask_last(partial(channel.delete_queue, self.queue_name))

    def kill(self) -> None:
        """Wake the sweeper; the broker deletes the queue by itself after five minutes."""
        self._stopped.set()
