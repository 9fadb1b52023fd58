"""Senders: messages without confirms, for requests, and with confirms by callback, for everything that must arrive."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from time import monotonic

from rpcservice.amqp.connection import AmqpConnection
from rpcservice.amqp.link import LinkChannel, Message, Returned
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.pending import (
    Mandatory,
    Pending,
    Refusals,
    blamed,
    broken,
    describe,
    log_failure,
    rejected,
    tell_all,
)
from rpcservice.concurrency import Event
from rpcservice.core.resource import Resource
from rpcservice.errors import ChannelClosed, ConnectionLost, PublishTimeout

_log = logging.getLogger(__name__)

Topology = Callable[[LinkChannel], None]
"""Declares something; carried out each time the channel is opened."""


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
        self._mandatory = Mandatory()
        # One of them has closed a channel; they are tried singly.
        self._suspects: set[Pending] = set()
        self._has_forgotten = False
        self._room_for = self.config.publish_buffer
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
        self.refusals = Refusals(self.config, self.backend, lambda: bool(self._unconfirmed), self._channel.reopen)

    def declare(self, topology: Topology) -> None:
        """Have something declared each time the channel is opened; call it in ``setup``."""
        self._topology.append(topology)

    def _open(self, channel: LinkChannel) -> None:
        # With the tables of this channel: on threads, the reader of one that is lost may still come with a confirm, and
        # its number means another message of the next channel.
        channel.on_confirm = partial(self._confirm, self._unconfirmed)
        channel.on_return = partial(self._return, self._mandatory)
        for topology in self._topology:
            topology(channel)

    def publish(self, message: Message, timeout: float | None = None, *, retries: int | None = None) -> None:
        """Publish a message and wait until the broker has it.

        Args:
            message: The message.
            timeout: Seconds to wait; None is ``publish_timeout``.
            retries: How many times it may be published again when the connection is lost; None is without bound.

        Raises:
            PublishTimeout: No confirm came in time; whether the broker has the message is unknown. Or there was no room
                for it in ``publish_buffer``.
            ConnectionLost: The connection did not come back in time; nothing was sent. Or it was lost once more than
                ``retries`` says, or is lost where that is 0.
            PublishRejected: The broker refused it.
            UndeliverableMessage: It is mandatory and no queue took it.
            MessageTooLarge: It was not sent.
            ChannelClosed: The broker closed the channel because of it.
        """
        seconds = self.config.publish_timeout if timeout is None else timeout
        event = self.backend.event()
        pending = Pending(message, None, event, retries)
        left = self._admit(message, seconds, retries)
        self._send(pending)
        try:
            has_outcome = self._wait(event, left)
        except BaseException:
            # A worker that is killed, or a time-out of the caller's own: nothing is to be sent behind its back.
            self.forget(pending)
            raise
        if not has_outcome:
            if self.forget(pending):
                raise self.timed_out(pending, seconds)
            event.wait()  # its outcome has just come
        if pending.error is not None:
            raise pending.error

    def hand_over(self, message: Message) -> None:
        """Publish a message once and wait until its outcome is known, however long that takes.

        For what somebody else still holds: were it given up and published again while an alarm keeps the broker from
        reading, it would arrive as often.

        Raises:
            ConnectionLost: There is no connection, or it was lost; whether the broker has the message is unknown then.
            PublishRejected: The broker refused it.
            UndeliverableMessage: It is mandatory and no queue took it.
            MessageTooLarge: It was not sent.
            ChannelClosed: The broker closed the channel because of it.
        """
        seconds = self.config.publish_timeout
        event = self.backend.event()
        pending = Pending(message, None, event, 0)
        self._admit(message, seconds, 0)
        self._send(pending)
        try:
            while not event.wait(seconds):
                reason = self._look_at_silence() or "the broker is silent"
                _log.warning("no confirm %s: %s; waiting on", describe(message, seconds), reason)
        except BaseException:
            self.forget(pending)
            raise
        if pending.error is not None:
            raise pending.error

    def _wait(self, event: Event, seconds: float) -> bool:
        if self._channel.current is not None:
            return event.wait(seconds)
        # Who begins to wait while the broker is away has it looked for more often.
        with self.connection.awaited():
            return event.wait(seconds)

    def post(self, message: Message, timeout: float | None = None, *, retries: int | None = None) -> None:
        """Publish a message without waiting for the confirm; an error that comes then is logged.

        Args:
            message: The message.
            timeout: Seconds to wait for room in ``publish_buffer``; None is ``publish_timeout``.
            retries: As for :meth:`publish`.

        Raises:
            PublishTimeout: There was no room; it was not sent.
            ConnectionLost: The same, since the connection is lost; or it is lost and ``retries`` is 0.
            MessageTooLarge: It was not sent.
        """
        seconds = self.config.publish_timeout if timeout is None else timeout
        self._admit(message, seconds, retries)
        self._send(Pending(message, partial(log_failure, message), None, retries))

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

    def timed_out(self, pending: Pending, seconds: float) -> PublishTimeout | ConnectionLost:
        """Give the error for a message that has waited so many seconds for its confirm, and that is forgotten now."""
        what = describe(pending.message, seconds)
        if not pending.was_sent:
            return self._unsent(f"; the message had no channel {what}")
        reason = self._look_at_silence() or "the broker sent no confirm"
        return PublishTimeout(f"no confirm {what}: {reason}; whether the broker has the message is unknown")

    def _look_at_silence(self) -> str | None:
        """Give why nothing is confirmed, if that is known; else have another channel opened, if that may help."""
        trouble = self.connection.health()
        if trouble is None:
            # Not because of an alarm: what is sent after this one on the same channel might not be confirmed either.
            self.refusals.note()
            self.refusals.look()
        return trouble

    def no_room(self, message: Message, seconds: float) -> PublishTimeout | ConnectionLost:
        """Give the error for a message that has waited so many seconds for room in ``publish_buffer``."""
        what = describe(message, seconds)
        full = f"publish_buffer ({self.config.publish_buffer}) is full"
        if self._channel.current is None:
            return self._unsent(f"; the message had no room {what}, since {full}")
        reason = self.connection.health() or "the broker sent no confirm"
        return PublishTimeout(f"no room {what}: {reason}; the message was not sent, since {full}")

    def _admit(self, message: Message, seconds: float, retries: int | None) -> float:
        """Wait for room, and refuse what may not wait for another connection; gives the seconds that are left."""
        if retries != 0 and not self._is_full():
            return seconds
        deadline = monotonic() + seconds
        while True:
            if retries == 0 and self._channel.current is None:
                raise self._unsent()
            if not self._is_full():
                return max(0, deadline - monotonic())
            self._room.clear()
            if not self._is_full():
                # On threads there may have been room before the flag was lowered: others look out for it as well.
                self._room.set()
            elif not self._room.wait(max(0, deadline - monotonic())):
                raise self.no_room(message, seconds)

    def _is_full(self) -> bool:
        return len(self._unconfirmed) + len(self._again) >= self._room_for

    def _send(self, pending: Pending) -> None:
        ended: list[Pending] = []
        with self._guard:
            channel = self._channel.current
            if channel is None and pending.retries == 0:
                raise self._unsent()
            has_to_wait = self._again or self._suspects or self.refusals.is_due
            if channel is None or has_to_wait or not self._publish_on(channel, pending, ended):
                self._again.append(pending)
        if ended:
            tell_all(ended)

    def _unsent(self, more: str = "") -> ConnectionLost:
        reason = "the connection is being set up again"
        if self._suspects and self._channel.current is not None:
            reason = "others go first, one at a time, for one of them has closed the channel"
        return ConnectionLost(f"nothing was sent: {self.connection.health() or reason}{more}", maybe_executed=False)

    def _publish_on(self, channel: LinkChannel, pending: Pending, ended: list[Pending]) -> bool:
        """Publish a message; False when it has to wait for another channel."""
        message = pending.message
        if message.mandatory:
            self._mandatory.add(pending)
            message = pending.message
        is_first = not pending.was_sent
        # Noted before, for on some links publishing waits. A channel that has ended takes nothing.
        pending.was_sent = pending.was_sent or channel.is_open
        try:
            self._unconfirmed[channel.publish(message)] = pending
        except (ConnectionLost, ChannelClosed) as exc:
            # The channel has ended because of something else, and this sender is about to hear of it. Where a message
            # was sent before, this was to be the last time, and has not been.
            if pending.retries != 0 or not is_first:
                return False
            self._end(pending, broken(exc) if pending.was_sent else self._unsent(), ended)
        except BaseException:
            self._mandatory.discard(pending)
            raise
        return True

    def _pump(self, ended: list[Pending]) -> None:
        """Publish what waits; one at a time while it is not known which message closed the channel."""
        while self._again and not (self._suspects and self._unconfirmed) and not self.refusals.is_due:
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
            except Exception as exc:
                # Whatever it is, it is for who sends this message; the others have to go on.
                self._end(pending, exc, ended)

    def _resume(self, channel: LinkChannel) -> None:
        """Publish what waits for this channel."""
        ended: list[Pending] = []
        with self._guard:
            self._pump(ended)
        tell_all(ended)

    def _confirm(self, unconfirmed: dict[int, Pending], sequences: Sequence[int], multiple: bool, taken: bool) -> None:
        ended: list[Pending] = []
        with self._guard:
            if multiple:
                # In the order in which they were published.
                sequences = list(takewhile(sequences[0].__ge__, unconfirmed))
            for one in sequences:
                pending = unconfirmed.pop(one, None)
                if pending is not None:
                    self._end(pending, None if taken else rejected(pending.message), ended)
            if not taken:
                self.refusals.note()
            if self._again:
                self._pump(ended)
        self._room.set()
        tell_all(ended)
        self.refusals.look()

    def _end(self, pending: Pending, error: Exception | None, ended: list[Pending]) -> None:
        """Note the outcome of a message, once; who waits for it is told afterwards."""
        if pending.message.mandatory:
            self._mandatory.discard(pending)
        if self._suspects:
            self._suspects.discard(pending)
        if not pending.done:
            pending.done = True
            pending.error = pending.error or error
            ended.append(pending)

    def _return(self, mandatory: Mandatory, returned: Returned) -> None:
        with self._guard:
            mandatory.take_back(returned)

    def _lose(self, failure: Exception) -> None:
        """Keep what is unconfirmed for the next channel, except what closed this one, or what came back on it."""
        ended: list[Pending] = []
        with self._guard:
            unconfirmed = list(self._unconfirmed.values())
            self._unconfirmed.clear()
            self._mandatory.clear()
            self._unconfirmed, self._mandatory = {}, Mandatory()
            if isinstance(failure, ChannelClosed):
                for pending in self._culprits(unconfirmed, failure):
                    self._end(pending, failure, ended)
            for pending in unconfirmed:
                if pending.error is not None:
                    self._end(pending, pending.error, ended)
            self._has_forgotten = False
            self.refusals.is_due = False
            self._count_retries(unconfirmed, failure, ended)
            self._again = deque(pending for pending in (*unconfirmed, *self._again) if not pending.done)
        self._room.set()
        tell_all(ended)

    def _culprits(self, unconfirmed: list[Pending], failure: ChannelClosed) -> list[Pending]:
        """Give the messages because of which a channel was closed; where that is unknown, begin to try them singly."""
        if culprits := blamed(unconfirmed, failure):
            return culprits
        if len(unconfirmed) > 1 or self._has_forgotten:
            self._suspects.update(unconfirmed)
            return []
        return unconfirmed

    def _count_retries(self, unconfirmed: list[Pending], failure: Exception, ended: list[Pending]) -> None:
        """Give up messages that may not be published once more."""
        for pending in unconfirmed:
            if pending.retries == 0:
                self._end(pending, broken(failure), ended)
            elif pending.retries is not None:
                pending.retries -= 1
        for pending in self._again:
            if pending.retries == 0 and not pending.was_sent:
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
                    # If this one closes the channel, it must not be taken for the mistake of another.
                    self._has_forgotten = True
                    break
            if pending in self._again:
                self._again.remove(pending)
            self._suspects.discard(pending)
            self._mandatory.discard(pending)
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
                self._room.set()
                return
            if self._channel.current is None or not self._room.wait(max(0, deadline - monotonic())):
                _log.error("%d messages were not confirmed", len(self._unconfirmed) + len(self._again))
                return
