"""Senders: messages without confirms, for requests, and with confirms by callback, for everything that must arrive."""

import logging
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic

from rpcservice.amqp.connection import AmqpConnection
from rpcservice.amqp.link import LinkChannel, Message, Properties, Returned
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.concurrency import Event
from rpcservice.core.resource import Resource
from rpcservice.errors import (
    ChannelClosed,
    ConnectionLost,
    PublishRejected,
    PublishTimeout,
    RpcServiceError,
    UndeliverableMessage,
)

MARK = "rpcservice-mark"
"""The header by which a returned message is known, where others of the same message id may be under way."""
_NAMED_EXCHANGE = re.compile(r"exchange '([^']*)'")

_log = logging.getLogger(__name__)

Topology = Callable[[LinkChannel], None]
"""Declares something; carried out each time the channel is opened."""


class Pending:
    """A message until the broker has confirmed it."""

    __slots__ = ("done", "error", "event", "message", "on_done", "retries")

    def __init__(
        self,
        message: Message,
        on_done: Callable[[Exception | None], None] | None,
        event: Event | None,
        retries: int | None = None,
    ) -> None:
        self.message = message
        self.on_done = on_done
        self.event = event
        # How many times it may be published again; None is without bound.
        self.retries = retries
        self.error: Exception | None = None
        self.done = False

    def tell(self) -> None:
        """Tell who waits for the outcome; not while the sender is guarded, for they may have locks of their own."""
        if self.on_done is not None:
            self.on_done(self.error)
        if self.event is not None:
            self.event.set()


class ConfirmedSender(Resource):
    """Publishes with confirms, many in flight; what a lost connection leaves unconfirmed is published again.

    Its key is the key of its connection.
    """

    def setup(self) -> None:
        """Ask for the connection and a channel on it."""
        self.connection = self.resources.get(AmqpConnection, self.key)
        self._topology: list[Topology] = []
        self._unconfirmed: dict[int, Pending] = {}
        self._again: deque[Pending] = deque()
        self._mandatory: dict[str, Pending] = {}
        self._one_at_a_time = False
        self._room = self.backend.event()
        self._has_stopped = False
        # On threads, a confirm may come before the message that it is for is in the table.
        self._guard = self.backend.guard()
        self._channel = self.connection.add_channel(
            ManagedChannel(
                self.connection,
                "confirmed messages",
                on_open=self._open,
                on_ready=self._resume,
                on_lost=self._lose,
                confirms=True,
            )
        )

    def declare(self, topology: Topology) -> None:
        """Have something declared each time the channel is opened; call it in ``setup``."""
        self._topology.append(topology)

    def _open(self, channel: LinkChannel) -> None:
        # With the table of this channel: on threads, the reader of one that is lost may still come with a confirm, and
        # its number means another message of the next channel.
        channel.on_confirm = partial(self._confirm, self._unconfirmed)
        channel.on_return = self._return
        for topology in self._topology:
            topology(channel)

    def publish(self, message: Message, timeout: float | None = None, *, retries: int | None = None) -> None:
        """Publish a message and wait until the broker has it.

        Args:
            message: The message.
            timeout: Seconds to wait; None is ``publish_timeout``.
            retries: How many times it may be published again when the connection is lost; None is without bound.

        Raises:
            PublishTimeout: No confirm came in time; whether the broker has the message is unknown.
            ConnectionLost: The connection was lost once more than ``retries`` says, or is lost where that is 0.
            PublishRejected: The broker refused it.
            UndeliverableMessage: It is mandatory and no queue took it.
            MessageTooLarge: It was not sent.
            ChannelClosed: The broker closed the channel because of it.
        """
        seconds = self.config.publish_timeout if timeout is None else timeout
        deadline = monotonic() + seconds
        event = self.backend.event()
        pending = Pending(message, None, event, retries)
        self._admit(message, seconds, deadline, retries)
        self._send(pending)
        if not event.wait(max(0, deadline - monotonic())):
            if self.forget(pending):
                raise self.timed_out(message, seconds)
            event.wait()  # its outcome has just come
        if pending.error is not None:
            raise pending.error

    def post(self, message: Message, timeout: float | None = None, *, retries: int | None = None) -> None:
        """Publish a message without waiting for the confirm; an error that comes then is logged.

        Args:
            message: The message.
            timeout: Seconds to wait for room in ``publish_buffer``; None is ``publish_timeout``.
            retries: As for :meth:`publish`.

        Raises:
            PublishTimeout: There was no room; it was not sent.
            ConnectionLost: The connection is lost and ``retries`` is 0; it was not sent.
            MessageTooLarge: It was not sent.
        """
        seconds = self.config.publish_timeout if timeout is None else timeout
        self._admit(message, seconds, monotonic() + seconds, retries)
        self._send(Pending(message, partial(_log_failure, message), None, retries))

    def send(
        self, message: Message, on_done: Callable[[Exception | None], None], *, retries: int | None = None
    ) -> Pending:
        """Publish a message without waiting; ``on_done`` is called with None or the error, and must not wait.

        Gives what :meth:`forget` takes. There is no bound here to how many messages wait.

        Raises:
            ConnectionLost: The connection is lost and ``retries`` is 0; it was not sent, nor is ``on_done`` called.
            MessageTooLarge: It was not sent, nor is ``on_done`` called.
        """
        if retries == 0 and self._channel.current is None:
            raise self._unsent()
        pending = Pending(message, on_done, None, retries)
        self._send(pending)
        return pending

    def timed_out(self, message: Message, seconds: float, *, was_kept: bool = True) -> PublishTimeout:
        """Give the error for a message that has waited so many seconds: for its confirm, or only for room."""
        reason = self.connection.health() or "the broker sent no confirm"
        what = f"within {seconds:g} s for {message.routing_key!r} on exchange {message.exchange!r}: {reason}"
        if was_kept:
            return PublishTimeout(f"no confirm {what}; whether the broker has the message is unknown")
        return PublishTimeout(
            f"no room {what}; the message was not sent, since publish_buffer ({self.config.publish_buffer}) is full"
        )

    def _admit(self, message: Message, seconds: float, deadline: float, retries: int | None) -> None:
        """Wait for room, and refuse what could only wait for another connection but may not."""
        if retries == 0 and self._channel.current is None:
            raise self._unsent()
        while self._is_full():
            self._room.clear()
            # Looked at again, for on threads there may have been room before the flag was lowered.
            if self._is_full() and not self._room.wait(max(0, deadline - monotonic())):
                raise self.timed_out(message, seconds, was_kept=False)

    def _is_full(self) -> bool:
        return len(self._unconfirmed) + len(self._again) >= self.config.publish_buffer

    def _send(self, pending: Pending) -> None:
        ended: list[Pending] = []
        with self._guard:
            channel = self._channel.current
            has_to_wait = self._again or self._one_at_a_time
            if channel is None or has_to_wait or not self._publish_on(channel, pending, ended):
                self._again.append(pending)
        for one in ended:
            one.tell()

    def _unsent(self) -> ConnectionLost:
        reason = self.connection.health() or "the connection is being set up again"
        return ConnectionLost(f"nothing was sent: {reason}", maybe_executed=False)

    def _publish_on(self, channel: LinkChannel, pending: Pending, ended: list[Pending]) -> bool:
        """Publish a message; False when it has to wait for another channel."""
        message = pending.message
        if message.mandatory:
            self._mandatory[_mark(message.properties)] = pending
        try:
            self._unconfirmed[channel.publish(message)] = pending
        except (ConnectionLost, ChannelClosed):
            # It was not sent: the channel has ended because of something else, and this sender is about to hear of it.
            if pending.retries != 0:
                return False
            self._end(pending, self._unsent(), ended)
        except BaseException:
            self._mandatory.pop(_mark(message.properties), None)
            raise
        return True

    def _pump(self, ended: list[Pending]) -> None:
        """Publish what waits; one at a time while it is not known which message closed the channel."""
        while self._again and not (self._one_at_a_time and self._unconfirmed):
            channel = self._channel.current
            if channel is None:
                return
            pending = self._again.popleft()
            if pending.done:
                continue
            try:
                if not self._publish_on(channel, pending, ended):
                    self._again.appendleft(pending)
                    return
            except RpcServiceError as exc:
                self._end(pending, exc, ended)
        if not self._again and not self._unconfirmed:
            self._one_at_a_time = False

    def _resume(self, channel: LinkChannel) -> None:
        """Publish what waits for this channel."""
        ended: list[Pending] = []
        with self._guard:
            self._pump(ended)
        for one in ended:
            one.tell()

    def _confirm(self, unconfirmed: dict[int, Pending], sequence: int, multiple: bool, taken: bool) -> None:
        ended: list[Pending] = []
        with self._guard:
            if multiple:
                sequences = []
                for known in unconfirmed:
                    if known > sequence:
                        break
                    sequences.append(known)
            else:
                sequences = [sequence]
            for one in sequences:
                pending = unconfirmed.pop(one, None)
                if pending is not None:
                    self._end(pending, None if taken else _rejected(pending.message), ended)
            if self._again or self._one_at_a_time:
                self._pump(ended)
        self._room.set()
        for pending in ended:
            pending.tell()

    def _end(self, pending: Pending, error: Exception | None, ended: list[Pending]) -> None:
        """Note the outcome of a message, once; who waits for it is told afterwards."""
        if pending.message.mandatory:
            self._mandatory.pop(_mark(pending.message.properties), None)
        if not pending.done:
            pending.done = True
            pending.error = pending.error or error
            ended.append(pending)

    def _return(self, returned: Returned) -> None:
        pending = self._mandatory.get(_mark(returned.properties))
        if pending is not None:
            # The confirm of this message follows.
            pending.error = UndeliverableMessage(returned.exchange, returned.routing_key)

    def _lose(self, failure: Exception) -> None:
        """Keep what is unconfirmed for the next channel, except what closed this one."""
        ended: list[Pending] = []
        with self._guard:
            unconfirmed = [pending for pending in self._unconfirmed.values() if not pending.done]
            self._unconfirmed.clear()
            self._unconfirmed = {}
            if isinstance(failure, ChannelClosed):
                for pending in self._culprits(unconfirmed, failure):
                    self._end(pending, failure, ended)
            self._count_retries(unconfirmed, failure, ended)
            self._again.extendleft(pending for pending in reversed(unconfirmed) if not pending.done)
        self._room.set()
        for pending in ended:
            pending.tell()

    def _culprits(self, unconfirmed: list[Pending], failure: ChannelClosed) -> list[Pending]:
        """Give the messages because of which a channel was closed; where that is unknown, begin to try them singly."""
        named = _NAMED_EXCHANGE.search(failure.text)
        if named is not None:
            return [pending for pending in unconfirmed if pending.message.exchange == named[1]]
        if len(unconfirmed) > 1:
            self._one_at_a_time = True
            return []
        return unconfirmed

    def _count_retries(self, unconfirmed: list[Pending], failure: Exception, ended: list[Pending]) -> None:
        """Give up messages that may not be published once more."""
        for pending in unconfirmed:
            if pending.retries == 0:
                lost = ConnectionLost(f"{failure}; the broker may have the message", maybe_executed=True)
                self._end(pending, lost, ended)
            elif pending.retries is not None:
                pending.retries -= 1
        for pending in self._again:
            if pending.retries == 0:
                self._end(pending, self._unsent(), ended)

    def forget(self, pending: Pending) -> bool:
        """Have nothing more to do with a message whose sender no longer waits; False when its outcome is there."""
        with self._guard:
            if pending.done:
                return False
            pending.done = True
            for sequence, other in self._unconfirmed.items():
                if other is pending:
                    del self._unconfirmed[sequence]
                    break
            if pending in self._again:
                self._again.remove(pending)
            self._mandatory.pop(_mark(pending.message.properties), None)
        self._room.set()
        return True

    def stop(self) -> None:
        """Wait for outstanding confirms, at most ``publish_timeout`` seconds; the first to call waits for all."""
        if self._has_stopped:
            return
        self._has_stopped = True
        deadline = monotonic() + self.config.publish_timeout
        while self._unconfirmed or self._again:
            self._room.clear()
            if not (self._unconfirmed or self._again):
                return
            if self._channel.current is None or not self._room.wait(max(0, deadline - monotonic())):
                _log.error("%d messages were not confirmed", len(self._unconfirmed) + len(self._again))
                return


def _log_failure(message: Message, error: Exception | None) -> None:
    if error is not None:
        level = logging.WARNING if isinstance(error, UndeliverableMessage) else logging.ERROR
        _log.log(level, "the message %r on exchange %r: %s", message.routing_key, message.exchange, error)


def _mark(properties: Properties) -> str:
    """Give what a returned message is known by."""
    headers = properties.get("headers")
    return str((headers and headers.get(MARK)) or properties.get("message_id", ""))


def _rejected(message: Message) -> PublishRejected:
    return PublishRejected(
        f"the broker refused the message {message.routing_key!r} on exchange {message.exchange!r}: "
        "a queue is full (x-overflow: reject-publish) or has failed"
    )
