"""Graveyard: the dead letters on a broker, for people who look at them, send them back or throw them away."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from rpcservice.amqp.connection import NOT_FOUND, AmqpConnection, connection_key
from rpcservice.amqp.deadletters import SUFFIX, dead_letter_queue, revived
from rpcservice.amqp.link import Delivery, LinkChannel
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.core.resource import Resource
from rpcservice.errors import ChannelClosed, ConnectionLost, UndeliverableMessage

Choice = Callable[[Delivery], bool]
"""Says of a dead letter whether it is meant."""


class Outcome(NamedTuple):
    """What has become of a dead letter.

    Attributes:
        letter: The dead letter.
        problem: Why it stays where it is; None when it is gone from there.
    """

    letter: Delivery
    problem: str | None


def name_of(queue: str) -> str:
    """Give the name of the queue with the dead letters of another one, which may be named itself."""
    return queue if queue.endswith(SUFFIX) else dead_letter_queue(queue)


class Graveyard(Resource):
    """The dead letters on the configured broker. What is taken and not dealt with goes back to its place."""

    def setup(self) -> None:
        """Ask for a connection and a sender with confirms."""
        key = connection_key(self.config)
        self._connection = self.resources.get(AmqpConnection, key)
        self._sender = self.resources.get(ConfirmedSender, key)

    def _channel(self) -> LinkChannel:
        link = self._connection.link
        if link is None:
            raise ConnectionLost(f"nothing was done: {self._connection.health()}")
        return link.channel()

    def count(self, queue: str) -> int | None:
        """Give how many dead letters a queue has; None where it has no place for them."""
        channel = self._channel()
        try:
            return channel.declare_queue(name_of(queue), passive=True).messages
        except ChannelClosed as exc:
            if exc.code == NOT_FOUND:
                return None
            raise
        finally:
            channel.close()

    def look(self, queue: str, is_meant: Choice, limit: int | None = None) -> Iterator[Delivery]:
        """Give the dead letters of a queue, the oldest first; they are back in their places when the iterator ends.

        Args:
            queue: The queue.
            is_meant: Which of them.
            limit: How many at most; those behind the last one are not asked for. None is all.
        """
        with _Taken(self._channel(), name_of(queue)) as taken:
            yield from islice(filter(is_meant, taken), limit)

    def replay(self, queue: str, is_meant: Choice, limit: int | None = None) -> Iterator[Outcome]:
        """Send dead letters back to where they failed, one after the other; the arguments are those of :meth:`look`.

        Each is published first, and taken out when the broker has it: what ends in between has come back and stays.
        """
        with _Taken(self._channel(), name_of(queue)) as taken:
            for letter in islice(filter(is_meant, taken), limit):
                message = revived(letter)
                if message is None:
                    yield Outcome(letter, "it does not say where it came from; no dead letter of rpcservice's")
                    continue
                try:
                    self._sender.publish(message)
                except UndeliverableMessage as exc:
                    yield Outcome(letter, f"it cannot be sent back: {exc}")
                    continue
                letter.ack()
                yield Outcome(letter, None)

    def purge(self, queue: str, is_meant: Choice, limit: int | None = None) -> Iterator[Outcome]:
        """Throw dead letters away, one after the other; the arguments are those of :meth:`look`."""
        with _Taken(self._channel(), name_of(queue)) as taken:
            for letter in islice(filter(is_meant, taken), limit):
                letter.ack()
                yield Outcome(letter, None)


class _Taken:
    """Takes what is in a queue now, once each; what is not acknowledged goes back when the channel is closed."""

    def __init__(self, channel: LinkChannel, queue: str) -> None:
        self._channel = channel
        self._queue = queue

    def __enter__(self) -> Iterator[Delivery]:
        # What comes meanwhile is left for the next time, or a replay that fails at once would never end.
        return self._take(self._channel.declare_queue(self._queue, passive=True).messages)

    def _take(self, count: int) -> Iterator[Delivery]:
        for _ in range(count):
            letter = self._channel.get(self._queue)
            if letter is None:
                return
            yield letter

    def __exit__(self, *exc_info: object) -> None:
        self._channel.close()
