"""nameko's events: @event_handler and EventDispatcher."""

from collections.abc import Callable
from typing import Any

from rpcservice.amqp import events
from rpcservice.amqp.connection import RESOURCE_LOCKED
from rpcservice.amqp.deadletters import declare_dead_letters, shared_arguments
from rpcservice.amqp.events import BROADCAST as BROADCAST
from rpcservice.amqp.events import SERVICE_POOL as SERVICE_POOL
from rpcservice.amqp.events import SINGLETON as SINGLETON
from rpcservice.amqp.link import LinkChannel
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko.amqp._topology import get_event_exchange as get_event_exchange
from rpcservice.compat.nameko.amqp._topology import make_queue
from rpcservice.compat.nameko.exceptions import ConfigurationError
from rpcservice.compat.nameko.messaging import Consumer, Publisher
from rpcservice.core.context import WorkerContext, new_id
from rpcservice.errors import ChannelClosed

__all__ = (
    "BROADCAST",
    "SERVICE_POOL",
    "SINGLETON",
    "EventDispatcher",
    "EventHandler",
    "EventHandlerConfigurationError",
    "event_handler",
    "get_event_exchange",
)


__getattr__ = missing_names(__name__)


class EventHandlerConfigurationError(ConfigurationError):
    """Raised when a broadcast handler is to be reliable, but its instances have no names of their own."""


class EventDispatcher(Publisher):
    """Injects a function ``dispatch(event_type, event_data)`` that sends an event of this service.

    Args:
        publisher_options: As for :class:`~rpcservice.compat.nameko.messaging.Publisher`.
    """

    def setup(self) -> None:
        """Make the publisher, and have the service's event exchange declared."""
        self.exchange = get_event_exchange(self.container.service_name, self.container.config)
        self.declare.append(self.exchange)
        super().setup()

    def get_dependency(self, worker_ctx: WorkerContext) -> Callable[..., Any]:
        """Give the worker a function that sends the worker's context data along."""

        def dispatch(event_type: str, event_data: Any) -> None:
            self.publisher.publish(
                event_data,
                exchange=self.exchange,
                routing_key=event_type,
                extra_headers=self.get_message_headers(worker_ctx),
            )

        return dispatch


class EventHandler(Consumer):
    """Fires its method with the payload of each event; use it as the decorator ``@event_handler``.

    Args:
        source_service: The service whose events are handled.
        event_type: Which of them; a topic pattern with ``*`` and ``#`` works too.
        handler_type: SERVICE_POOL, SINGLETON or BROADCAST.
        reliable_delivery: Keep events while no handler is connected. With BROADCAST this needs instances with names
            of their own: override :attr:`broadcast_identifier`.
        requeue_on_error: Put the event back at once when the method raises; else it is done with.
        options: As for :class:`~rpcservice.compat.nameko.messaging.Consumer`.

    Raises:
        ConfigurationError: The handler type is none of these.
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
        if handler_type not in (SERVICE_POOL, SINGLETON, BROADCAST):
            raise ConfigurationError(
                f"handler_type is {handler_type!r}; give SERVICE_POOL, SINGLETON or BROADCAST of nameko.events"
            )
        self.source_service = source_service
        self.event_type = event_type
        self.handler_type = handler_type
        self.reliable_delivery = reliable_delivery
        super().__init__(queue=None, requeue_on_error=requeue_on_error, **options)
        if self._is_transient_broadcast:
            if options.get("dead_letter"):
                raise EventHandlerConfigurationError(
                    f"{source_service}/{event_type}: a BROADCAST handler has no dead letters, since its queue has "
                    "another name at each start; leave dead_letter out"
                )
            self._keeps_dead_letters = False

    @property
    def _is_transient_broadcast(self) -> bool:
        return self.handler_type == BROADCAST and not self.reliable_delivery

    @property
    def broadcast_identifier(self) -> str | None:
        """What tells the queues of instances apart; by default another at each start.

        Raises:
            EventHandlerConfigurationError: The handler is reliable, which this does not allow.
        """
        if self.handler_type != BROADCAST:
            return None
        if self.reliable_delivery:
            raise EventHandlerConfigurationError(
                f"{self.source_service}/{self.event_type}: a BROADCAST handler cannot be reliable, since its queue has "
                "another name at each start; set reliable_delivery=False, or override broadcast_identifier"
            )
        return new_id().replace("-", "")

    def bind(self, container: Any, attr_name: str = "") -> Any:
        """Give a copy that belongs to a container.

        Raises:
            EventHandlerConfigurationError: A reliable broadcast handler whose instances have no names of their own.
        """
        bound = super().bind(container, attr_name)
        _ = bound.broadcast_identifier
        return bound

    def setup(self) -> None:
        """Have the queue declared, and bound to the events' exchange."""
        self.queue = self._make_queue()
        super().setup()

    def _make_queue(self) -> Any:
        return make_queue(
            self._queue_name(),
            exchange=get_event_exchange(self.source_service, self.container.config),
            routing_key=self.event_type,
            durable=True,
            exclusive=self._is_transient_broadcast,
            auto_delete=not self.reliable_delivery,
            queue_arguments=self._shared_arguments(),
        )

    def _shared_arguments(self) -> dict[str, Any]:
        is_shared = self.reliable_delivery and self.handler_type != BROADCAST
        return shared_arguments(self.container.config, self._queue_name()) if is_shared else {}

    def _queue_name(self) -> str:
        handler = f"{self.container.service_name}.{self.method_name}"
        instance = self.broadcast_identifier
        return events.handler_queue(self.source_service, self.event_type, self.handler_type, handler, instance)

    @property
    def queue_with_dead_letters(self) -> str | None:
        """The name of the queue whose dead letters are kept; None where they are not."""
        return self._queue_name() if self._keeps_dead_letters else None

    def _declare(self, channel: LinkChannel) -> str:
        if self._shared_arguments():
            declare_dead_letters(channel, self._queue_name(), self.container.config)
        try:
            return super()._declare(channel)
        except ChannelClosed as exc:
            if exc.code == RESOURCE_LOCKED:
                # The broker still holds the queue for a connection that it does not know to be dead.
                self.queue = self._make_queue()
            raise

    def describe(self) -> str:
        """Name the event."""
        return f"event {self.source_service}/{self.event_type} -> {self.method_name}"


event_handler = EventHandler.decorator
