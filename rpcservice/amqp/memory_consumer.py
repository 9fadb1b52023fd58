"""Consumers of the embedded broker, and the outbox through which a link hears of things.

Nothing here locks or waits: whoever calls holds the broker's lock.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rpcservice.amqp.link import Delivery
from rpcservice.amqp.memory_message import Stored, copy_properties

if TYPE_CHECKING:
    from rpcservice.amqp.memory_channel import MemoryChannel
    from rpcservice.amqp.memory_queue import Queue

OUTBOX_LIMIT = 1000
"""So many callbacks may wait for a link; past it, queues keep their messages until some have run."""

Waiting = tuple[Callable[[Any], object], Any, Stored | None]
"""A callback, its argument, and for a delivery the stored message."""


class Outbox:
    """Callbacks that wait to run where their link lives, in order.

    Args:
        wake: Has the link empty the outbox soon.
    """

    __slots__ = ("is_awake", "items", "stuck", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.is_awake = False
        self.items: deque[Waiting] = deque()
        self.stuck: dict[Queue, None] = {}
        """Queues that hold messages back because this outbox was full."""

    def add(self, function: Callable[[Any], object], argument: Any, stored: Stored | None = None) -> None:
        """Leave a callback; wakes the link when it sleeps."""
        self.items.append((function, argument, stored))
        if not self.is_awake:
            self.is_awake = True
            self.wake()

    def refill(self) -> None:
        """Let queues that were held back go on."""
        stuck, self.stuck = self.stuck, {}
        for queue in stuck:
            queue.pump()


class Consumer:
    """Somebody who takes messages of a queue."""

    __slots__ = ("channel", "no_ack", "on_cancel", "on_message", "outbox", "prefetch", "queue", "tag", "unacked")

    def __init__(
        self,
        channel: "MemoryChannel",
        queue: "Queue",
        tag: str,
        on_message: Callable[[Delivery], None],
        on_cancel: Callable[[], None] | None,
        no_ack: bool,
    ) -> None:
        self.channel = channel
        self.outbox = channel.outbox
        self.queue = queue
        self.tag = tag
        self.on_message = on_message
        self.on_cancel = on_cancel
        self.no_ack = no_ack
        self.prefetch = 0 if no_ack else channel.prefetch
        self.unacked = 0

    def has_room(self) -> bool:
        """Say whether it may be given another message now."""
        if self.prefetch and self.unacked >= self.prefetch:
            return False
        if len(self.outbox.items) < OUTBOX_LIMIT:
            return True
        self.outbox.stuck[self.queue] = None
        return False

    def give(self, stored: Stored) -> None:
        """Leave a message for ``on_message``."""
        channel = self.channel
        channel.last_tag = tag = channel.last_tag + 1
        if self.no_ack:
            properties = copy_properties(stored.properties) if stored.is_shared else stored.properties
        else:
            stored.consumer = self
            self.unacked += 1
            channel.unacked[tag] = stored
            properties = copy_properties(stored.properties)
        delivery = Delivery(
            channel,
            self.tag,
            tag,
            stored.redelivered,
            stored.exchange,
            stored.routing_key,
            stored.body,
            properties,
        )
        self.outbox.add(self.on_message, delivery, stored)
