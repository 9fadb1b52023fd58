"""QueueConsumer of nameko 2, which consumes for extensions that know what to do with messages."""

from collections.abc import Callable
from functools import partial
from typing import Any

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import connection_key
from rpcservice.amqp.consumer import Consumer, ServiceChannel
from rpcservice.amqp.drops import Drops
from rpcservice.amqp.link import Delivery
from rpcservice.amqp.topology import declare
from rpcservice.compat.nameko._handling import spawn_handler
from rpcservice.compat.nameko.amqp._message import Message
from rpcservice.compat.nameko.extensions import ProviderCollector, SharedExtension
from rpcservice.core.resource import Resource
from rpcservice.errors import MalformedRequest


class QueueConsumer(SharedExtension, ProviderCollector):
    """Consumes for extensions that bring a ``queue`` and a ``handle_message(body, message)``; of nameko 2."""

    def __init__(self) -> None:
        self._consumers: dict[Any, Consumer] = {}

    @property
    def amqp_uri(self) -> str:
        """The broker."""
        uri: str = self.container.config.amqp_uri
        return uri

    @property
    def prefetch_count(self) -> int:
        """Unacknowledged messages at a time, for each queue."""
        config = self.container.config
        return int(config.max_workers if config.prefetch_count is None else config.prefetch_count)

    @property
    def accept(self) -> list[str]:
        """Names of the serializers that are accepted."""
        names: list[str] = self.container.accept
        return names

    def setup(self) -> None:
        """Prepare to consume as soon as every extension of the service is up."""
        self.container.resource(_AfterStart).calls.append(self._begin)

    def register_provider(self, provider: Any) -> None:
        """Consume for an extension; call it in ``setup``."""
        super().register_provider(provider)
        host = self.container
        channel = host.resource(ServiceChannel, (connection_key(host.config), host.service_name))
        decode = host.resource(Codecs).decoder(self.accept).decode
        self._consumers[provider] = Consumer(
            channel,
            lambda link_channel: declare(link_channel, provider.queue),
            partial(self._receive, provider, decode),
            self.prefetch_count,
            no_ack=bool(provider.queue.no_ack),
            arguments=provider.queue.consumer_arguments,
        )

    def _begin(self) -> None:
        for consumer in self._consumers.values():
            consumer.start()

    def unregister_provider(self, provider: Any) -> None:
        """Consume no more for an extension; call it in ``stop``."""
        consumer = self._consumers.pop(provider, None)
        if consumer is not None:
            consumer.stop()
        super().unregister_provider(provider)

    def stop(self) -> None:
        """Consume no more; all extensions have stopped by now."""
        for provider in list(self._consumers):
            self.unregister_provider(provider)

    def kill(self) -> None:
        """Consume no more, without waiting."""
        for consumer in self._consumers.values():
            consumer.kill()

    def _receive(self, provider: Any, decode: Callable[[Any, Any], Any], delivery: Delivery) -> None:
        message = Message(delivery, decode, no_ack=bool(provider.queue.no_ack))
        try:
            body = message.payload
        except MalformedRequest as exc:
            self.container.resource(Drops).note(delivery, self.container.service_name, exc)
            message.ack()
            return
        self.handle_message(provider, body, message)

    def handle_message(self, provider: Any, body: Any, message: Any) -> None:
        """Have an extension handle a message, in a thread of its own; called in the reader, so it must not wait."""
        spawn_handler(self.container, provider.handle_message, body, message, _drop)

    def ack_message(self, message: Any) -> None:
        """Tell the broker that a message is done with."""
        if message.channel.connection:
            message.ack()

    def requeue_message(self, message: Any) -> None:
        """Put a message back on its queue."""
        if message.channel.connection:
            message.requeue()


def _drop(message: Message, error: Exception) -> None:
    message.reject()


class _AfterStart(Resource):
    """Calls functions when every service of the process is up: whoever starts later would be met half made."""

    def setup(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def serve(self) -> None:
        """Call them."""
        for call in self.calls:
            call()
