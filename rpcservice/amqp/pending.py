"""Pending, a message until the broker has confirmed it, and what is said of how it ends."""

import copy
import logging
import re
from collections.abc import Callable, Iterable
from time import monotonic

from rpcservice.amqp.link import Message, Properties, Returned
from rpcservice.concurrency import Backend, Event
from rpcservice.config import Settings
from rpcservice.core.context import new_id
from rpcservice.errors import ChannelClosed, ConnectionLost, PublishRejected, UndeliverableMessage

BETWEEN_CHANNELS = 1.0
"""Seconds from one channel on which messages are refused to the next."""
MARK = "rpcservice-mark"
"""The header by which a returned message is known, where others of the same message id may be under way."""
_NAMED = re.compile(r"(?:topic '([^']*)' in )?exchange '([^']*)'")
"""What a broker's explanation says of the message that it does not take."""

_log = logging.getLogger(__name__)


class Pending:
    """A message until the broker has confirmed it."""

    __slots__ = ("done", "error", "event", "message", "on_done", "retries", "was_sent")

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
        # A channel has had it, so that the broker may have it.
        self.was_sent = False


class Mandatory:
    """The mandatory messages that are under way on one channel; not safe without the sender's guard.

    One that no queue takes is known by its message id when it comes back. Of several with one id, which are the dead
    letters of a message that two queues failed with, or whatever a sender gives one id, those after the first get a
    mark of their own.
    """

    def __init__(self) -> None:
        self._known: dict[str, Pending] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, pending: Pending) -> None:
        """Take in a message that is about to be published; afterwards no other comes back as this one does."""
        if self._known.setdefault(mark(pending.message.properties), pending) is not pending:
            pending.message = _marked(pending.message)
            self._known[mark(pending.message.properties)] = pending

    def discard(self, pending: Pending) -> None:
        """Forget a message, if it is here."""
        known_by = mark(pending.message.properties)
        if self._known.get(known_by) is pending:
            del self._known[known_by]

    def clear(self) -> None:
        """Forget all: whatever still comes back on this channel means no message of the next."""
        self._known.clear()

    def take_back(self, returned: Returned) -> None:
        """Note that a message has come back; its confirm follows."""
        pending = self._known.get(mark(returned.properties))
        if pending is not None:
            pending.error = UndeliverableMessage(returned.exchange, returned.routing_key)


class Refusals:
    """Has another channel opened after the broker has refused messages on one, or ignored them, at most once a second.

    A channel of RabbitMQ (3.10 at least) on which a quorum queue got its first message while it had no leader goes on
    refusing what is for that queue when it has one again; before 4.2, one on which a message was lost with the leader
    never confirms another one (https://github.com/rabbitmq/rabbitmq-server/pull/14589). A queue of another kind refuses
    only what is too much for it.

    Args:
        config: The settings.
        backend: What waits for the last confirms.
        is_busy: Says whether confirms are still to come on the channel.
        renew: Has another channel opened; must not wait.

    Attributes:
        can_be_stuck: Messages may go to quorum queues, so that there is any of this.
        is_due: The channel is to take nothing more; whoever hears of its end sets this back.
    """

    def __init__(
        self, config: Settings, backend: Backend, is_busy: Callable[[], bool], renew: Callable[[], None]
    ) -> None:
        self.can_be_stuck = config.queue_type == "quorum"
        self._backend = backend
        self._is_busy = is_busy
        self._renew = renew
        self._not_before = 0.0
        self.is_due = False

    def note(self) -> None:
        """Take note of a refusal, or of a confirm that did not come."""
        if self.can_be_stuck and monotonic() >= self._not_before:
            self._not_before = monotonic() + BETWEEN_CHANNELS
            self.is_due = True
            self._backend.call_later(BETWEEN_CHANNELS, self._renew_at_last)

    def look(self) -> None:
        """Open another channel if that is due and nothing is under way on this one; not while anything is guarded."""
        if self.is_due and not self._is_busy():
            self._renew()

    def _renew_at_last(self) -> None:
        """Wait no longer for confirms that do not come."""
        if self.is_due:
            self._renew()


def tell_all(ended: Iterable[Pending]) -> None:
    """Tell who waits for messages that have ended; not while the sender is guarded, for some have locks of their own.

    What goes wrong with one must not keep the others waiting.
    """
    for pending in ended:
        if pending.event is not None:
            pending.event.set()
        if pending.on_done is not None:
            try:
                pending.on_done(pending.error)
            except Exception:
                _log.exception("who sent the message %r failed to hear of its outcome", pending.message.routing_key)


def blamed(messages: Iterable[Pending], failure: ChannelClosed) -> list[Pending]:
    """Give those that the broker's explanation of why it closed a channel is about; none where it does not say."""
    named = _NAMED.search(failure.text)
    if named is None:
        return []
    topic, exchange = named.groups()
    return [
        pending
        for pending in messages
        if pending.message.exchange == exchange and topic in (None, pending.message.routing_key)
    ]


def describe(message: Message, seconds: float) -> str:
    """Say which message has waited, and for how long."""
    return f"within {seconds:g} s for {message.routing_key!r} on exchange {message.exchange!r}"


def mark(properties: Properties) -> str:
    """Give what a returned message is known by."""
    headers = properties.get("headers")
    return str((headers and headers.get(MARK)) or properties.get("message_id", ""))


def _marked(message: Message) -> Message:
    """Give the message with a mark by which no other is known."""
    marked = copy.copy(message)
    marked.properties = {**message.properties, "headers": {**(message.properties.get("headers") or {}), MARK: new_id()}}
    return marked


def rejected(message: Message) -> PublishRejected:
    """Give the error for a message that was refused (``basic.nack``)."""
    return PublishRejected(
        f"the broker refused the message {message.routing_key!r} on exchange {message.exchange!r}: "
        "a queue is full (x-overflow: reject-publish) or has failed"
    )


def broken(failure: Exception) -> ConnectionLost:
    """Give the error for a message that was sent, and whose confirm cannot come any more."""
    return ConnectionLost(f"{failure}; the broker may have the message", maybe_executed=True)


def log_failure(message: Message, error: Exception | None) -> None:
    """Log the outcome of a message that nobody waits for."""
    if error is not None:
        level = logging.WARNING if isinstance(error, UndeliverableMessage) else logging.ERROR
        _log.log(level, "the message %r on exchange %r: %s", message.routing_key, message.exchange, error)
