"""Where nameko's publishers put their messages: on the connection that a service has anyway."""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from rpcservice.amqp.codec import Codecs
from rpcservice.amqp.connection import AmqpConnection, ConnectionKey, connection_key
from rpcservice.amqp.declarations import Declarations
from rpcservice.amqp.link import LinkChannel, Message
from rpcservice.amqp.options import OPTIONS, Publication, PublishOptions
from rpcservice.amqp.sender import ConfirmedSender
from rpcservice.amqp.topology import declare, exchange_name, lasts, made_exchanges
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


_ADDRESS = frozenset(("correlation_id", "exchange", "extra_headers", "mandatory", "routing_key"))
"""What requests and events of services give for each message, and nothing else."""


class _Options:
    """The options of a publisher, made once as long as they stay the same.

    Args:
        codecs: The serializers.
    """

    def __init__(self, codecs: Codecs) -> None:
        self._codecs = codecs
        self._seen: Any = None
        self._made: PublishOptions

    def message(self, publisher: "Publisher", payload: Any, changes: dict[str, Any]) -> Publication:
        """Make a message, with the options of its publisher and changes to them."""
        seen = publisher.attributes()
        if self._seen != (seen, publisher.publish_kwargs):
            self._made = PublishOptions(self._codecs, publisher.options(), OPTIONS, "a Publisher")
            self._seen = (seen, dict(publisher.publish_kwargs))
        if changes.keys() <= _ADDRESS:
            return self._addressed(payload, **changes)
        options = self._made.changed(changes)
        return options.message(options.exchange, options.routing_key, payload, {})

    def _addressed(
        self,
        payload: Any,
        *,
        exchange: Any = None,
        routing_key: str | None = None,
        mandatory: bool | None = None,
        correlation_id: str | None = None,
        extra_headers: Mapping[str, Any] | None = None,
    ) -> Publication:
        """Make a message without options of its own, which are a copy for each."""
        options = self._made
        key = options.routing_key if routing_key is None else routing_key
        if not isinstance(key, str):
            raise TypeError(f"routing_key={key!r}: types of events and routing keys are texts")
        name = options.exchange if exchange is None else exchange_name(exchange)
        message = options.message(name, key, payload, {})
        if mandatory is not None:
            message.mandatory = mandatory
        if correlation_id is not None:
            message.properties["correlation_id"] = correlation_id
        if extra_headers:
            message.headers.update(extra_headers)
        return message


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
        self._made = {""}

    def declare(self, entities: list[Any]) -> None:
        """Have exchanges and queues declared whenever the connection is set up; call it in ``setup``."""
        self._declared = tuple(filter(lasts, entities))
        self._made |= made_exchanges(entities)

        def declare_all(channel: LinkChannel) -> None:
            for entity in entities:
                declare(channel, entity)

        self._sender.declare(declare_all)

    def publish(self, publisher: "Publisher", payload: Any, changes: dict[str, Any]) -> None:
        """Publish a message; gives control back when the broker has it."""
        message = self._options.message(publisher, payload, changes)
        options = message.options
        entities = [entity for entity in publisher.declare if entity not in self._declared]
        if entities or options.declare:
            seconds = self._host.config.publish_timeout if options.timeout is None else options.timeout
            self._declarations.ensure((*entities, *options.declare), seconds, may_wait=options.retries != 0)
        if message.mandatory and not options.use_confirms:
            warnings.warn(
                "a mandatory message that no queue takes is noticed only with use_confirms=True", stacklevel=3
            )
        self._publish(message)

    def _send(self, message: Message) -> None:
        assert isinstance(message, Publication)
        options = message.options
        timeout = options.timeout
        if message.exchange not in self._made:
            may_wait = options.use_confirms and options.retries != 0
            timeout = self._declarations.check(message.exchange, timeout, may_wait=may_wait)
        send = self._sender.publish if options.use_confirms else self._sender.post
        send(message, timeout, retries=options.retries)


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
            message = self._options.message(publisher, payload, changes)
            timeout = message.options.timeout
            message.timeout = self._timeout if timeout is None else timeout
            return self._publish(message)
        except BaseException:
            self._replies.forget(changes["correlation_id"])
            raise
