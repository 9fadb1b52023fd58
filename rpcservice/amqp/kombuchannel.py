"""KombuChannel: one channel of a ChannelLink, which is two channels of kombu's: one consumes, one publishes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import amqp

from rpcservice.amqp.frames import encode_content
from rpcservice.amqp.link import Delivery, Message, Properties, QueueInfo, Returned
from rpcservice.amqp.memory_message import FRAME_MAX, snapshot
from rpcservice.amqp.properties import check_names, encode_properties
from rpcservice.core.context import new_id
from rpcservice.errors import ChannelClosed

if TYPE_CHECKING:
    from rpcservice.amqp.channellink import ChannelLink

_PLAIN = (
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "content_type",
    "content_encoding",
)

_log = logging.getLogger(__name__)


class KombuChannel:
    """See :class:`~rpcservice.amqp.link.LinkChannel`.

    What starts with ``_do`` and all callbacks run in the link's task, the only one that touches the consuming channel.
    """

    def __init__(self, link: "ChannelLink", consuming: Any, publishing: Any, *, confirms: bool) -> None:
        self.on_confirm: Callable[[Sequence[int], bool, bool], None] | None = None
        self.on_return: Callable[[Returned], None] | None = None
        self.on_closed: Callable[[Exception], None] | None = None
        self.failure: Exception | None = None
        self.is_open = True
        self.consumers: dict[str, Callable[[], None] | None] = {}
        self._link = link
        self._consuming = consuming
        self._publishing = publishing
        self._confirms = confirms
        self._sequence = 0
        frame_max = publishing.connection.frame_max if isinstance(publishing, amqp.Channel) else FRAME_MAX
        self._small_frame: int | None = frame_max if frame_max < FRAME_MAX else None
        self._last_tag = 0
        self._unacked: dict[int, Any] = {}
        # Unpacked by kombu a body could have any size: what has errors already it leaves as it came.
        consuming.Message = type("Message", (consuming.Message,), {"errors": ("not to be unpacked here",)})
        for channel in (consuming, publishing):
            self._watch(channel)

    def _watch(self, channel: Any) -> None:
        """Have py-amqp tell us which channel the broker closed, and not open it again by itself."""
        if not isinstance(channel, amqp.Channel):
            return

        def closed(code: int, text: str, class_id: int, method_id: int) -> None:
            failure = ChannelClosed(code, text)
            channel.send_method(amqp.spec.Channel.CloseOk)
            channel.collect()
            self._link.later(self.fail, failure)
            raise failure

        channel._callbacks[amqp.spec.Channel.Close] = closed
        channel.events["basic_return"].add(self._returned)

    # Publishing

    def publish(self, message: Message) -> int:
        """Publish one message and wait until the broker has it; gives its sequence number (0 without confirms).

        Raises:
            MessageTooLarge: The headers do not fit into a frame; nothing was sent.
        """
        if self.failure is not None:
            raise self.failure
        properties = snapshot(message)
        if self._small_frame is not None:
            # py-amqp would send whatever it is, and the broker would close the connection.
            encode_content(0, encode_properties(message.properties), b"", self._small_frame)
        with self._link.publishing_lock:
            if self._confirms:
                self._sequence += 1
            sequence = self._sequence
            try:
                taken = self._link.guard(partial(self._publish, message, properties))
            except ChannelClosed as exc:
                # As on other links, it is on_closed that tells.
                self._link.later(self.fail, exc)
                return sequence
        if self._confirms:
            self._link.later(self._tell_confirm, sequence, taken)
        return sequence

    def _publish(self, message: Message, properties: Properties) -> bool:
        channel = self._publishing
        prepared = channel.prepare_message(
            message.body,
            properties.pop("priority", None),
            properties.pop("content_type", None),
            properties.pop("content_encoding", None),
            properties.pop("headers", None),
            properties,
        )
        try:
            channel.basic_publish(
                prepared, exchange=message.exchange, routing_key=message.routing_key, mandatory=message.mandatory
            )
        except amqp.exceptions.MessageNacked:
            return False
        return True

    def _returned(self, error: Any, exchange: str, routing_key: str, raw: Any) -> None:
        properties = _properties(raw.properties, raw.properties.get("application_headers"))
        returned = Returned(error.reply_code, error.reply_text, exchange, routing_key, properties, _body(raw))
        self._link.later(self._tell_return, returned)

    def _tell_return(self, returned: Returned) -> None:
        if self.on_return is not None:
            self.on_return(returned)

    def _tell_confirm(self, sequence: int, taken: bool) -> None:
        if self.on_confirm is not None:
            self.on_confirm((sequence,), False, taken)

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
        options = {"type": type, "durable": durable, "auto_delete": auto_delete, "passive": passive}
        options["arguments"] = dict(arguments or {})
        self._ask(self._consuming.exchange_declare, exchange=name, **options)
        if not isinstance(self._publishing, amqp.Channel):
            # Most other transports keep the type of an exchange in each connection, not in the broker.
            with self._link.publishing_lock:
                self._link.guard(partial(self._publishing.exchange_declare, exchange=name, **options))

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange with its bindings."""
        check_names(exchange=name)
        self._ask(self._consuming.exchange_delete, name)

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
        declared = self._ask(
            self._consuming.queue_declare,
            queue=name,
            durable=durable,
            exclusive=exclusive,
            auto_delete=auto_delete,
            passive=passive,
            arguments=dict(arguments or {}),
        )
        return QueueInfo(*declared)

    def delete_queue(self, name: str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue; gives the number of messages that went with it."""
        check_names(name)
        return int(self._ask(self._consuming.queue_delete, name, if_unused=if_unused, if_empty=if_empty) or 0)

    def purge_queue(self, name: str) -> int:
        """Drop the messages of a queue that nobody holds; gives their number."""
        check_names(name)
        return int(self._ask(self._consuming.queue_purge, name) or 0)

    def bind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of an exchange reach a queue."""
        check_names(queue, exchange, routing_key)
        self._ask(self._consuming.queue_bind, queue, exchange, routing_key, arguments=dict(arguments or {}))

    def unbind_queue(
        self, queue: str, exchange: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Undo :meth:`bind_queue`."""
        check_names(queue, exchange, routing_key)
        self._ask(self._consuming.queue_unbind, queue, exchange, routing_key, arguments=dict(arguments or {}))

    def bind_exchange(
        self, destination: str, source: str, routing_key: str = "", arguments: Mapping[str, Any] | None = None
    ) -> None:
        """Let messages of one exchange reach another."""
        check_names(exchange=destination, routing_key=routing_key)
        check_names(exchange=source)
        self._ask(self._consuming.exchange_bind, destination, source, routing_key, arguments=dict(arguments or {}))

    # Consuming

    def qos(self, prefetch_count: int) -> None:
        """Bound the unacknowledged messages of each consumer started afterwards."""
        self._ask(self._consuming.basic_qos, 0, prefetch_count, False)

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
        self._ask(
            self._consuming.basic_consume,
            queue=queue,
            consumer_tag=tag,
            no_ack=no_ack,
            exclusive=exclusive,
            callback=partial(self._deliver, tag, on_message, no_ack),
            on_cancel=self._cancelled,
            arguments=dict(arguments or {}),
        )
        self.consumers[tag] = on_cancel
        return tag

    def _deliver(self, tag: str, on_message: Callable[[Delivery], None], no_ack: bool, raw: Any) -> None:
        delivery = self._take_in(tag, raw, no_ack)
        try:
            on_message(delivery)
        except Exception:
            _log.critical(
                "a message for consumer %s could not be taken in; it stays unacknowledged", tag, exc_info=True
            )

    def _take_in(self, consumer_tag: str, raw: Any, no_ack: bool) -> Delivery:
        message = self._consuming.message_to_python(raw)
        self._last_tag += 1
        if not no_ack:
            self._unacked[self._last_tag] = message.delivery_tag
        info = message.delivery_info
        # Other transports than AMQP keep these beside the properties.
        known = {"content_type": message.content_type, "content_encoding": message.content_encoding}
        headers = message.headers or message.properties.get("application_headers")
        redelivered = info.get("redelivered") or getattr(message, "_raw", {}).get("redelivered")
        return Delivery(
            self,
            consumer_tag,
            self._last_tag,
            bool(redelivered),
            info.get("exchange") or "",
            info.get("routing_key") or "",
            _body(message),
            _properties(known | message.properties, headers),
        )

    def _cancelled(self, tag: str) -> None:
        on_cancel = self.consumers.pop(tag, None)
        if on_cancel is not None:
            on_cancel()

    def cancel(self, consumer_tag: str) -> None:
        """End a consumer; what it was given stays to be acked."""
        self.consumers.pop(consumer_tag, None)
        self._ask(self._consuming.basic_cancel, consumer_tag)

    def get(self, queue: str, *, no_ack: bool = False) -> Delivery | None:
        """Take one message of a queue, or None when it is empty."""
        check_names(queue)
        delivery: Delivery | None = self._ask(self._do_get, queue, no_ack)
        return delivery

    def _do_get(self, queue: str, no_ack: bool) -> Delivery | None:
        raw = self._consuming.basic_get(queue, no_ack=no_ack)
        return None if raw is None else self._take_in("", raw, no_ack)

    def ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge; without effect on a channel that is gone."""
        if self.is_open:
            self._link.later(self._do_settle, delivery_tag, multiple, self._consuming.basic_ack)

    def reject(self, delivery_tag: int, requeue: bool = False, multiple: bool = False) -> None:
        """Give back to the queue or drop; without effect on a channel that is gone."""
        if self.is_open:
            reject = partial(self._consuming.basic_reject, requeue=requeue)
            self._link.later(self._do_settle, delivery_tag, multiple, reject)

    def _do_settle(self, delivery_tag: int, multiple: bool, settle: Callable[[Any], object]) -> None:
        if not self.is_open:
            return
        if multiple:
            tags = [tag for tag in self._unacked if tag <= delivery_tag or not delivery_tag]
        else:
            tags = [delivery_tag] if delivery_tag in self._unacked else []
        if not tags and (delivery_tag or not multiple):
            self.fail(ChannelClosed(406, f"PRECONDITION_FAILED - unknown delivery tag {delivery_tag}"))
        for tag in tags:
            settle(self._unacked.pop(tag))

    # Ends

    def _ask(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self._link.call(self, partial(function, *args, **kwargs))

    def close(self) -> None:
        """Close the channel; unacknowledged messages go back to their queues."""
        if not self.is_open:
            return
        self.on_closed = None
        self._ask(self.fail, ChannelClosed(200, "closed by this process"))

    leave = close

    def fail(self, failure: Exception) -> None:
        """End, in the link's task: close both of kombu's channels, which otherwise go with their connections."""
        if self.failure is not None:
            return
        self.failure = failure
        self.is_open = False
        self.consumers.clear()
        self._link.forget(self)
        if self._link.failure is None:
            self._link.close_quietly(self._consuming.close)
            with self._link.publishing_lock:
                self._link.close_quietly(self._publishing.close)
        if self.on_closed is not None:
            self.on_closed(failure)


def _properties(known: Mapping[str, Any], headers: Mapping[str, Any] | None) -> Properties:
    properties = {name: known[name] for name in _PLAIN if known.get(name) is not None}
    if headers is not None:
        properties["headers"] = dict(headers)
    return properties


def _body(message: Any) -> bytes:
    return message.body if isinstance(message.body, bytes) else str(message.body).encode()
