"""@event_handler, the entrypoint that events fire, and EventDispatcher, the dependency that sends them."""

from collections.abc import Callable
from typing import Any

from kombu import Exchange, Queue

from rpcservice.amqp.connection import NOT_FOUND, RESOURCE_LOCKED
from rpcservice.amqp.deadletters import declare_dead_letters, shared_arguments
from rpcservice.amqp.link import LinkChannel
from rpcservice.amqp.options import OPTIONS
from rpcservice.amqp.queues import MessageHandler, Publisher
from rpcservice.config import Settings
from rpcservice.core.context import WorkerContext, new_id
from rpcservice.errors import ChannelClosed, DeclarationError

SERVICE_POOL = "service_pool"
"""Each service that handles an event gets it once, whichever of its instances takes it."""
SINGLETON = "singleton"
"""One handler in the whole cluster gets the event."""
BROADCAST = "broadcast"
"""Every instance gets the event."""


def event_exchange(service_name: str) -> str:
    """Give the name of the exchange to which a service's events go."""
    return f"{service_name}.events"


def make_event_exchange(config: Settings, service_name: str) -> Any:
    """Give a service's event exchange, which may be left to somebody else to declare."""
    return Exchange(
        event_exchange(service_name),
        "topic",
        durable=True,
        auto_delete=config.auto_delete_event_exchanges,
        no_declare=not config.declare_event_exchanges,
    )


def handler_queue(source_service: str, event_type: str, handler_type: str, handler: str, instance: str | None) -> str:
    """Give the name of the queue of a handler.

    Args:
        source_service: The service whose events are handled.
        event_type: Which of them.
        handler_type: SERVICE_POOL, SINGLETON or BROADCAST.
        handler: Service and method, with a point between them.
        instance: What tells the queues of instances apart, for BROADCAST.
    """
    name = f"evt-{source_service}-{event_type}"
    if handler_type == SINGLETON:
        return name
    name = f"{name}--{handler}"
    return f"{name}-{instance}" if handler_type == BROADCAST else name


class EventHandler(MessageHandler):
    """Fires its method with the payload of each event; use it as the decorator ``@event_handler``.

    Args:
        source_service: The service whose events are handled.
        event_type: Which of them; a topic pattern with ``*`` and ``#`` works too.
        handler_type: SERVICE_POOL, SINGLETON or BROADCAST.
        reliable_delivery: Keep events while no handler is connected. With BROADCAST this needs instances with
            names of their own: override :attr:`broadcast_identifier`.
        requeue_on_error: Put the event back at once when the method raises; else it is done with.
        options: As for :class:`~rpcservice.amqp.queues.MessageHandler`: ``retry``, ``dead_letter``,
            ``prefetch_count``, ``accept`` ...
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
        if not (isinstance(source_service, str) and isinstance(event_type, str)):
            raise DeclarationError(
                f"@event_handler({source_service!r}, {event_type!r}): give the names of a service and of an event"
            )
        if handler_type not in (SERVICE_POOL, SINGLETON, BROADCAST):
            raise DeclarationError(
                f"handler_type is {handler_type!r}; give SERVICE_POOL, SINGLETON or BROADCAST of rpcservice"
            )
        # Its own queue has a name only when the service is known.
        super().__init__(Queue(), requeue_on_error, **options)
        if handler_type == BROADCAST and self.method_idempotent is not None:
            raise DeclarationError(
                "a BROADCAST handler runs on every instance, and one that is idempotent on one alone; leave idempotent "
                "out, or give another handler_type"
            )
        self.source_service = source_service
        self.event_type = event_type
        self.handler_type = handler_type
        self.reliable_delivery = reliable_delivery
        if self._is_transient_broadcast:
            # Each instance would leave a queue of its own behind, for nobody.
            self._keeps_dead_letters = False

    @property
    def _is_transient_broadcast(self) -> bool:
        return self.handler_type == BROADCAST and not self.reliable_delivery

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
                f"{self.bound_to.service_name}.{self.method_name}: a BROADCAST handler cannot be reliable, since its "
                "queue has another name at each start; set reliable_delivery=False, or override broadcast_identifier"
            )
        if self._is_transient_broadcast and self._consuming.get("dead_letter"):
            raise DeclarationError(
                f"{self.bound_to.service_name}.{self.method_name}: a BROADCAST handler has no dead letters, since "
                "its queue has another name at each start; leave dead_letter out"
            )
        self.queue = self._make_queue()
        super().setup()

    @property
    def queue_name(self) -> str:
        """The name of the queue, by handler type."""
        handler = f"{self.bound_to.service_name}.{self.method_name}"
        instance = self.broadcast_identifier if self.handler_type == BROADCAST else None
        return handler_queue(self.source_service, self.event_type, self.handler_type, handler, instance)

    def _make_queue(self) -> Any:
        return Queue(
            self.queue_name,
            exchange=make_event_exchange(self.bound_to.config, self.source_service),
            routing_key=self.event_type,
            durable=True,
            exclusive=self._is_transient_broadcast,
            auto_delete=not self.reliable_delivery,
            queue_arguments=self._shared_arguments(),
        )

    def _shared_arguments(self) -> dict[str, Any]:
        is_shared = self.reliable_delivery and self.handler_type != BROADCAST
        return shared_arguments(self.bound_to.config, self.queue_name) if is_shared else {}

    def _declare(self, channel: LinkChannel) -> str:
        if self._shared_arguments():
            declare_dead_letters(channel, self.queue_name, self.bound_to.config)
        try:
            return super()._declare(channel)
        except ChannelClosed as exc:
            if exc.code in (NOT_FOUND, RESOURCE_LOCKED):
                # The broker still holds the queue for a connection that it does not know to be dead, or it was on a
                # node of the cluster that is down.
                self._identifier = new_id().replace("-", "")
                self.queue = self._make_queue()
            raise

    @property
    def queue_with_dead_letters(self) -> str | None:
        """The name of the queue whose dead letters are kept; None where they are not."""
        return self.queue_name if self._keeps_dead_letters else None

    def describe(self) -> str:
        """Name the event."""
        return f"event {self.source_service}/{self.event_type} -> {self.method_name}"


event_handler = EventHandler.decorator


class EventDispatcher(Publisher):
    """Injects a function ``dispatch(event_type, payload)`` that sends an event of this service.

    It gives control back when the broker has the event. It raises what :class:`~rpcservice.amqp.queues.Publisher`
    raises.

    Args:
        options: As for a Publisher, but for ``exchange`` and ``routing_key``; each may be given for one call too.
    """

    _known = OPTIONS - {"exchange", "routing_key"}
    _owner = "an EventDispatcher"

    def __init__(self, **options: Any) -> None:
        for name in ("exchange", "queue"):
            if name in options:
                raise TypeError(f"{name!r} is no option of {self._owner}: its events go to the service's own exchange")
        super().__init__(**options)

    def setup(self) -> None:
        """Ask for a sender with confirms and have the exchange declared."""
        self._exchange = make_event_exchange(self.bound_to.config, self.bound_to.service_name)
        super().setup()

    def get_dependency(self, ctx: WorkerContext) -> Callable[..., None]:
        """Give the worker a function that sends the worker's context data along."""

        def dispatch(event_type: str, payload: Any, /, **changes: Any) -> None:
            if not isinstance(event_type, str):
                raise TypeError(f"dispatch({event_type!r}, ...): the type of an event is a text")
            options = self._changed(changes) if changes else self._options
            self._publish(options.message(options.exchange, event_type, payload, ctx.context_data))

        return dispatch
