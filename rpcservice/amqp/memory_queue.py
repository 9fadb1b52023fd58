"""Queues of the embedded broker.

Nothing here locks or waits: whoever calls holds the broker's lock.
"""

from bisect import bisect
from collections import deque
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from rpcservice.amqp.memory_consumer import Consumer
from rpcservice.amqp.memory_message import Stored
from rpcservice.amqp.memory_routing import Destination
from rpcservice.errors import ChannelClosed

if TYPE_CHECKING:
    from rpcservice.amqp.memory_vhost import VirtualHost

_PRIORITY_STEP = 1 << 48
_OVERFLOWS = ("drop-head", "reject-publish", "reject-publish-dlx")
_COMPARED_ARGUMENTS = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-type",
    "x-single-active-consumer",
)
"""Arguments in which a second declaration must agree with the first."""


class Queue(Destination):
    """Messages in their order, and the consumers that take them in turn.

    Raises:
        ChannelClosed: An argument is wrong (406).
    """

    __slots__ = (
        "arguments",
        "auto_delete",
        "consumers",
        "dead_letter_exchange",
        "dead_letter_key",
        "durable",
        "exclusive_consumer",
        "expires",
        "is_deleted",
        "is_single_active",
        "last_used",
        "max_bytes",
        "max_length",
        "max_priority",
        "overflow",
        "owner",
        "ready",
        "sequence",
        "size",
        "timer_at",
        "ttl",
        "vhost",
    )

    def __init__(
        self,
        vhost: "VirtualHost",
        name: str,
        *,
        durable: bool,
        auto_delete: bool,
        owner: object,
        arguments: Mapping[str, Any],
    ) -> None:
        super().__init__(name)
        self.vhost = vhost
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        """The link to which an exclusive queue belongs; None for the others."""
        self.arguments = dict(arguments)
        self.ready: deque[Stored] = deque()
        self.size = 0
        self.consumers: deque[Consumer] = deque()
        self.exclusive_consumer: Consumer | None = None
        self.is_deleted = False
        self.sequence = 0
        self.timer_at: float | None = None
        self._read_arguments()
        self.touch()

    def _read_arguments(self) -> None:
        self.ttl = self._seconds("x-message-ttl")
        self.expires = self._seconds("x-expires")
        self.max_length = self._number("x-max-length")
        self.max_bytes = self._number("x-max-length-bytes")
        self.max_priority = self._number("x-max-priority") or 0
        self.is_single_active = bool(self.arguments.get("x-single-active-consumer"))
        self.overflow = self._text("x-overflow") or "drop-head"
        self.dead_letter_exchange = self._text("x-dead-letter-exchange")
        self.dead_letter_key = self._text("x-dead-letter-routing-key")
        if self.expires == 0:
            raise self._wrong("x-expires", "it must be more than 0")
        if self.overflow not in _OVERFLOWS:
            raise self._wrong("x-overflow", f"it must be one of {', '.join(_OVERFLOWS)}")
        if self.dead_letter_key is not None and self.dead_letter_exchange is None:
            raise self._wrong("x-dead-letter-routing-key", "there is no x-dead-letter-exchange")

    def _number(self, key: str) -> int | None:
        value = self.arguments.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, "it must be a whole number of 0 or more")
        return value

    def _seconds(self, key: str) -> float | None:
        number = self._number(key)
        return None if number is None else number / 1000

    def _text(self, key: str) -> str | None:
        value = self.arguments.get(key)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(key, "it must be text")

    def _wrong(self, key: str, why: str) -> ChannelClosed:
        return ChannelClosed(
            406,
            f"PRECONDITION_FAILED - invalid arg '{key}' for queue '{self.name}' in vhost '{self.vhost.name}': "
            f"{self.arguments.get(key)!r}, {why}",
        )

    def difference(self, durable: bool, auto_delete: bool, arguments: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
        """Give name, received and current value of what another declaration does not agree in; None if it agrees."""
        pairs: list[tuple[str, Any, Any]] = [
            ("durable", durable, self.durable),
            ("auto_delete", auto_delete, self.auto_delete),
        ]
        pairs += [(key, arguments.get(key), self.arguments.get(key)) for key in _COMPARED_ARGUMENTS]
        return next((pair for pair in pairs if pair[1] != pair[2]), None)

    # Messages in

    def put(self, stored: Stored) -> None:
        """Take a message in: to a consumer that is free, otherwise to the end."""
        stored.queue = self
        self.sequence += 1
        stored.position = self.sequence
        if self.max_priority:
            stored.position -= _PRIORITY_STEP * min(stored.properties.get("priority") or 0, self.max_priority)
        if not self.ready:
            consumer = self._next_consumer()
            if consumer is not None:
                consumer.give(stored)
                return
        self._insert(stored)
        if self.max_length is not None or self.max_bytes is not None:
            self._drop_over_limit()
        self._watch_head()

    def is_full_for(self, size: int) -> bool:
        """Say whether a body of that size does not fit, where the queue then refuses and does not drop its head."""
        if self.overflow == "drop-head":
            return False
        return (self.max_length is not None and len(self.ready) >= self.max_length) or (
            self.max_bytes is not None and self.size + size > self.max_bytes
        )

    def put_back(self, stored: Stored, redelivered: bool = True) -> None:
        """Return a message to its place; :meth:`pump` must follow when all have been put back."""
        if self.is_deleted:
            return
        stored.consumer = None
        stored.redelivered |= redelivered
        self._insert(stored)

    def _insert(self, stored: Stored) -> None:
        ready = self.ready
        position = stored.position
        self.size += len(stored.body)
        if not ready or position > ready[-1].position:
            ready.append(stored)
        elif position < ready[0].position:
            ready.appendleft(stored)
        else:
            ready.insert(bisect(ready, position, key=_position), stored)

    # Messages out

    def pump(self) -> None:
        """Hand messages to consumers while there are both."""
        if self.is_deleted:
            return
        self._drop_over_limit()
        ready = self.ready
        while ready:
            if ready[0].expires_at is not None and self._drop_expired():
                continue
            consumer = self._next_consumer()
            if consumer is None:
                break
            consumer.give(self._take())
        self._watch_head()

    def _next_consumer(self) -> Consumer | None:
        consumers = self.consumers
        if self.is_single_active:
            return consumers[0] if consumers and consumers[0].has_room() else None
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.has_room():
                return consumer
        return None

    def take(self) -> Stored | None:
        """Take the first message out, None when there is none."""
        self._drop_expired()
        stored = self._take() if self.ready else None
        self._watch_head()
        return stored

    def _take(self) -> Stored:
        stored = self.ready.popleft()
        self.size -= len(stored.body)
        return stored

    def _drop_over_limit(self) -> None:
        max_length, max_bytes = self.max_length, self.max_bytes
        while self.ready and (
            (max_length is not None and len(self.ready) > max_length)
            or (max_bytes is not None and self.size > max_bytes)
        ):
            self.vhost.bury(self._take(), "maxlen")

    def _drop_expired(self) -> bool:
        now = monotonic()
        dropped = False
        while self.ready and (expires_at := self.ready[0].expires_at) is not None and expires_at <= now:
            self.vhost.bury(self._take(), "expired")
            dropped = True
        return dropped

    def _watch_head(self) -> None:
        # Only the head expires, as on RabbitMQ, so one timer a queue is enough.
        if self.ready:
            expires_at = self.ready[0].expires_at
            if expires_at is not None:
                self.vhost.broker.arm(self, expires_at)

    def purge(self) -> int:
        """Drop all messages that are ready; gives their number."""
        count = len(self.ready)
        self.ready.clear()
        self.size = 0
        return count

    # Time

    def touch(self) -> None:
        """Note that the queue is in use, for ``x-expires``."""
        if self.expires is not None:
            self.last_used = monotonic()
            self.vhost.broker.arm(self, self.last_used + self.expires)

    def on_time(self) -> None:
        """Do what is due: drop messages, or the queue itself."""
        if self.is_deleted:
            return
        if self.expires is not None and not self.consumers:
            if monotonic() >= self.last_used + self.expires:
                self.vhost.drop_queue(self)
                return
            self.vhost.broker.arm(self, self.last_used + self.expires)
        self._drop_expired()
        self._watch_head()

    # Consumers

    def add_consumer(self, consumer: Consumer, exclusive: bool) -> None:
        """Have a consumer take its turn from now on.

        Raises:
            ChannelClosed: Somebody has it for himself, or this consumer wants to and is not alone (403).
        """
        if self.exclusive_consumer is not None or (exclusive and self.consumers):
            raise ChannelClosed(
                403, f"ACCESS_REFUSED - queue '{self.name}' in vhost '{self.vhost.name}' in exclusive use"
            )
        self.consumers.append(consumer)
        if exclusive:
            self.exclusive_consumer = consumer
        self.pump()

    def remove_consumer(self, consumer: Consumer) -> None:
        """Forget a consumer; an auto-delete queue goes with its last one. :meth:`pump` must follow."""
        if consumer not in self.consumers:
            return
        self.consumers.remove(consumer)
        if self.exclusive_consumer is consumer:
            self.exclusive_consumer = None
        if self.consumers:
            return
        self.touch()
        if self.auto_delete:
            self.vhost.drop_queue(self)


def _position(stored: Stored) -> int:
    return stored.position
