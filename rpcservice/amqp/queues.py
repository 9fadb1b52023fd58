"""@consume, the entrypoint that fires for messages of any queue, and Publisher, which sends to any exchange."""

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from kombu import Exchange, Queue

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.deadletters import Route, restore_origin
from rpcservice.amqp.declarations import Declarations
from rpcservice.amqp.drops import Drops
from rpcservice.amqp.failures import Failures, keeps_dead_letters
from rpcservice.amqp.link import Delivery, LinkChannel, Message
from rpcservice.amqp.longwork import LongWork, take_over
from rpcservice.amqp.message import ORIGIN_KEY, context_from_headers
from rpcservice.amqp.options import CLASS_OPTIONS, OPTIONS, Publication, PublishOptions
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.amqp.stalls import Stalls
from rpcservice.amqp.topology import (
    Declarable,
    check_declarables,
    declare,
    describe,
    exchange_name,
    lasts,
    made_exchanges,
    passing_exchanges,
)
from rpcservice.amqp.waiting import WaitQueues
from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.core.entrypoint import Entrypoint
from rpcservice.core.idempotency import check_idempotent
from rpcservice.core.once import Once
from rpcservice.core.retry import as_retry
from rpcservice.errors import DeclarationError, MalformedRequest, MissingKey, Reject

_OF_ENTRYPOINTS = frozenset(inspect.signature(Entrypoint.__init__).parameters) - {"self"}
_OF_CONSUMERS = frozenset(("accept", "auto_declare", "consumer_arguments", "heartbeat", "no_ack", "prefetch_count"))
_OF_CONNECTIONS = frozenset(("login_method", "ssl", "uri"))
_OWN = _OF_CONSUMERS | _OF_CONNECTIONS | {"dead_letter", "idempotent", "retry", "tag_prefix"}
MOST_PREFETCHED = 65535

_log = logging.getLogger(__name__)


class MessageHandler(Entrypoint):
    """Fires its method with the body of each message of a queue; use it as the decorator ``@consume``.

    Args:
        queue: A Queue of kombu, declared with all that it is bound to, or the name of one without bindings.
        requeue_on_error: Put the message back at once when the method raises; else it is done with.
        retry: A :class:`~rpcservice.Retry`: how often the message is tried again when the method raises, and after
            which pauses, for which it waits in the broker. True is the usual one.
        dead_letter: Keep the message in ``<queue>.dead`` when it was tried for the last time, or cannot be decoded.
            None is true where there is a ``retry``.
        idempotent: Run the method once for each key, and acknowledge duplicates without. True takes the message's
            ``message_id`` for the key, which senders on nameko do not set; a function gets the payload and gives a
            text, a whole number or a UUID.
        prefetch_count: Unacknowledged messages at a time, 0 without bound; None is ``PREFETCH_COUNT``, or as many as
            there are workers for them.
        accept: Names of serializers, and content types, that are accepted; None is ``ACCEPT``.
        no_ack: The broker takes each message as done with when it is sent; None is what the queue says.
        auto_declare: Declare the queue; false leaves that to somebody else.
        consumer_arguments: Further arguments of ``basic.consume``, such as ``x-priority``, beside the queue's own.
        tag_prefix: How the consumer tag begins.
        heartbeat: Without effect: all entrypoints of a process share a connection, whose heartbeat is ``HEARTBEAT``.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``, for that broker.
        login_method: As ``LOGIN_METHOD``, for that broker.
        options: As for every entrypoint.

    Raises:
        DeclarationError: There is no such option, or no such queue.
    """

    queue: Any
    method_idempotent: Any = None

    def __init__(self, queue: Any, requeue_on_error: bool = False, **options: Any) -> None:
        self._consuming = {name: options.pop(name) for name in _OWN & set(options)}
        unknown = sorted(set(options) - _OF_ENTRYPOINTS)
        if unknown:
            raise DeclarationError(
                f"{', '.join(unknown)}: no option of a consumer; there are: {', '.join(sorted(_OWN | _OF_ENTRYPOINTS))}"
            )
        super().__init__(**options)
        self.queue = self._checked(queue)
        self.requeue_on_error = requeue_on_error
        self.method_idempotent = check_idempotent(self._consuming.get("idempotent"))
        self._retry = as_retry(self._consuming.get("retry"))
        self._keeps_dead_letters = keeps_dead_letters(self._consuming.get("dead_letter"), self._retry)
        if requeue_on_error and (self._retry or self._keeps_dead_letters):
            raise DeclarationError(
                "requeue_on_error puts a message back without end; give it, or retry and dead_letter"
            )
        prefetch = self._consuming.get("prefetch_count")
        if prefetch is not None and (type(prefetch) is not int or not 0 <= prefetch <= MOST_PREFETCHED):
            raise DeclarationError(
                f"prefetch_count is {prefetch!r}; give a whole number from 0 to {MOST_PREFETCHED}, or None"
            )

    def _checked(self, queue: Any) -> Any:
        if isinstance(queue, str) and queue:
            return Queue(queue)
        if not isinstance(queue, Queue):
            raise DeclarationError(f"@consume({queue!r}): give a Queue of kombu, or a queue's name")
        return queue

    def setup(self) -> None:
        """Ask for the service's channel and have the queue declared on it."""
        host, given = self.bound_to, self._consuming
        heartbeat = given.get("heartbeat")
        if heartbeat is not None and heartbeat != host.config.heartbeat:
            _log.warning(
                "%s.%s: heartbeat=%s has no effect, for all share one connection; set HEARTBEAT",
                host.service_name,
                self.method_name,
                heartbeat,
            )
        no_ack, queue = given.get("no_ack"), self.queue
        self._no_ack = bool(queue.no_ack if no_ack is None else no_ack)
        if self._no_ack and (self._retry or self._keeps_dead_letters):
            raise DeclarationError(
                f"{host.service_name}.{self.method_name}: the broker keeps no message with no_ack, so that it can be "
                "neither tried again nor kept with the dead letters; leave no_ack, or retry and dead_letter, out"
            )
        self._decode = host.resource(Codecs).decoder(given.get("accept")).decode
        if self.method_idempotent is not None:
            self.method_once = Once(self, self.method_idempotent)
        key = connection_key(host.config, **{name: given[name] for name in _OF_CONNECTIONS & set(given)})
        self._failures = Failures(self, key, self._retry, self._keeps_dead_letters)
        if not self._no_ack:
            host.resource(LongWork).add(self)
        self._drops = host.resource(Drops)
        self._received = 0
        self._take = host.around("receipt", self._receive)
        channel = host.resource(ServiceChannel, (key, host.service_name))
        self._consumer = Consumer(
            channel,
            self._declare,
            self._on_message,
            self._prefetch(),
            no_ack=self._no_ack,
            arguments={**(queue.consumer_arguments or {}), **(given.get("consumer_arguments") or {})},
            tag_prefix=given.get("tag_prefix") or "",
        )
        if not self._no_ack:
            host.resource(Stalls).add(channel, self._consumer, lambda: (self,), lambda: self._received)

    def _prefetch(self) -> int:
        chosen: int | None = self._consuming.get("prefetch_count")
        if chosen is not None:
            return chosen
        config = self.bound_to.config
        workers = config.prefetch_count if config.prefetch_count is not None else config.max_workers
        return workers if self.method_limit is None else min(workers, self.method_limit)

    def _declare(self, channel: LinkChannel) -> str:
        is_left = self._consuming.get("auto_declare") is False
        name = str(self.queue.name) if is_left else declare(channel, self.queue)
        self._failures.declare(channel, name, lasts=self._is_lasting)
        return name

    @property
    def _is_lasting(self) -> bool:
        return bool(lasts(self.queue) and self.queue.durable and not self.queue.exclusive)

    def start(self) -> None:
        """Take messages in."""
        self._consumer.start()

    def stop(self) -> None:
        """Take no more messages in."""
        self._consumer.stop()

    def kill(self) -> None:
        """Take no more messages in, without waiting."""
        self._consumer.kill()

    def _on_message(self, delivery: Delivery) -> None:
        """Take a message in; where a hook fails, it fails this message alone."""
        received = self._received
        try:
            self._take(delivery)
        except Exception as exc:
            _log.exception("message %s for %s: an around_receipt hook failed", delivery.routing_key, self.method_name)
            if self._received == received:
                self._drop(delivery, exc, has_failed=True)

    def _receive(self, delivery: Delivery) -> None:
        self._received += 1
        try:
            self.receive_delivery(delivery)
        except Exception as exc:
            _log.exception("message %s for %s could not be taken in", delivery.routing_key, self.method_name)
            self._drop(delivery, exc, has_failed=True)

    def receive_delivery(self, delivery: Delivery) -> None:
        """Have a worker handle a message; called in the reader, so it must not wait."""
        if delivery.redelivered and take_over(self, delivery):
            return
        headers = delivery.headers
        if ORIGIN_KEY in headers:
            restore_origin(delivery)
        try:
            payload = self._decode(delivery.body, delivery.properties)
        except MalformedRequest as exc:
            self._drop(delivery, exc, has_failed=False)
            return
        self.bound_to.spawn_worker(self, (payload,), context_data=context_from_headers(headers), message=delivery)

    def settle(self, ctx: WorkerContext) -> None:
        """Ack the message, have it come again, keep it with the dead letters, or put it back."""
        error = ctx.error
        if error is None or self._no_ack:
            self._finish(ctx.message, has_failed=False)
        elif not self._failures.try_again(ctx, error, self._way_back()) and self._failures.bury(
            ctx, error, self._way_back()
        ):
            self._finish(ctx.message, has_failed=not isinstance(error, MissingKey | Reject))

    def _way_back(self) -> Route:
        # By the default exchange, to this queue alone: the exchange that it came by may reach others too.
        return Route("", self._failures.queue)

    def _drop(self, delivery: Delivery, error: Exception, *, has_failed: bool) -> None:
        """Keep a message with the dead letters, where it has them, that got no worker; called in the reader."""
        if self._keeps_dead_letters:
            done = partial(self._finish, delivery, has_failed=has_failed)
            self._failures.bury_later(delivery, error, self._way_back(), done)
            return
        if self._no_ack or not (has_failed and self.requeue_on_error):
            self._drops.note(delivery, f"{self.bound_to.service_name}.{self.method_name}", error)
        self._finish(delivery, has_failed=has_failed)

    def _finish(self, delivery: Delivery, *, has_failed: bool) -> None:
        if self._no_ack:
            return
        if has_failed and self.requeue_on_error:
            delivery.reject(requeue=True)
        else:
            delivery.ack()

    def give_back(self, ctx: WorkerContext) -> None:
        """Put the message back on its queue, where the broker still has it."""
        if self._no_ack:
            _log.warning("message %s for %s is lost: no_ack", ctx.message.routing_key, self.method_name)
        else:
            ctx.message.reject(requeue=True)

    @property
    def queue_with_dead_letters(self) -> str | None:
        """The name of the queue whose dead letters are kept; None where they are not."""
        return str(self.queue.name) if self._keeps_dead_letters else None

    def describe(self) -> str:
        """Name the queue."""
        return f"consume {describe(self.queue)} -> {self.method_name}"


consume = MessageHandler.decorator


class Publisher(DependencyProvider):
    """Injects a function ``publish(payload, **options)`` that sends a message to any exchange.

    It gives control back when the broker has the message. It raises PublishTimeout, PublishRejected,
    UndeliverableMessage, ConnectionLost, ChannelClosed, MessageTooLarge or UnserializableValueError.

    Args:
        exchange: An Exchange of kombu, which is declared, or the name of one, which has to be there; None is the
            default exchange, which routes to the queue named by the routing key.
        declare: Exchanges and queues of kombu to declare as well.
        queue: A Queue of kombu to declare, to whose exchange messages go where no ``exchange`` is given.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``, for that broker.
        login_method: As ``LOGIN_METHOD``, for that broker.
        options: ``routing_key``, ``use_confirms``, ``mandatory``, ``delivery_mode``, ``priority``, ``expiration``
            (seconds), ``serializer``, ``compression``, ``headers``, ``retry``, ``delay`` (seconds that the broker keeps
            the message before it goes to its exchange) ...; each may be given for one call too.

    Raises:
        TypeError: There is no such option.
    """

    compression: str | None = None
    delivery_mode: int | None = None
    expiration: float | None = None
    mandatory: bool | None = None
    priority: int | None = None
    retry: bool | None = None
    retry_policy: Mapping[str, Any] | None = None
    serializer: str | None = None
    use_confirms: bool | None = None

    _known: frozenset[str] = OPTIONS
    _owner = "a Publisher"

    def __init__(
        self,
        exchange: Any = None,
        declare: Iterable[Declarable] | None = None,
        *,
        queue: Any = None,
        uri: str | None = None,
        ssl: bool | Mapping[str, Any] | None = None,
        login_method: str | None = None,
        **options: Any,
    ) -> None:
        for name in options:
            if name not in self._known:
                raise TypeError(f"{name!r} is no option of {self._owner}; there are: {', '.join(sorted(self._known))}")
        self._exchange = exchange if exchange is not None or queue is None else queue.exchange
        self._entities = (*check_declarables(declare), *check_declarables(queue))
        self._broker: dict[str, Any] = {"uri": uri, "ssl": ssl, "login_method": login_method}
        self._given = options

    def setup(self) -> None:
        """Ask for a sender with confirms, and have declared what belongs to this publisher."""
        host = self.bound_to
        key = connection_key(host.config, **self._broker, publishes=True)
        self._sender = host.resource(ConfirmedSender, key)
        self._waits = host.resource(WaitQueues, key)
        self._declarations = host.resource(Declarations, key)
        given = {name: getattr(self, name) for name in CLASS_OPTIONS if getattr(self, name) is not None}
        given.update(self._given)
        self._options = PublishOptions(host.resource(Codecs), given, self._known, self._owner)
        self._options.exchange = exchange_name(self._exchange)
        made = (self._exchange, *self._entities) if isinstance(self._exchange, Exchange) else self._entities
        self._made = {"", *made_exchanges(made)}
        self._passing = passing_exchanges(made)
        self._sender.declare(self._declare)
        self._publish = host.around("publish", self._send)

    def _declare(self, channel: LinkChannel) -> None:
        if isinstance(self._exchange, Exchange):
            declare(channel, self._exchange)
        for entity in self._entities:
            declare(channel, entity)

    def _send(self, message: Message) -> None:
        options = message.options if isinstance(message, Publication) else self._options
        timeout = options.timeout
        if message.exchange not in self._made:
            # Somebody else declares it, or has forgotten to.
            may_wait = options.use_confirms and options.retries != 0
            timeout = self._declarations.check(message.exchange, timeout, may_wait=may_wait)
        if options.delay is not None:
            lasts = message.exchange not in self._passing | passing_exchanges(options.declare)
            self._waits.send(message, options.delay, timeout=timeout, retries=options.retries, lasts=lasts)
        elif options.use_confirms:
            self._sender.publish(message, timeout, retries=options.retries)
        else:
            self._sender.post(message, timeout, retries=options.retries)

    def _changed(self, changes: Mapping[str, Any]) -> PublishOptions:
        """Give the options of one call, with what it declares declared."""
        options = self._options.changed(changes)
        if options.declare:
            seconds = self.bound_to.config.publish_timeout if options.timeout is None else options.timeout
            self._declarations.ensure(options.declare, seconds, may_wait=options.retries != 0)
        return options

    def get_dependency(self, ctx: WorkerContext) -> Callable[..., None]:
        """Give the worker a function that sends the worker's context data along."""

        def publish(payload: Any, /, **changes: Any) -> None:
            options = self._changed(changes) if changes else self._options
            self._publish(options.message(options.exchange, options.routing_key, payload, ctx.context_data))

        return publish
