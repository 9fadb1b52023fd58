"""nameko 3's Consumer: takes messages of queues in on a connection of its own, in a loop that somebody runs."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from amqp.exceptions import ConnectionError as AmqpConnectionError
from kombu import Connection
from kombu.mixins import ConsumerMixin
from kombu.utils.url import sanitize_url

__all__ = ("Consumer",)

_log = logging.getLogger(__name__)


class Consumer(ConsumerMixin):  # type: ignore[misc]  # kombu has no types
    """Consumes from queues while somebody runs :meth:`run`; the entrypoints of a service do without it.

    Args:
        amqp_uri: The broker.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        queues: Queues of kombu.
        callbacks: Called with the decoded body and the message.
        heartbeat: Seconds.
        prefetch_count: Unacknowledged messages at a time; None or 0 is without bound.
        accept: Names of serializers, and content types, that are accepted.
        consumer_options: Further options of kombu's Consumer.
    """

    def __init__(
        self,
        amqp_uri: str,
        ssl: Any = None,
        login_method: str | None = None,
        queues: Iterable[Any] | None = None,
        callbacks: Iterable[Callable[[Any, Any], Any]] | None = None,
        heartbeat: float | None = None,
        prefetch_count: int | None = None,
        accept: Iterable[str] | None = None,
        **consumer_options: Any,
    ) -> None:
        self.amqp_uri = amqp_uri
        self.ssl = ssl
        self.login_method = login_method
        self.queues = queues
        self.callbacks = list(callbacks or ())
        self.heartbeat = heartbeat
        self.prefetch_count = prefetch_count or 0
        self.accept = accept
        self.consumer_options = consumer_options
        self.ready = threading.Event()

    @property
    def connection(self) -> Any:
        """A description of the connection, which kombu makes."""
        return Connection(self.amqp_uri, ssl=self.ssl, login_method=self.login_method, heartbeat=self.heartbeat)

    def get_consumers(self, consumer_cls: Any, channel: Any) -> list[Any]:
        """Give kombu's consumers for a channel; called after each connect."""
        consumer = consumer_cls(
            queues=self.queues, callbacks=[self.on_message], accept=self.accept, **self.consumer_options
        )
        consumer.qos(prefetch_count=self.prefetch_count)
        return [consumer]

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kwargs: Any) -> None:
        """Called by kombu when messages can come."""
        self.ready.set()

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        """Called by kombu when it cannot connect."""
        _log.warning(
            "Error connecting to broker at %s (%s).\nRetrying in %s seconds.",
            sanitize_url(self.amqp_uri),
            exc,
            interval,
        )

    def wait_until_consumer_ready(self) -> None:
        """Wait for the first connection."""
        self.ready.wait()

    def stop(self) -> None:
        """End :meth:`run`; messages that come meanwhile are put back."""
        self.should_stop = True

    def on_message(self, body: Any, message: Any) -> None:
        """Called by kombu for each message."""
        if self.should_stop:
            self.requeue_message(message)
            return
        for callback in self.callbacks:
            callback(body, message)

    def ack_message(self, message: Any) -> None:
        """Tell the broker that a message is done with; without effect where its connection is lost."""
        _settle(message, message.ack)

    def requeue_message(self, message: Any) -> None:
        """Put a message back on its queue; without effect where its connection is lost."""
        _settle(message, message.requeue)


def _settle(message: Any, settle: Callable[[], object]) -> None:
    if not message.channel.connection:
        return
    try:
        settle()
    except AmqpConnectionError as exc:
        _log.debug("the broker has taken message %s back: %s", message.delivery_tag, exc)
