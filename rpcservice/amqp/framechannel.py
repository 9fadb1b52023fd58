"""FrameChannel: one channel of a FrameLink; hot methods by frames of our own, the others by py-amqp."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amqp.exceptions import AMQPError
from amqp.spec import Channel as ChannelMethods

from rpcservice.amqp import frames
from rpcservice.amqp.acks import Hold, make_acks
from rpcservice.amqp.link import Delivery, Message, QueueInfo, Returned
from rpcservice.amqp.properties import check_names, decode_properties, encode_properties
from rpcservice.core.context import new_id
from rpcservice.errors import BrokerError, ChannelClosed, ConnectionLost

if TYPE_CHECKING:
    from rpcservice.amqp.framelink import FrameLink

_KNOWN_HEADS = 1000
"""So many method frames of ``basic.publish`` are kept ready, and of ``basic.deliver`` decoded; routing keys come from
outside, so there is a bound."""

_log = logging.getLogger(__name__)


class FrameChannel:
    """See :class:`~rpcservice.amqp.link.LinkChannel`."""

    def __init__(self, link: "FrameLink", channel: Any, *, confirms: bool) -> None:
        self.amqp = channel
        self.number = int(channel.channel_id)
        self.on_confirm: Callable[[Sequence[int], bool, bool], None] | None = None
        self.on_return: Callable[[Returned], None] | None = None
        self.on_closed: Callable[[Exception], None] | None = None
        self.failure: Exception | None = None
        self.is_open = True
        self.is_leaving = False
        self._link = link
        self._write = link.write
        self._frame_max = link.frame_max
        self._confirms = confirms
        self._sequence = 0
        self._guard = link.backend.guard()
        self._heads: dict[tuple[str, str, bool], bytes] = {}
        self._origins: dict[bytes, tuple[str, bool, str, str]] = {}
        assert link.writer is not None
        self._acks = make_acks(self.number, link.write, link.writer.leave, link.backend)
        self._consumers: dict[str, tuple[Callable[[Delivery], None], Hold | None]] = {}
        self._on_cancel: dict[str, Callable[[], None]] = {}
        self._got: Delivery | None = None
        self._hold_got: Hold | None = None

    # Hot methods

    def publish(self, message: Message) -> int:
        """Hand one message to the writer; gives its sequence number (0 without confirms)."""
        if not self.is_open:
            raise self.failure or _closed()
        key = (message.exchange, message.routing_key, message.mandatory)
        head = self._heads.get(key)
        if head is None:
            head = self._prepare_head(key)
        data = frames.encode_content(
            self.number, encode_properties(message.properties), message.body, self._frame_max, head
        )
        if not self._confirms:
            self._write(data)
            return 0
        with self._guard:
            # The broker counts in the order of arrival, so number and place in the queue go together. On threads
            # no signal handler comes between the two steps, since a writer there is entered by one call of C.
            self._sequence += 1
            self._write(data)
            return self._sequence

    def _prepare_head(self, key: tuple[str, str, bool]) -> bytes:
        if len(self._heads) >= _KNOWN_HEADS:
            self._heads.clear()
        head = self._heads[key] = frames.publish_head(self.number, *key)
        return head

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge, on greenlets at the end of the turn; without effect on a channel that is gone."""
        if not self.is_open:
            return
        if not multiple:
            self._acks.add(delivery_tag)
            return
        self._acks.forget(delivery_tag, multiple)
        self._write(frames.ack_frame(self.number, delivery_tag, multiple))

    def reject(self, delivery_tag: int, requeue: bool = False, multiple: bool = False) -> None:
        """Give back to the queue or drop; without effect on a channel that is gone."""
        if self.is_open:
            self._acks.forget(delivery_tag, multiple)
            self._write(frames.nack_frame(self.number, delivery_tag, multiple, requeue))

    # Called by the reader

    def delivered(self, method: bytes, header: bytes, body: bytes) -> None:
        """Hand a delivery to its consumer."""
        delivery_tag, rest = frames.split_deliver(method)
        known = self._origins.get(rest)
        if known is None:
            known = self._decode_origin(rest)
        tag, redelivered, exchange, routing_key = known
        consumer = self._consumers.get(tag)
        if consumer is None:
            # It was on its way when the consumer was cancelled.
            self.reject(delivery_tag, requeue=True)
            return
        callback, hold = consumer
        if hold is not None:
            hold(delivery_tag)
        properties = decode_properties(header, 12)
        try:
            callback(Delivery(self, tag, delivery_tag, redelivered, exchange, routing_key, body, properties))
        except Exception:
            _log.critical(
                "a message for consumer %s could not be taken in; it stays unacknowledged", tag, exc_info=True
            )

    def _decode_origin(self, rest: bytes) -> tuple[str, bool, str, str]:
        if len(self._origins) >= _KNOWN_HEADS:
            self._origins.clear()
        origin = self._origins[rest] = frames.decode_origin(rest)
        return origin

    def returned(self, method: bytes, header: bytes, body: bytes) -> None:
        """Hand a returned message to whoever wants it."""
        if self.on_return is not None:
            self.on_return(Returned(*frames.decode_return(method), decode_properties(header, 12), body))

    def got(self, method: bytes, header: bytes, body: bytes) -> None:
        """Keep a message for who asks for it; py-amqp is told that there was none, for it reads nothing but UTF-8."""
        self._got = got = Delivery(self, "", *frames.decode_get_ok(method), body, decode_properties(header, 12))
        if self._hold_got is not None:
            self._hold_got(got.delivery_tag)
        self._link.pass_on(frames.METHOD, self.number, frames.GET_EMPTY)

    def confirmed(self, sequences: Sequence[int], multiple: bool, taken: bool) -> None:
        """Hand on confirms."""
        if self.on_confirm is not None:
            self.on_confirm(sequences, multiple, taken)

    def cancelled(self, consumer_tag: str) -> None:
        """Tell a consumer that the broker ended it."""
        self._consumers.pop(consumer_tag, None)
        on_cancel = self._on_cancel.pop(consumer_tag, None)
        if on_cancel is not None:
            on_cancel()

    def fail(self, failure: Exception) -> None:
        """End because of a failure."""
        with self._guard:
            if self.failure is not None:
                return
            self.failure = failure
            self.is_open = False
            self._acks.clear()
        if self.on_closed is not None:
            self.on_closed(failure)

    # Topology, by py-amqp

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
        self._call(self.amqp.exchange_declare, name, type, passive, durable, auto_delete, arguments=arguments)

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange with its bindings."""
        check_names(exchange=name)
        self._call(self.amqp.exchange_delete, name)

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
        declared = self._call(
            self.amqp.queue_declare, name, passive, durable, exclusive, auto_delete, arguments=arguments
        )
        return QueueInfo(*declared)

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; gives the number of messages that went with it."""
        check_names(name)
        return int(self._call(self.amqp.queue_delete, name, if_unused, if_empty) or 0)

    def purge_queue(self, name: str) -> int:
        """Drop the messages of a queue that nobody holds; gives their number."""
        check_names(name)
        return int(self._call(self.amqp.queue_purge, name) or 0)

    def bind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of an exchange reach a queue."""
        check_names(queue, exchange, routing_key)
        self._call(self.amqp.queue_bind, queue, exchange, routing_key, arguments=arguments)

    def unbind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Undo :meth:`bind_queue`."""
        check_names(queue, exchange, routing_key)
        self._call(self.amqp.queue_unbind, queue, exchange, routing_key, arguments=arguments)

    def bind_exchange(
        self, destination: str, source: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of one exchange reach another."""
        check_names(exchange=destination, routing_key=routing_key)
        check_names(exchange=source)
        self._call(self.amqp.exchange_bind, destination, source, routing_key, arguments=arguments)

    def qos(self, prefetch_count: int) -> None:
        """Bound the unacknowledged messages of each consumer started afterwards."""
        self._call(self.amqp.basic_qos, 0, prefetch_count, False)

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
        # A tag of our own, known before the first delivery, which may come in one packet with the broker's answer.
        tag = consumer_tag or f"ctag-{new_id()}"
        self._consumers[tag] = (on_message, self._acks.holder(no_ack))
        if on_cancel is not None:
            self._on_cancel[tag] = on_cancel
        try:
            self._call(
                self.amqp.basic_consume,
                queue,
                consumer_tag=tag,
                no_ack=no_ack,
                exclusive=exclusive,
                arguments=arguments,
            )
        except BaseException:
            self._consumers.pop(tag, None)
            self._on_cancel.pop(tag, None)
            raise
        return tag

    def cancel(self, consumer_tag: str) -> None:
        """End a consumer; what it was given stays to be acked."""
        self._on_cancel.pop(consumer_tag, None)
        self._call(self.amqp.basic_cancel, consumer_tag)
        self._consumers.pop(consumer_tag, None)

    def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message of a queue, or None when it is empty."""
        check_names(queue)
        message: Delivery | None = self._call(self._get, queue, no_ack)
        return message

    def _get(self, queue: str, no_ack: bool) -> Delivery | None:
        self._hold_got = self._acks.holder(no_ack)
        self.amqp.basic_get(queue, no_ack)
        message, self._got = self._got, None
        return message

    def close(self) -> None:
        """Close the channel; unacknowledged messages go back to their queues."""
        if not self.is_open:
            return
        self.on_closed = None
        try:
            self._call(self._close)
        finally:
            self.is_open = False
            self.failure = self.failure or _closed()
            self._link.forget(self)

    def _close(self) -> None:
        self._acks.send()
        self._acks.clear()
        # Before the broker is told: a frame that comes behind would cost the connection.
        self.is_open = False
        self.amqp.close()

    def leave(self) -> None:
        """Do the same, and keep no other channel waiting until the broker has done with this one."""
        if not self.is_open:
            return
        self.on_closed = self.on_confirm = self.on_return = None
        self._acks.send()
        self._acks.clear()
        self.is_open, self.is_leaving = False, True
        self.failure = _closed()
        # Its number is free for another channel only when the broker has answered.
        self.amqp._callbacks[ChannelMethods.CloseOk] = lambda: self._link.forget(self)
        self._write(frames.channel_close_frame(self.number))

    def abandon(self, reason: str) -> None:
        """End because it is out of step with the broker; does not wait."""
        if self.is_open:
            self._acks.send()
        self.fail(ConnectionLost(f"the channel is given up: {reason}"))
        self._link.backend.spawn(self._close_abandoned)

    def _close_abandoned(self) -> None:
        try:
            self._link.call(None, self.amqp.close)
        except (BrokerError, AMQPError) as exc:
            _log.debug("an abandoned channel ended by itself: %s", exc)
        finally:
            self._link.forget(self)

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._link.call(self, function, *args, **kwargs)


def _closed() -> ChannelClosed:
    return ChannelClosed(200, "this process closed it")
