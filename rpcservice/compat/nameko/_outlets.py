"""Where nameko's publishers put their messages: on the connection that a service has anyway."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import AmqpConnection, ConnectionKey, connection_key
from rpcservice.amqp.link import LinkChannel, Message
from rpcservice.amqp.options import OPTIONS, Publication, PublishOptions
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.amqp.topology import Declarations, declare, lasts
from rpcservice.core.context import current_worker
from rpcservice.core.extension import Host

if TYPE_CHECKING:
    from rpcservice.compat.nameko._replies import Replies
    from rpcservice.compat.nameko.amqp.publish import Publisher


class Outlet(Protocol):
    """Takes what a publisher publishes."""

    def publish(self, publisher: "Publisher", payload: Any, changes: dict[str, Any]) -> Any:
        """Publish a message with the publisher's options and with changes for this message."""
        ...


def broker_key(host: Host, uri: str | None, ssl: Any, login_method: str | None, *, publishes: bool) -> ConnectionKey:
    """Give the key of the connection to a broker: the service's own where nothing else is asked for."""
    config = host.config
    return connection_key(
        config,
        uri=None if uri == config.amqp_uri else uri,
        ssl=ssl,
        login_method=login_method,
        publishes=publishes,
    )


def find_outlet(publisher: "Publisher") -> "ServiceOutlet | None":
    """Give an outlet on the connection of the service whose worker asks.

    None where no worker does, or where its process is not connected to the publisher's broker.
    """
    ctx = current_worker.get()
    if ctx is None:
        return None
    container = ctx.container
    key = broker_key(container, publisher.amqp_uri, publisher.ssl, publisher.login_method, publishes=True)
    is_connected = any(isinstance(known, AmqpConnection) and known.key == key for known in container.resources)
    return ServiceOutlet(container, key) if is_connected else None


class _Options:
    """The options of a publisher, made once as long as they stay the same.

    Args:
        codecs: The serializers.
    """

    def __init__(self, codecs: Codecs) -> None:
        self._codecs = codecs
        self._given: Mapping[str, Any] | None = None
        self._made: PublishOptions

    def of(self, publisher: "Publisher", changes: Mapping[str, Any]) -> PublishOptions:
        """Give the options of one message."""
        given = publisher.options()
        if given != self._given:
            self._made = PublishOptions(self._codecs, given, OPTIONS, "a Publisher")
            self._given = given
        return self._made.changed(changes)


class ServiceOutlet:
    """Publishes with confirms, as ``Publisher`` and ``EventDispatcher`` do.

    Args:
        host: The container.
        key: Which connection; ask for it in ``setup`` where it is not the service's own.
    """

    def __init__(self, host: Host, key: ConnectionKey) -> None:
        self._host = host
        self._sender = host.resource(ConfirmedSender, key)
        self._declarations = host.resource(Declarations, key)
        self._options = _Options(host.resource(Codecs))
        self._publish = host.around("publish", self._send)
        self._declared: tuple[Any, ...] = ()

    def declare(self, entities: list[Any]) -> None:
        """Have exchanges and queues declared whenever the connection is set up; call it in ``setup``."""
        self._declared = tuple(filter(lasts, entities))

        def declare_all(channel: LinkChannel) -> None:
            for entity in entities:
                declare(channel, entity)

        self._sender.declare(declare_all)

    def publish(self, publisher: "Publisher", payload: Any, changes: dict[str, Any]) -> None:
        """Publish a message; gives control back when the broker has it."""
        options = self._options.of(publisher, changes)
        entities = [entity for entity in publisher.declare if entity not in self._declared]
        if entities or options.declare:
            seconds = self._host.config.publish_timeout if options.timeout is None else options.timeout
            self._declarations.ensure((*entities, *options.declare), seconds, may_wait=options.retries != 0)
        if options.mandatory and not options.use_confirms:
            warnings.warn(
                "a mandatory message that no queue takes is noticed only with use_confirms=True", stacklevel=3
            )
        self._publish(options.message(options.exchange, options.routing_key, payload, {}))

    def _send(self, message: Message) -> None:
        assert isinstance(message, Publication)
        options = message.options
        send = self._sender.publish if options.use_confirms else self._sender.post
        send(message, options.timeout, retries=options.retries)


class RequestOutlet:
    """Sends requests: the reply is what confirms them, and one that no service takes comes back.

    Args:
        host: The container.
        replies: Where their replies come in.
    """

    def __init__(self, host: Host, replies: "Replies") -> None:
        self._replies = replies
        self._timeout = host.config.rpc_timeout
        self._options = _Options(host.resource(Codecs))
        self._publish = host.around("publish", replies.send)

    def publish(self, publisher: "Publisher", payload: Any, changes: dict[str, Any]) -> Any:
        """Send a request; gives its call."""
        try:
            options = self._options.of(publisher, changes)
            message = options.message(options.exchange, options.routing_key, payload, {})
            message.timeout = self._timeout if options.timeout is None else options.timeout
            return self._publish(message)
        except BaseException:
            self._replies.forget(changes["correlation_id"])
            raise
