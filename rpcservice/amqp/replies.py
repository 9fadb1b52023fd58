"""ReplyListener: sends requests, and hands each reply to the call that waits for it."""

import logging
import os
from collections.abc import Sequence
from functools import partial
from math import inf
from time import monotonic

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import NOT_FOUND, AmqpConnection, ConnectionKey, publishing_key
from rpcservice.amqp.link import Delivery, LinkChannel, Message, Returned
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.message import REPLY_QUEUE_EXPIRES
from rpcservice.amqp.pending import Refusals
from rpcservice.amqp.rpccall import RepeatedCall, RpcCall
from rpcservice.concurrency import Task
from rpcservice.core.context import new_id
from rpcservice.core.resource import Resource
from rpcservice.errors import (
    BrokerError,
    ChannelClosed,
    ConnectionLost,
    PublishRejected,
    UnknownService,
)

SWEEP_INTERVAL = 30.0
"""Seconds between looks for calls whose result nobody asks for."""

A_MOMENT = 0.001
"""Seconds after which a request is tried again that found its channel ended."""

_log = logging.getLogger(__name__)


class ReplyListener(Resource):
    """One reply queue a process and connection, on a channel of its own; its key is the key of the connection.

    Attributes:
        unclaimed: How many replies came that nobody waited for, or not any more.
    """

    key: ConnectionKey

    def setup(self) -> None:
        """Ask for the connection; the reply queue is there before requests can be sent."""
        self.connection = self.resources.get(AmqpConnection, self.key)
        self.codecs = self.resources.get(Codecs)
        self.routing_key = new_id()
        self.queue_name = _queue_name(self.routing_key)
        self.guard = self.backend.guard()
        self.pid = os.getpid()
        # Who takes a call out of here settles it: once, on threads too, for the dictionary's own steps are whole.
        self._pending: dict[str, RpcCall] = {}
        self.unclaimed = self._told = 0
        self._told_at = -inf
        self._stopped = self.backend.event()
        self._sweeper: Task | None = None
        self._is_killed = False
        self._replies = self.connection.add_channel(
            ManagedChannel(self.connection, "replies", on_open=self._open, on_lost=self._fail_all)
        )
        publishing = self.resources.get(AmqpConnection, publishing_key(self.key, self.config))
        # The reply is the confirm of a request; but a quorum queue without a leader refuses it, and nobody would know.
        self._confirms = self.config.queue_type == "quorum"
        self._asked: dict[int, RpcCall] = {}
        self._requests = publishing.add_channel(
            ManagedChannel(
                publishing,
                "requests",
                on_open=self._open_requests,
                on_lost=self._lose_requests,
                confirms=self._confirms,
            )
        )
        self._refusals = Refusals(self.config, self.backend, lambda: bool(self._asked), self._requests.reopen)

    def start(self) -> None:
        """Start to look for calls that nobody waits for any more."""
        self.pid = os.getpid()
        self._sweeper = self.backend.spawn(self._sweep)

    def _open(self, channel: LinkChannel) -> None:
        exchange = self.config.rpc_exchange
        channel.declare_exchange(exchange, "topic", durable=True)
        try:
            channel.declare_queue(self.queue_name, durable=True, arguments={"x-expires": REPLY_QUEUE_EXPIRES})
        except ChannelClosed as exc:
            if exc.code == NOT_FOUND:
                # It is on a node of the cluster that is down, and only that node can give it back. The next attempt
                # takes another one for the same replies; this one expires when the node is up again.
                self.queue_name = _queue_name(new_id())
            raise
        channel.bind_queue(self.queue_name, exchange, self.routing_key)
        channel.consume(self.queue_name, self.receive, no_ack=True, on_cancel=self._queue_deleted)

    def _queue_deleted(self) -> None:
        if not self._stopped.is_set():
            _log.error("the reply queue %s was deleted, perhaps with replies; it is declared again", self.queue_name)
            self._replies.reopen()

    def _open_requests(self, channel: LinkChannel) -> None:
        channel.on_return = self._return
        if self._confirms:
            # With the table of this channel, as ConfirmedSender has it.
            self._asked = {}
            channel.on_confirm = partial(self._confirm, self._asked)

    def _lose_requests(self, failure: Exception) -> None:
        if not self._refusals.is_due:
            self._fail_all(failure)
            return
        # Set up anew on purpose: what was confirmed is still answered.
        with self.guard:
            self._refusals.is_due = False
            unconfirmed = list(self._asked.values())
        for call in unconfirmed:
            if self.drop(call):
                call.settle(_lost(failure))

    def send(
        self,
        message: Message,
        service_name: str,
        method_name: str,
        timeout: float | None,
        call_cls: type[RpcCall] = RpcCall,
    ) -> RpcCall:
        """Send a request; waits for the connection as long as the call may take, and then for nothing.

        Raises:
            ConnectionLost: The connection did not come back in time; nothing was sent.
            MessageTooLarge: Nothing was sent.
        """
        call = call_cls(service_name, method_name, timeout, self.backend.event(), self)
        call.correlation_id = message.properties["correlation_id"]
        while not self._try_to_send(message, call):
            call = call.renew()
            # On threads, a channel may have ended that nobody has taken away yet.
            self.backend.sleep(A_MOMENT)
            self.wait_until_up(call.deadline)
        return call

    def send_now(
        self, message: Message, service_name: str, method_name: str, call_cls: type[RpcCall] = RpcCall
    ) -> RpcCall | None:
        """Send a request without waiting and without a time-out; None where there is no connection to send it on.

        Raises:
            MessageTooLarge: Nothing was sent.
        """
        call = call_cls(service_name, method_name, None, self.backend.event(), self)
        call.correlation_id = message.properties["correlation_id"]
        return call if self._try_to_send(message, call) else None

    def send_again(self, message: Message, call: RpcCall) -> None:
        """Send the request of a call that waits already, unless its time is up; where that fails, the call fails."""
        if self.drop(call) and not self._try_to_send(message, call):
            call.settle(_lost(ConnectionLost("there is no connection to the broker by which others could be asked")))

    def expect(self, correlation_id: str) -> RpcCall:
        """Give the call that ends with the reply to a request, which somebody sends in another way."""
        call = RpcCall("", "", None, self.backend.event(), self)
        call.correlation_id = correlation_id
        self._pending[correlation_id] = call
        return call

    def expect_late(self, correlation_id: str, service_name: str, method_name: str, seconds: float) -> RepeatedCall:
        """Give a call that ends with the reply to a request which has been given up, should it come so soon."""
        call = RepeatedCall(service_name, method_name, seconds, self.backend.event(), self)
        call.correlation_id = correlation_id
        self._pending[correlation_id] = call
        return call

    def keep(self, call: RpcCall) -> None:
        """Go on waiting for the reply to a call that was taken out of the table."""
        self._pending[call.correlation_id] = call
        if call.deadline is not None and call.deadline <= monotonic():
            # On threads, whoever looked for it meanwhile because its time is up has not found it.
            call.expire()

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
                if self._confirms:
                    self._publish_confirmed(channel, message, call)
                else:
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

    def _publish_confirmed(self, channel: LinkChannel, message: Message, call: RpcCall) -> None:
        with self.guard:
            is_due = self._refusals.is_due
            if not is_due:
                # On threads, its confirm may come before it is noted.
                self._asked[channel.publish(message)] = call
        if is_due:
            raise ConnectionLost("another channel is about to be opened")

    def _confirm(self, asked: dict[int, RpcCall], sequences: Sequence[int], multiple: bool, taken: bool) -> None:
        """Forget requests that the broker has taken; end the calls of those that it refuses."""
        with self.guard:
            if multiple:
                sequences = [known for known in asked if known <= sequences[0]]
            calls = [asked.pop(one) for one in sequences if one in asked]
            if not taken:
                self._refusals.note()
        for call in () if taken else calls:
            if self.drop(call):
                call.settle(
                    PublishRejected(
                        f"the broker refused the call of {call.service_name}.{call.method_name}: "
                        f"the queue rpc-{call.service_name} is full or has failed"
                    )
                )
        self._refusals.look()

    def receive(self, delivery: Delivery) -> None:
        """Hand a reply to the call that waits for it."""
        call = self._pending.pop(delivery.properties.get("correlation_id", ""), None)
        if call is None:
            self._drop_stray(delivery)
            return
        call.reply = delivery
        call.settle(None)

    def _drop_stray(self, delivery: Delivery) -> None:
        """Count a reply that nobody waits for, and tell of it: of the first at once, of more of them now and then."""
        self.unclaimed += 1
        if monotonic() - self._told_at >= SWEEP_INTERVAL:
            self._tell_of_strays(f", the last for correlation_id {delivery.properties.get('correlation_id')!r}")

    def _tell_of_more_strays(self) -> None:
        if self.unclaimed > self._told:
            self._tell_of_strays()

    def _tell_of_strays(self, which: str = "") -> None:
        count, self._told, self._told_at = self.unclaimed - self._told, self.unclaimed, monotonic()
        _log.warning(
            "%s: replies dropped that nobody waits for, or not any more: %d (%d until now)%s",
            self.queue_name,
            count,
            self._told,
            which,
        )

    def _return(self, returned: Returned) -> None:
        call = self._pending.pop(returned.properties.get("correlation_id", ""), None)
        if call is not None:
            call.settle(UnknownService(call.service_name))

    def _fail_all(self, failure: Exception) -> None:
        local = []
        while self._pending:
            try:
                _, call = self._pending.popitem()
            except KeyError:
                break  # on threads, the last one has just been answered
            if call.is_local:
                local.append(call)
            else:
                call.settle(_lost(failure))
        for call in local:
            self.keep(call)

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
            self._tell_of_more_strays()
        self._delete_queue()
        self._tell_of_more_strays()

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


def _lost(failure: Exception) -> ConnectionLost:
    return ConnectionLost(f"{failure}; the call may have been carried out", maybe_executed=True)


def _queue_name(identifier: str) -> str:
    return f"rpc.reply-{identifier}"
