"""Failures: what becomes of messages that could not be handled: they come again later, or go to the dead letters."""

import logging
from collections.abc import Callable
from time import time
from typing import Any, Protocol

from rpcservice.amqp.connection import ConnectionKey, pauses, publishing_key
from rpcservice.amqp.deadletters import (
    Route,
    again,
    attempts_of,
    dead_letter,
    dead_letter_queue,
    declare_dead_letters,
    lighter,
)
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.amqp.localcalls import LocalRequest
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.amqp.waiting import WAIT_EXCHANGE, WaitQueues
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.faults import summary
from rpcservice.core.retry import Retry
from rpcservice.errors import (
    BrokerError,
    ChannelClosed,
    DeclarationError,
    MessageTooLarge,
    PublishRejected,
    Requeue,
    UndeliverableMessage,
)

_log = logging.getLogger(__name__)


def keeps_dead_letters(given: Any, retry: Retry | None) -> bool:
    """Say whether an option ``dead_letter=`` asks for dead letters; None is true where there is a retry.

    Raises:
        DeclarationError: It is something else.
    """
    if not isinstance(given, bool | None):
        raise DeclarationError(f"dead_letter={given!r}: give True, False or None")
    return retry is not None if given is None else given


class Holder(Protocol):
    """Who has a message: the context of a worker."""

    @property
    def message(self) -> Any:
        """The Delivery; another one for the same message when that has come again by another channel."""
        ...


class _Unread:
    def __init__(self, message: Delivery) -> None:
        self.message = message


class Failures:
    """What becomes of the messages of one entrypoint that could not be handled.

    Args:
        entrypoint: The bound entrypoint.
        key: The key of the connection that it consumes on.
        retry: How often they are tried again; None is never, unless the method asks for it by ``Requeue``.
        dead_letters: Whether they are kept after the last attempt.

    Attributes:
        queue: The name of the queue, known when it has been declared.
    """

    def __init__(self, entrypoint: Entrypoint, key: ConnectionKey, retry: Retry | None, dead_letters: bool) -> None:
        host = entrypoint.bound_to
        publishing = publishing_key(key, host.config)
        self._sender = host.resource(ConfirmedSender, publishing)
        self._waits = host.resource(WaitQueues, publishing)
        self._backend = host.backend
        self._config = host.config
        self._service = host.service_name
        self._method = entrypoint.method_name
        self._retry = retry
        self._has_dead_letters = dead_letters
        self.queue = ""
        self._target = ""

    def declare(self, channel: LinkChannel, queue: str, *, lasts: bool = True) -> None:
        """Declare what failures need, so that a broker that does not allow it says so at the start.

        Args:
            channel: A channel.
            queue: The queue.
            lasts: Whether it outlives its consumers.
        """
        self.queue = queue
        self._target = queue if lasts else ""
        if self._retry is not None:
            channel.declare_exchange(WAIT_EXCHANGE, "headers", durable=True)
        if self._has_dead_letters:
            declare_dead_letters(channel, queue, self._config)

    def try_again(self, holder: Holder, error: BaseException, way_back: Route, deadline: float | None = None) -> bool:
        """Have a message come back later, if that is wanted; then it is acknowledged.

        Args:
            holder: Who has the message.
            error: Why it could not be handled.
            way_back: Where it is to be published then.
            deadline: Until when somebody waits for the outcome, in seconds since 1970.

        Gives False when this was the last attempt.
        """
        delivery = holder.message
        retry, attempts = self._retry, attempts_of(delivery.headers, self.queue) + 1
        if isinstance(error, Requeue):
            if retry is None and not error.delay:
                delivery.reject(requeue=True)
                return True
            if retry is not None and attempts >= retry.max_attempts:
                return False
            pause = error.delay
        elif retry is not None and retry.allows(error, attempts):
            pause = retry.pause(attempts)
        else:
            return False
        if deadline is not None and time() + pause > deadline:
            return False
        limit = f" of {retry.max_attempts}" if retry is not None else ""
        _log.warning("%s: attempt %d%s: %s; again in %.3g s", self, attempts, limit, summary(error), pause)
        message = again(delivery, self.queue, way_back, attempts)
        try:
            self._have_wait(holder, message, pause)
        except (ChannelClosed, MessageTooLarge) as exc:
            _log.error("%s cannot be tried again: %s", self, exc)
            return False
        return True

    def _have_wait(self, holder: Holder, message: Message, pause: float) -> None:
        """Give a message to the broker for a while, and acknowledge the one that it was made of.

        Raises:
            MessageTooLarge: The headers do not fit into a frame.
            ChannelClosed: The broker does not allow it.
        """
        request = holder.message
        if isinstance(request, LocalRequest):
            self._hand_out(request, message, pause)
            request.ack()
        elif self._hand_over(holder, lambda: self._waits.hand_over(message, pause, self._target)):
            holder.message.ack()

    def _hand_out(self, request: LocalRequest, message: Message, pause: float) -> None:
        """Send a request on that the broker knows nothing of: as long as its caller waits, for nobody else does."""
        for interval in pauses():
            seconds = request.seconds_left
            if seconds == 0:
                break
            try:
                if seconds is None:
                    self._waits.hand_over(message, pause, self._target)
                else:
                    self._waits.send(message, pause, timeout=seconds, retries=0, target=self._target)
                return
            except (ChannelClosed, MessageTooLarge):
                raise
            except BrokerError as exc:
                self._pause(exc, interval if seconds is None else min(interval, seconds))
        _log.error("%s: a request of this process is dropped: its caller waits no longer for a broker to keep it", self)

    def bury(self, holder: Holder, error: BaseException, way_back: Route) -> bool:
        """Put a message with the dead letters, if there are any for it; it is not acknowledged here.

        Gives False where nothing may become of the message here, for the broker has taken it back, or is to do so.
        """
        if not self._has_dead_letters:
            return True
        delivery = holder.message
        attempts = attempts_of(delivery.headers, self.queue) + 1
        letter = dead_letter(delivery, self.queue, way_back, attempts, error, self._service, self._method)
        is_kept = self._keep_what_fits(holder, letter)
        if is_kept:
            kept_in = dead_letter_queue(self.queue)
            _log.error("%s: given up after attempt %d, and put into %s: %s", self, attempts, kept_in, summary(error))
        return is_kept

    def bury_later(self, delivery: Delivery, error: BaseException, way_back: Route, done: Callable[[], Any]) -> None:
        """Do as :meth:`bury` for who must not wait, and call ``done`` when the message may be acknowledged."""
        if not self._has_dead_letters:
            done()
            return

        def bury() -> None:
            if self.bury(_Unread(delivery), error, way_back):
                done()

        self._backend.spawn(bury)

    def _keep_what_fits(self, holder: Holder, letter: Message) -> bool:
        """Keep a dead letter with as much of its headers as a frame takes."""
        try:
            return self._keep(holder, letter)
        except MessageTooLarge as exc:
            _log.warning("%s: its dead letter is kept with less in its headers: %s", self, exc)
        for version in lighter(letter):
            try:
                return self._keep(holder, version)
            except MessageTooLarge as exc:
                error = exc
        # Not put back at once, for it would come again without end.
        _log.error("%s: its message stays unacknowledged until this connection ends: %s", self, error)
        return False

    def _keep(self, holder: Holder, letter: Message) -> bool:
        """Hand a dead letter over; nothing else may become of it, so a broker that refuses it is asked again."""

        def send() -> None:
            try:
                self._sender.hand_over(letter)
            except UndeliverableMessage:
                self._declare_again(holder.message)
                raise
            except ChannelClosed as exc:
                raise PublishRejected(f"the broker refuses the dead letter: {exc}") from exc

        return self._hand_over(holder, send)

    def _hand_over(self, holder: Holder, send: Callable[[], None]) -> bool:
        """Send until the broker has it; False when it takes the delivery itself back and gives it to somebody else.

        Raises:
            MessageTooLarge: The headers do not fit into a frame.
            ChannelClosed: The broker does not allow it.
        """
        for pause in pauses():
            # Looked at each time, for it may have come again meanwhile.
            if not holder.message.channel.is_open:
                break
            try:
                send()
                return True
            except (ChannelClosed, MessageTooLarge):
                raise
            except BrokerError as exc:
                self._pause(exc, pause)
        _log.warning("%s: the connection broke, so the broker gives its message to somebody again", self)
        return False

    def _pause(self, error: BrokerError, seconds: float) -> None:
        _log.warning("%s: its message cannot be kept yet: %s; trying again in %.3g s", self, error, seconds)
        self._backend.sleep(seconds)

    def _declare_again(self, delivery: Delivery) -> None:
        try:
            declare_dead_letters(delivery.channel, self.queue, self._config)
        except BrokerError as exc:
            _log.error("the queue %s cannot be declared: %s", dead_letter_queue(self.queue), exc)

    def __str__(self) -> str:
        return f"{self._service}.{self._method}"
