"""nameko's Publisher and @consume, which take any exchange and any queue, and QueueConsumer of nameko 2."""

import logging
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from rpcservice.amqp import queues
from rpcservice.amqp.deadletters import restore_origin
from rpcservice.amqp.link import Delivery
from rpcservice.amqp.message import ORIGIN_KEY
from rpcservice.compat.nameko._handling import (
    Acknowledger,
    bury_first,
    comes_again,
    give_back,
    is_plain,
    see_to_failure,
    spawn_handler,
)
from rpcservice.compat.nameko._headers import HeaderDecoder as HeaderDecoder
from rpcservice.compat.nameko._headers import HeaderEncoder as HeaderEncoder
from rpcservice.compat.nameko._headers import decode_from_headers as decode_from_headers
from rpcservice.compat.nameko._headers import encode_to_headers as encode_to_headers
from rpcservice.compat.nameko._missing import missing_names
from rpcservice.compat.nameko._outlets import ServiceOutlet, broker_key
from rpcservice.compat.nameko._queue_consumer import QueueConsumer as QueueConsumer
from rpcservice.compat.nameko.amqp._message import Message
from rpcservice.compat.nameko.amqp.consume import Consumer as ConsumerCore
from rpcservice.compat.nameko.amqp.publish import Publisher as PublisherCore
from rpcservice.compat.nameko.exceptions import ConfigurationError, ContainerBeingKilled
from rpcservice.compat.nameko.extensions import DependencyProvider, Entrypoint
from rpcservice.compat.nameko.extensions import ProviderCollector as ProviderCollector
from rpcservice.compat.nameko.extensions import SharedExtension as SharedExtension
from rpcservice.core.context import WorkerContext
from rpcservice.errors import MalformedRequest, MissingKey, Reject, Requeue

__all__ = (
    "Consumer",
    "HeaderDecoder",
    "HeaderEncoder",
    "Publisher",
    "QueueConsumer",
    "consume",
    "decode_from_headers",
    "encode_to_headers",
)

__getattr__ = missing_names(
    __name__, {"QueueConsumerStopped": "leave it out: consumers connect again by themselves until the service stops"}
)

_log = logging.getLogger(__name__)


class Publisher(DependencyProvider, HeaderEncoder):
    """Injects a function ``publish(message, **options)`` that sends a message to any exchange.

    Args:
        exchange: An Exchange of kombu, which is declared; None is the default exchange.
        declare: Exchanges and queues of kombu to declare as well.
        queue: As in nameko 2 before 2.7: declared, and messages go to its exchange where none is given.
        publisher_options: ``uri``, ``ssl``, ``login_method``, and what
            :class:`rpcservice.compat.nameko.amqp.publish.Publisher` takes.
    """

    publisher_cls: type[Any] = PublisherCore

    def __init__(
        self, exchange: Any = None, declare: Iterable[Any] | None = None, queue: Any = None, **publisher_options: Any
    ) -> None:
        self.declare = [*(declare or ())]
        if queue is not None:
            warnings.warn("give declare=[queue] in the place of queue=...", DeprecationWarning, stacklevel=2)
            exchange = queue.exchange if exchange is None else exchange
            self.declare.append(queue)
        elif exchange is not None:
            self.declare.append(exchange)
        self.exchange = exchange
        self.publisher_options = publisher_options
        self.options = publisher_options

    @property
    def amqp_uri(self) -> str:
        """The broker."""
        uri: str = self.publisher_options.get("uri") or self.container.config.amqp_uri
        return uri

    @property
    def serializer(self) -> str:
        """The serializer of messages that ask for no other."""
        name: str = self.container.serializer
        return name

    def setup(self) -> None:
        """Make the publisher, and have declared what belongs to it."""
        options = {**_class_options(self), **self.publisher_options}
        uri = options.pop("uri", None)
        ssl, login_method = options.pop("ssl", None), options.pop("login_method", None)
        serializer = options.pop("serializer", None) or self.serializer
        key = broker_key(self.container, uri, ssl, login_method, publishes=True)
        self.publisher = self.publisher_cls(
            key.uri,
            serializer=serializer,
            exchange=self.exchange,
            declare=self.declare,
            ssl=dict(key.ssl) if isinstance(key.ssl, tuple) else key.ssl,
            login_method=key.login_method,
            **options,
        )
        outlet = ServiceOutlet(self.container, key)
        outlet.declare(self.declare)
        if isinstance(self.publisher, PublisherCore):
            self.publisher.outlet = outlet

    def get_dependency(self, worker_ctx: WorkerContext) -> Callable[..., Any]:
        """Give the worker a function that sends the worker's context data along."""

        def publish(msg: Any, **kwargs: Any) -> Any:
            return self.publisher.publish(msg, extra_headers=self.get_message_headers(worker_ctx), **kwargs)

        return publish


def _class_options(publisher: Any) -> dict[str, Any]:
    """Give the options that subclasses had as attributes before nameko 2.7."""
    names = ("retry", "retry_policy", "use_confirms")
    return {name: getattr(publisher, name) for name in names if hasattr(publisher, name)}


def _ack_unless_settled(message: Any) -> None:
    if not message.acknowledged:
        message.ack()


class Consumer(Entrypoint, queues.MessageHandler, HeaderDecoder):
    """Fires its method with the body of each message of a queue; use it as the decorator ``@consume``.

    Args:
        queue: A Queue of kombu, declared with all that it is bound to.
        requeue_on_error: Put the message back at once when the method raises; else it is done with.
        expected_exceptions: As for every entrypoint.
        sensitive_arguments: As for every entrypoint.
        consumer_options: ``prefetch_count``, ``accept``, ``no_ack`` ..., and ``retry``, ``dead_letter`` and
            ``idempotent`` of our own; ``heartbeat`` has no effect, for all share a connection.
    """

    consumer_cls: type[Any] = ConsumerCore
    queue_consumer = QueueConsumer()
    consumer: Any
    """Acknowledges and requeues messages."""
    _is_apart = True
    """Whether it does not consume on the service's channel, as before it is set up."""

    def __init__(
        self,
        queue: Any,
        requeue_on_error: bool = False,
        expected_exceptions: Any = (),
        sensitive_arguments: Any = (),
        **consumer_options: Any,
    ) -> None:
        super().__init__(
            expected_exceptions,
            sensitive_arguments,
            queue=queue,
            requeue_on_error=requeue_on_error,
            **consumer_options,
        )
        self.consumer_options = self._consuming

    def _checked(self, queue: Any) -> Any:
        # A subclass may make its queue in setup.
        return None if queue is None else super()._checked(queue)

    def setup(self) -> None:
        """Have the queue declared, on the service's channel.

        Raises:
            ConfigurationError: There is no queue, or :attr:`consumer_cls` cannot do what is asked for.
        """
        if self.queue is None:
            raise ConfigurationError(f"{self!r} has no queue; give one to its constructor, or set it before setup")
        if self.consumer_cls is not ConsumerCore:
            if self._retry or self._keeps_dead_letters:
                raise ConfigurationError(
                    f"{self!r} consumes by {self.consumer_cls.__qualname__}, which tries nothing again and keeps no "
                    "dead letters; leave consumer_cls, or retry and dead_letter, out"
                )
            self.consumer = self._make_consumer()
            return
        self._is_apart = False
        super().setup()
        self.consumer = Acknowledger(self.container.config, [self.queue], self._prefetch(), self.consumer_options)

    def _make_consumer(self) -> Any:
        """Make a consumer of another class, which has a connection of its own."""
        config = self.container.config
        options = {"heartbeat": config.heartbeat, "accept": self.container.accept, **self.consumer_options}
        options["prefetch_count"] = self._prefetch()
        return self.consumer_cls(
            config.amqp_uri,
            ssl=config.amqp_ssl,
            login_method=config.login_method,
            queues=[self.queue],
            callbacks=[self.handle_message],
            **options,
        )

    def start(self) -> None:
        """Take messages in."""
        if self._is_apart:
            self.container.spawn_managed_thread(self.consumer.run, identifier=f"{self!r}.run")
            self.consumer.wait_until_consumer_ready()
        else:
            super().start()

    def stop(self) -> None:
        """Take no more messages in."""
        if self._is_apart:
            self.consumer.stop()
        else:
            super().stop()

    def kill(self) -> None:
        """Take no more messages in, without waiting."""
        if self._is_apart:
            self.consumer.stop()
        else:
            super().kill()

    def receive_delivery(self, delivery: Delivery) -> None:
        """Handle a message: here where :meth:`handle_message` is nameko's own, else in a thread, for it may wait."""
        message = Message(delivery, self._decode, no_ack=self._no_ack)
        if ORIGIN_KEY in message.headers:
            restore_origin(delivery)
        try:
            body = message.payload
        except MalformedRequest as exc:
            self._drop(delivery, exc, has_failed=False)
            return
        if is_plain(self, "handle_message", Consumer):
            try:
                self.handle_message(body, message)
            except Exception as exc:
                _log.exception("message %s for %s could not be taken in", delivery.routing_key, self.method_name)
                self.fail_message(message, exc)
        else:
            spawn_handler(self.container, self.handle_message, body, message, self.fail_message)

    def fail_message(self, message: Any, error: BaseException) -> None:
        """Called with a message whose handling broke down: it is given up, for it would do the same again."""
        if message.acknowledged:
            return
        if self._keeps_dead_letters and not self._is_apart:
            bury_first(self._failures, message, error, partial(_ack_unless_settled, message), self._way_back())
            return
        delivery = getattr(message, "delivery", None)
        if delivery is not None:
            self._drops.note(delivery, f"{self.container.service_name}.{self.method_name}", error)
        message.reject()

    def handle_message(self, body: Any, message: Any) -> None:
        """Called for each message: have a worker run the method, unless one still has this message.

        Args:
            body: The decoded body.
            message: The message, as kombu's.
        """
        if comes_again(self, message):
            return
        try:
            self.container.spawn_worker(
                self,
                (body,),
                {},
                context_data=self.unpack_message_headers(message),
                handle_result=partial(self.handle_result, message),
            )
        except ContainerBeingKilled:
            self.consumer.requeue_message(message)

    def handle_result(self, message: Any, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> tuple[Any, Any]:
        """Called when the method has ended; gives the result and the error that dependencies are to see."""
        self.handle_message_processed(message, result, exc_info)
        return result, exc_info

    def handle_message_processed(self, message: Any, result: Any = None, exc_info: Any = None) -> None:
        """Called when a message is done with: ack it, or put it back; after an error do first what is asked for then.

        That is ``retry`` and ``dead_letter``, and an error that is a Requeue. Who overrides this decides on these too.
        """
        if message.acknowledged:
            return
        error = exc_info[1] if exc_info else None
        if error is not None and not self._is_done_with(message, error):
            return
        if error is not None and self._wants_back(error):
            self.consumer.requeue_message(message)
        else:
            self.consumer.ack_message(message)

    def _is_done_with(self, message: Any, error: BaseException) -> bool:
        if self._is_apart or self._no_ack:
            return True
        return see_to_failure(self._failures, message, error, self._way_back())

    def _wants_back(self, error: BaseException) -> bool:
        if isinstance(error, Requeue):
            return self._is_apart
        return self.requeue_on_error and not isinstance(error, MissingKey | Reject)

    def handle_result_failed(self, worker_ctx: Any, error: BaseException) -> None:
        """Drop a message whose ``handle_result`` broke down."""
        if worker_ctx.incoming is not None:
            self.fail_message(worker_ctx.incoming, error)

    def give_back(self, ctx: WorkerContext) -> None:
        """Put the message of a worker that did not finish back on its queue."""
        message = getattr(ctx, "incoming", None)
        if message is not None:
            give_back(message)
        elif ctx.message is not None:
            super().give_back(ctx)


consume = Consumer.decorator
