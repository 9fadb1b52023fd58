"""Declares kombu's Exchange and Queue objects over a LinkChannel: they describe, we carry out."""

from collections.abc import Iterable
from time import monotonic
from typing import Any

from kombu import Exchange, Queue
from kombu.transport.base import to_rabbitmq_queue_arguments

from rpcservice.amqp.connection import AmqpConnection, ConnectionKey
from rpcservice.amqp.link import LinkChannel
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.core.resource import Resource

Declarable = Any
"""An Exchange or a Queue of kombu, which has no types."""
_ARGUMENTS = ("expires", "message_ttl", "max_length", "max_length_bytes", "max_priority")


def check_declarables(entities: Any) -> tuple[Declarable, ...]:
    """Give Exchange and Queue objects of kombu as a tuple; None is none.

    Raises:
        TypeError: One of them is something else.
    """
    given = tuple(entities) if isinstance(entities, list | tuple | set | frozenset) else (entities,)
    if entities is None:
        return ()
    for entity in given:
        if not isinstance(entity, Exchange | Queue):
            raise TypeError(f"declare={entities!r}: give a list of Exchange and Queue objects of kombu")
    return given


def exchange_name(exchange: Any) -> str:
    """Give the name of an Exchange of kombu, or a name as it is; None is the default exchange.

    Raises:
        TypeError: It is something else.
    """
    name = exchange.name if isinstance(exchange, Exchange) else exchange
    if name is not None and not isinstance(name, str):
        raise TypeError(f"exchange={exchange!r}: give an Exchange of kombu, or the name of one")
    return name or ""


def declare(channel: LinkChannel, entity: Declarable) -> str:
    """Declare an exchange, or a queue with its exchange and its bindings; gives the name.

    What says ``no_declare`` is left alone, and so are the exchanges of the broker's own.

    Raises:
        ChannelClosed: There is something else of that name.
    """
    if isinstance(entity, Exchange):
        return declare_exchange(channel, entity)
    return str(entity.name) if entity.no_declare else declare_queue(channel, entity)


def declare_exchange(channel: LinkChannel, exchange: Exchange) -> str:
    """Declare an exchange; gives its name."""
    name = str(exchange.name)
    if name and not name.startswith("amq.") and not exchange.no_declare:
        channel.declare_exchange(
            name,
            exchange.type,
            durable=exchange.durable,
            auto_delete=exchange.auto_delete,
            passive=exchange.passive,
            arguments=exchange.arguments,
        )
    return name


def declare_queue(channel: LinkChannel, queue: Queue) -> str:
    """Declare a queue, all that it is bound to, and the bindings; gives its name, which the broker may have chosen."""
    limits = {name: getattr(queue, name) for name in _ARGUMENTS}
    # The exchange before the queue, as kombu does: a queue without its binding must not stay behind.
    if queue.exchange is not None:
        declare_exchange(channel, queue.exchange)
    declared = channel.declare_queue(
        queue.name,
        durable=queue.durable,
        exclusive=queue.exclusive,
        auto_delete=queue.auto_delete,
        arguments=to_rabbitmq_queue_arguments(queue.queue_arguments or {}, **limits),
    )
    name = declared.name
    if queue.on_declared is not None:
        queue.on_declared(*declared)
    if queue.exchange is not None and queue.exchange.name:
        channel.bind_queue(name, queue.exchange.name, queue.routing_key, queue.binding_arguments)
    for binding in queue.bindings:
        declare_exchange(channel, binding.exchange)
        channel.bind_queue(name, binding.exchange.name, binding.routing_key or "", binding.arguments)
    return name


def describe(queue: Queue) -> str:
    """Say in a few words which queue it is, and what it is bound to."""
    name = queue.name or "(named by the broker)"
    sources = [(binding.exchange, binding.routing_key) for binding in queue.bindings]
    if queue.exchange is not None:
        sources.append((queue.exchange, queue.routing_key))
    bound = sorted({f"{exchange.name}/{key}" if key else exchange.name for exchange, key in sources if exchange.name})
    return f"{name} ({', '.join(bound)})" if bound else name


class Declarations(Resource):
    """Declares what single messages ask for, once on a channel of its own, with which an error stays.

    Its key is the key of its connection.
    """

    key: ConnectionKey

    def setup(self) -> None:
        """Ask for the connection; the channel is opened when it is first needed."""
        self.connection = self.resources.get(AmqpConnection, self.key)
        self._lock = self.backend.lock()
        self._channel: ManagedChannel | None = None
        self._declared_on: LinkChannel | None = None
        self._declared: set[str] = set()

    def ensure(self, entities: Iterable[Declarable], seconds: float, *, may_wait: bool = True) -> None:
        """Have entities declared: those that have not been since the connection is there, or may be gone again.

        Args:
            entities: Exchanges and queues.
            seconds: How long to wait for the channel.
            may_wait: Wait for a connection that is lost to come back.

        Raises:
            ConnectionLost: The connection did not come back in time.
            ChannelClosed: There is something else of that name.
        """
        with self._lock:
            if self._channel is None:
                managed = ManagedChannel(self.connection, "declarations", on_open=lambda channel: None)
                self._channel = self.connection.add_channel(managed)
        is_there = may_wait or self.connection.link is not None
        channel = self._channel.wait(monotonic() + (seconds if is_there else 0))
        with self._lock:
            if channel is not self._declared_on:
                self._declared_on, self._declared = channel, set()
            for entity in entities:
                mark = _mark(entity)
                if mark not in self._declared or not lasts(entity):
                    declare(channel, entity)
                    self._declared.add(mark)


def lasts(entity: Declarable) -> bool:
    """Say whether what is declared once is there until somebody deletes it."""
    return bool(entity.can_cache_declaration) and getattr(entity, "expires", None) is None


def _mark(entity: Declarable) -> str:
    """Give a text that is the same for entities that are declared the same way."""
    described = entity.as_dict(recurse=True)
    described["bindings"] = sorted(map(str, described.get("bindings", ())))
    return f"{type(entity).__name__} {described}"
