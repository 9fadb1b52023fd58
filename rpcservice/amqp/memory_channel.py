"""MemoryChannel: one channel to the embedded broker, both its ends."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rpcservice.amqp.link import Delivery, Message, QueueInfo, Returned
from rpcservice.amqp.memory_consumer import Consumer, Waiting
from rpcservice.amqp.memory_message import Stored, copy_properties, snapshot
from rpcservice.amqp.memory_queue import Queue
from rpcservice.amqp.properties import check_names
from rpcservice.core.context import new_id
from rpcservice.errors import ChannelClosed, ConnectionLost

if TYPE_CHECKING:
    from rpcservice.amqp.memory import MemoryLink

Answer = TypeVar("Answer")


class MemoryChannel:
    """See :class:`~rpcservice.amqp.link.LinkChannel`.

    ``failure`` and ``is_open`` are what the client knows; everything that the broker works with, from ``prefetch``
    on, is guarded by the broker's lock.
    """

    def __init__(self, link: "MemoryLink", *, confirms: bool) -> None:
        self.on_confirm: Callable[[Sequence[int], bool, bool], None] | None = None
        self.on_return: Callable[[Returned], None] | None = None
        self.on_closed: Callable[[Exception], None] | None = None
        self.failure: Exception | None = None
        self.is_open = True
        self._link = link
        self._lock = link.broker.lock
        self._vhost = link.vhost
        self._confirms = confirms
        self._sequence = 0
        # Kept, for a bound method is made anew each time it is looked up.
        self._confirmed = self._tell_confirm
        self.outbox = link.outbox
        self.prefetch = 0
        self.last_tag = 0
        self.unacked: dict[int, Stored] = {}
        self._consumers: dict[str, Consumer] = {}
        self._is_shut = False

    # Hot methods

    def publish(self, message: Message) -> int:
        """Hand one message to the broker; gives its sequence number (0 without confirms)."""
        if self.failure is not None:
            raise self.failure
        properties = snapshot(message)
        body = message.body
        with self._lock:
            if self._confirms:
                self._sequence += 1
            if self._is_shut:
                return self._sequence
            try:
                routed, taken = self._vhost.publish(message.exchange, message.routing_key, body, properties)
            except ChannelClosed as exc:
                self.shut(exc)
                return self._sequence
            if message.mandatory and not routed:
                returned = Returned(312, "NO_ROUTE", message.exchange, message.routing_key, properties, body)
                self.outbox.add(self._tell_return, returned)
            if self._confirms:
                self._confirm(taken)
            return self._sequence

    def _confirm(self, taken: bool) -> None:
        # Confirms in a row become one, as on RabbitMQ; all before it have their answer in the outbox already.
        items = self.outbox.items
        if items and items[-1][0] is self._confirmed and items[-1][1][2] == taken:
            items[-1][1][:2] = (self._sequence,), True
        else:
            self.outbox.add(self._confirmed, [(self._sequence,), False, taken])

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge; without effect on a channel that is gone."""
        with self._lock:
            stored = self.unacked.pop(delivery_tag, None)
            if stored is None or multiple:
                self._ack_all(delivery_tag, multiple, stored)
                return
            if stored.consumer is not None:
                stored.consumer.unacked -= 1
            if stored.queue.ready:
                stored.queue.pump()

    def _ack_all(self, delivery_tag: int, multiple: bool, last: Stored | None) -> None:
        if last is not None:
            self.unacked[delivery_tag] = last
        _pump([stored.queue for stored in self._pop_unacked(delivery_tag, multiple)])

    def reject(self, delivery_tag: int, requeue: bool = False, multiple: bool = False) -> None:
        """Give back to the queue or drop; without effect on a channel that is gone."""
        with self._lock:
            given_back = self._pop_unacked(delivery_tag, multiple)
            if requeue:
                _put_back(given_back, True)
            else:
                for stored in given_back:
                    self._vhost.bury(stored, "rejected")
            _pump([stored.queue for stored in given_back])

    def _pop_unacked(self, delivery_tag: int, multiple: bool) -> list[Stored]:
        """Take messages out of those that wait for an ack, and let their consumers have others."""
        if multiple:
            tags = [tag for tag in self.unacked if tag <= delivery_tag or not delivery_tag]
        else:
            tags = [delivery_tag] if delivery_tag in self.unacked else []
        if not tags and (delivery_tag or not multiple) and not self._is_shut:
            self.shut(ChannelClosed(406, f"PRECONDITION_FAILED - unknown delivery tag {delivery_tag}"))
        popped = [self.unacked.pop(tag) for tag in tags]
        for stored in popped:
            if stored.consumer is not None:
                stored.consumer.unacked -= 1
        return popped

    # Called by the broker

    def shut(self, failure: Exception | None) -> None:
        """End the broker's side: consumers go, messages return to their queues; the client is told of a failure."""
        if self._is_shut:
            return
        self._is_shut = True
        consumers = list(self._consumers.values())
        for consumer in consumers:
            consumer.queue.remove_consumer(consumer)
        self._consumers.clear()
        unseen = self._take_back(None)
        seen = self._pop_unacked(0, True)
        _put_back(unseen, False)
        _put_back(seen, True)
        # One who waited for another to go may be its successor.
        _pump([consumer.queue for consumer in consumers] + [stored.queue for stored in seen])
        self._link.forget(self)
        if failure is not None:
            self.outbox.add(self._fail, failure)

    def _take_back(self, consumer_tag: str | None) -> list[Stored]:
        """Take deliveries out of the outbox again: of one consumer, or of the whole channel."""
        kept: deque[Waiting] = deque()
        taken = []
        for item in self.outbox.items:
            delivery, stored = item[1], item[2]
            if stored is None or delivery.channel is not self or consumer_tag not in (None, delivery.consumer_tag):
                kept.append(item)
                continue
            taken.append(stored)
            if self.unacked.pop(delivery.delivery_tag, None) is not None and stored.consumer is not None:
                stored.consumer.unacked -= 1
        self.outbox.items = kept
        return taken

    def drop_consumer(self, consumer: Consumer, tell: bool) -> None:
        """Forget a consumer whose queue is gone, and tell it so."""
        self._consumers.pop(consumer.tag, None)
        if tell:
            self.outbox.add(_tell_cancel, consumer)

    # Called from the outbox, where the link lives

    def _tell_confirm(self, confirm: list[Any]) -> None:
        if self.on_confirm is not None:
            self.on_confirm(*confirm)

    def _tell_return(self, returned: Returned) -> None:
        if self.on_return is not None:
            self.on_return(returned)

    def _fail(self, failure: Exception) -> None:
        if self.failure is not None:
            return
        self.failure = failure
        self.is_open = False
        if self.on_closed is not None:
            self.on_closed(failure)

    # Topology

    def declare_exchange(
        self,
        name: str,
        type: str = "direct",
        *,
        durable: bool = True,
        auto_delete: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        """Make an exchange, or check that an equal one exists."""
        check_names(exchange=name)
        self._ask(self._vhost.declare_exchange, name, type, durable, auto_delete, passive, arguments or {})

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange with its bindings."""
        check_names(exchange=name)
        self._ask(self._vhost.delete_exchange, name)

    def declare_queue(
        self,
        name: str = "",
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        passive: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> QueueInfo:
        """Make a queue, or check that an equal one exists; an empty name lets the broker choose."""
        check_names(name)
        declare = self._vhost.declare_queue
        return self._ask(declare, name, durable, exclusive, auto_delete, passive, arguments or {}, self._link)

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; gives the number of messages that went with it."""
        check_names(name)
        return self._ask(self._vhost.delete_queue, name, if_unused, if_empty, self._link)

    def purge_queue(self, name: str) -> int:
        """Drop the messages of a queue that nobody holds; gives their number."""
        check_names(name)
        return self._ask(lambda: self._vhost.queue(name, self._link).purge())

    def bind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of an exchange reach a queue."""
        check_names(queue, exchange, routing_key)
        self._ask(self._vhost.bind_queue, queue, exchange, routing_key, arguments or {}, self._link)

    def unbind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Undo :meth:`bind_queue`."""
        check_names(queue, exchange, routing_key)
        self._ask(self._vhost.unbind_queue, queue, exchange, routing_key, arguments or {}, self._link)

    def bind_exchange(
        self, destination: str, source: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of one exchange reach another."""
        check_names(exchange=destination, routing_key=routing_key)
        check_names(exchange=source)
        self._ask(self._vhost.bind_exchange, destination, source, routing_key, arguments or {})

    # Consuming

    def qos(self, prefetch_count: int) -> None:
        """Bound the unacknowledged messages of each consumer started afterwards."""
        self._ask(setattr, self, "prefetch", prefetch_count)

    def consume(
        self,
        queue: str,
        on_message: Callable[[Delivery], None],
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str = "",
        on_cancel: Callable[[], None] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Have messages of a queue handed to ``on_message``; gives the consumer tag."""
        check_names(queue)
        tag = consumer_tag or f"ctag-{new_id()}"
        self._ask(self._consume, queue, tag, on_message, on_cancel, no_ack, exclusive)
        return tag

    def _consume(
        self,
        name: str,
        tag: str,
        on_message: Callable[[Delivery], None],
        on_cancel: Callable[[], None] | None,
        no_ack: bool,
        exclusive: bool,
    ) -> None:
        if tag in self._consumers:
            raise ConnectionLost(
                f"the broker closed the connection: 530 NOT_ALLOWED - attempt to reuse consumer tag '{tag}'"
            )
        queue = self._vhost.queue(name, self._link)
        consumer = Consumer(self, queue, tag, on_message, on_cancel, no_ack)
        queue.add_consumer(consumer, exclusive)
        self._consumers[tag] = consumer

    def cancel(self, consumer_tag: str) -> None:
        """End a consumer; what it was given stays to be acked."""
        self._ask(self._cancel, consumer_tag)

    def _cancel(self, consumer_tag: str) -> None:
        consumer = self._consumers.pop(consumer_tag, None)
        if consumer is None:
            return
        unseen = self._take_back(consumer_tag)
        consumer.queue.remove_consumer(consumer)
        _put_back(unseen, False)
        consumer.queue.pump()

    def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message of a queue, or None when it is empty."""
        check_names(queue)
        return self._ask(self._get, queue, no_ack)

    def _get(self, name: str, no_ack: bool) -> Delivery | None:
        queue = self._vhost.queue(name, self._link)
        queue.touch()
        stored = queue.take()
        if stored is None:
            return None
        self.last_tag += 1
        if not no_ack:
            self.unacked[self.last_tag] = stored
        properties = copy_properties(stored.properties)
        return Delivery(
            self,
            "",
            self.last_tag,
            stored.redelivered,
            stored.exchange,
            stored.routing_key,
            stored.body,
            properties,
        )

    def close(self) -> None:
        """Close the channel; unacknowledged messages go back to their queues."""
        if not self.is_open:
            return
        with self._lock:
            self.shut(None)
        self._link.wait_until_told()
        self.is_open = False
        self.failure = self.failure or ChannelClosed(200, "closed by this process")

    leave = close

    def _ask(self, function: Callable[..., Answer], *args: Any) -> Answer:
        """Carry out what the broker may refuse."""
        if self.failure is not None:
            raise self.failure
        with self._lock:
            if not self._is_shut:
                try:
                    return function(*args)
                except ChannelClosed as exc:
                    self.shut(exc)
                except ConnectionLost as exc:
                    self._link.end(exc)
        # The caller learns of it after on_closed was called, as with a broker at the far end of a socket.
        self._link.wait_until_told()
        raise self.failure or ConnectionLost("the connection was closed by this process")


def _tell_cancel(consumer: Consumer) -> None:
    if consumer.on_cancel is not None:
        consumer.on_cancel()


def _put_back(messages: list[Stored], redelivered: bool) -> None:
    # The last first, so that each finds its place at the head.
    for stored in reversed(messages):
        stored.queue.put_back(stored, redelivered)


def _pump(queues: list[Queue]) -> None:
    for queue in dict.fromkeys(queues):
        queue.pump()
