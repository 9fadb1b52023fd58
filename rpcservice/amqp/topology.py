"""Declares kombu's Exchange and Queue objects over a LinkChannel: they describe, we carry out."""

from collections.abc import Iterable
from typing import Any

from kombu import Exchange, Queue
from kombu.transport.base import to_rabbitmq_queue_arguments

from rpcservice.amqp.link import LinkChannel

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


def made_exchanges(entities: Iterable[Declarable]) -> set[str]:
    """Give the names of the exchanges that :func:`declare` makes, or looks for, with these entities."""
    found = (one for entity in entities if not entity.no_declare for one in _exchanges_of(entity))
    return {str(one.name) for one in found if not one.no_declare}


def passing_exchanges(entities: Iterable[Declarable]) -> set[str]:
    """Give the names of the exchanges among them that go by themselves: with their last binding, or with the broker."""
    found = (one for entity in entities for one in _exchanges_of(entity))
    return {str(one.name) for one in found if one.auto_delete or not one.durable}


def _exchanges_of(entity: Declarable) -> list[Any]:
    """Give the exchange that an entity is, or those that a queue is bound to."""
    if isinstance(entity, Exchange):
        return [entity]
    return [one for one in (entity.exchange, *(binding.exchange for binding in entity.bindings)) if one is not None]


def lasts(entity: Declarable) -> bool:
    """Say whether what is declared once is there until somebody deletes it."""
    return bool(entity.can_cache_declaration) and getattr(entity, "expires", None) is None
