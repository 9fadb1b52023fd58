"""@event_handler, the entrypoint that events fire, and EventDispatcher, the dependency that sends them."""

import logging
from collections.abc import Callable
from typing import Any

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import RESOURCE_LOCKED, connection_key
from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.amqp.message import (
    PERSISTENT,
    check_size,
    context_from_headers,
    headers_from_context,
    properties_for,
)
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.config import Settings
from rpcservice.core.context import WorkerContext, new_id
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.errors import ChannelClosed, DeclarationError, MalformedRequest

SERVICE_POOL = "service_pool"
"""Each service that handles an event gets it once, whichever of its instances takes it."""
SINGLETON = "singleton"
"""One handler in the whole cluster gets the event."""
BROADCAST = "broadcast"
"""Every instance gets the event."""

_log = logging.getLogger(__name__)


def event_exchange(service_name: str) -> str:
    """Give the name of the exchange to which a service's events go."""
    return f"{service_name}.events"


def declare_event_exchange(channel: LinkChannel, config: Settings, service_name: str) -> None:
    """Declare a service's event exchange, unless the configuration leaves that to somebody else."""
    if config.declare_event_exchanges:
        channel.declare_exchange(
            event_exchange(service_name), "topic", durable=True, auto_delete=config.auto_delete_event_exchanges
        )


class EventHandler(Entrypoint):
    """Fires its method with the payload of each event; use it as the decorator ``@event_handler``.

    Args:
        source_service: The service whose events are handled.
        event_type: Which of them; a topic pattern with ``*`` and ``#`` works too.
        handler_type: SERVICE_POOL, SINGLETON or BROADCAST.
        reliable_delivery: Keep events while no handler is connected. With BROADCAST this needs instances with
            names of their own: override :attr:`broadcast_identifier`.
        requeue_on_error: Put the event back at once when the method raises; else it is done with.
        options: As for every entrypoint.
    """

    def __init__(
        self,
        source_service: str,
        event_type: str,
        handler_type: str = SERVICE_POOL,
        reliable_delivery: bool = True,
        requeue_on_error: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not (isinstance(source_service, str) and isinstance(event_type, str)):
            raise DeclarationError(
                f"@event_handler({source_service!r}, {event_type!r}): give the names of a service and of an event"
            )
        if handler_type not in (SERVICE_POOL, SINGLETON, BROADCAST):
            raise DeclarationError(
                f"handler_type is {handler_type!r}; give SERVICE_POOL, SINGLETON or BROADCAST of rpcservice"
            )
        self.source_service = source_service
        self.event_type = event_type
        self.handler_type = handler_type
        self.reliable_delivery = reliable_delivery
        self.requeue_on_error = requeue_on_error

    @property
    def broadcast_identifier(self) -> str:
        """What tells the queues of instances apart; by default another at each start."""
        return self._identifier

    def setup(self) -> None:
        """Ask for the service's channel and have the queue declared on it.

        Raises:
            DeclarationError: A reliable BROADCAST handler without a ``broadcast_identifier`` of its own.
        """
        self._identifier = new_id().replace("-", "")
        if (
            self.handler_type == BROADCAST
            and self.reliable_delivery
            and type(self).broadcast_identifier is EventHandler.broadcast_identifier
        ):
            raise DeclarationError(
                f"{self.host.service_name}.{self.method_name}: a BROADCAST handler cannot be reliable, since its queue "
                "has another name at each start; set reliable_delivery=False, or override broadcast_identifier"
            )
        host = self.host
        config = host.config
        self._codecs = host.resource(Codecs)
        channel = host.resource(ServiceChannel, (connection_key(config), host.service_name))
        workers = config.prefetch_count if config.prefetch_count is not None else config.max_workers
        prefetch = workers if self.concurrency is None else min(workers, self.concurrency)
        self._received = 0
        self._take = host.around("receipt", self._receive)
        self._consumer = Consumer(channel, self._declare, self._on_message, prefetch)

    @property
    def queue_name(self) -> str:
        """The name of the queue, by handler type."""
        name = f"evt-{self.source_service}-{self.event_type}"
        if self.handler_type == SINGLETON:
            return name
        name = f"{name}--{self.host.service_name}.{self.method_name}"
        return f"{name}-{self.broadcast_identifier}" if self.handler_type == BROADCAST else name

    def _declare(self, channel: LinkChannel) -> str:
        declare_event_exchange(channel, self.host.config, self.source_service)
        queue = self.queue_name
        is_private = self.handler_type == BROADCAST and not self.reliable_delivery
        try:
            channel.declare_queue(queue, durable=True, exclusive=is_private, auto_delete=not self.reliable_delivery)
        except ChannelClosed as exc:
            if exc.code == RESOURCE_LOCKED:
                # The broker still holds the queue for a connection that it does not know to be dead.
                self._identifier = new_id().replace("-", "")
            raise
        channel.bind_queue(queue, event_exchange(self.source_service), self.event_type)
        return queue

    def start(self) -> None:
        """Take events in."""
        self._consumer.start()

    def stop(self) -> None:
        """Take no more events in."""
        self._consumer.stop()

    def kill(self) -> None:
        """Take no more events in, without waiting."""
        self._consumer.kill()

    def _on_message(self, delivery: Delivery) -> None:
        """Take an event in; where a hook fails, it fails this event alone."""
        received = self._received
        try:
            self._take(delivery)
        except Exception:
            _log.exception("event %s for %s: an around_receipt hook failed", delivery.routing_key, self.method_name)
            if self._received == received:
                self._finish(delivery, has_failed=True)

    def _receive(self, delivery: Delivery) -> None:
        self._received += 1
        try:
            self.receive(delivery)
        except Exception:
            _log.exception("event %s for %s could not be taken in", delivery.routing_key, self.method_name)
            self._finish(delivery, has_failed=True)

    def receive(self, delivery: Delivery) -> None:
        """Have a worker handle an event; called in the reader, so it must not wait."""
        try:
            payload = self._codecs.decode(delivery.body, delivery.properties)
        except MalformedRequest as exc:
            _log.error("event %s for %s is dropped: %s", delivery.routing_key, self.method_name, exc)
            delivery.ack()
            return
        context = context_from_headers(delivery.headers)
        self.host.spawn_worker(self, (payload,), context_data=context, message=delivery)

    def settle(self, ctx: WorkerContext) -> None:
        """Ack the event, or put it back."""
        self._finish(ctx.message, has_failed=ctx.error is not None)

    def _finish(self, delivery: Delivery, *, has_failed: bool) -> None:
        if has_failed and self.requeue_on_error:
            delivery.reject(requeue=True)
        else:
            delivery.ack()

    def give_back(self, ctx: WorkerContext) -> None:
        """Put the event back on its queue."""
        ctx.message.reject(requeue=True)

    def describe(self) -> str:
        """Name the event."""
        return f"event {self.source_service}/{self.event_type} -> {self.method_name}"


event_handler = EventHandler.decorator


class EventDispatcher(DependencyProvider):
    """Injects a function ``dispatch(event_type, payload)`` that sends an event of this service.

    It gives control back when the broker has the event. It raises PublishTimeout, PublishRejected,
    MessageTooLarge or UnserializableValueError.

    Args:
        timeout: Seconds to wait for the broker; None is ``publish_timeout``.
        serializer: Another serializer than the configured one.
        delivery_mode: 2 for persistent, 1 for transient events.
        priority: 0 to 255.
        expiration: Seconds after which an event that nobody took is dropped.
    """

    def __init__(
        self,
        *,
        timeout: float | None = None,
        serializer: str | None = None,
        delivery_mode: int = PERSISTENT,
        priority: int = 0,
        expiration: float | None = None,
    ) -> None:
        self._timeout = timeout
        self._serializer = serializer
        self._delivery_mode = delivery_mode
        self._priority = priority
        self._expiration = expiration

    def setup(self) -> None:
        """Ask for a sender with confirms and have the exchange declared."""
        host = self.host
        codecs = host.resource(Codecs)
        self._codec = codecs.named(self._serializer) if self._serializer else codecs.default
        self._sender = host.resource(ConfirmedSender, connection_key(host.config, publishes=True))
        self._sender.declare(lambda channel: declare_event_exchange(channel, host.config, host.service_name))
        self._exchange = event_exchange(host.service_name)
        self._properties = properties_for(
            self._codec, delivery_mode=self._delivery_mode, priority=self._priority, expiration=self._expiration
        )
        self._publish = host.around("publish", self._send)

    def _send(self, message: Message) -> None:
        self._sender.publish(message, self._timeout)

    def get_dependency(self, ctx: WorkerContext) -> Callable[[str, Any], None]:
        """Give the worker a function that sends the worker's context data along."""

        def dispatch(event_type: str, payload: Any) -> None:
            if not isinstance(event_type, str):
                raise TypeError(f"dispatch({event_type!r}, ...): the type of an event is a text")
            body = check_size(self._codec.encode(payload), self.host.config.max_message_size)
            properties = {
                **self._properties,
                "headers": headers_from_context(ctx.context_data),
                "message_id": new_id(),
            }
            self._publish(Message(self._exchange, event_type, body, properties))

        return dispatch
