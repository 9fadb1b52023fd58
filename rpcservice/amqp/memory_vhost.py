"""A virtual host of the embedded broker: exchanges, queues, bindings, routing, dead letters.

Nothing here locks or waits: whoever calls holds the broker's lock.
"""

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from rpcservice.amqp.link import Properties, QueueInfo
from rpcservice.amqp.memory_message import Stored, is_cycle, with_death
from rpcservice.amqp.memory_queue import Queue
from rpcservice.amqp.memory_routing import EXCHANGE_TYPES, MATCH_KINDS, Destination, Exchange, remove_binding
from rpcservice.core.context import new_id
from rpcservice.errors import ChannelClosed, ConnectionLost

if TYPE_CHECKING:
    from rpcservice.amqp.memory_broker import MemoryBroker

_KNOWN_ROUTES = 10_000
"""So many routes are remembered a virtual host; routing keys come from outside, so there is a bound."""

_PREDECLARED = (
    ("amq.direct", "direct"),
    ("amq.fanout", "fanout"),
    ("amq.headers", "headers"),
    ("amq.match", "headers"),
    ("amq.topic", "topic"),
)


class VirtualHost:
    """Exchanges, queues and bindings that see only each other.

    Raises, from every method: ChannelClosed where the broker refuses, ConnectionLost where it ends the connection.
    """

    def __init__(self, broker: "MemoryBroker", name: str) -> None:
        self.broker = broker
        self.name = name
        self.queues: dict[str, Queue] = {}
        self._exchanges = {
            name: Exchange(name, type, durable=True, auto_delete=False, arguments={}) for name, type in _PREDECLARED
        }
        self._routes: dict[tuple[str, str], tuple[Queue, ...]] = {}
        self._dead: list[tuple[Stored, str]] = []
        self._is_burying = False

    # Messages

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Properties) -> tuple[bool, bool]:
        """Put a message into the queues it reaches; says whether there are any, and whether all have taken it."""
        queues = self._route(exchange, routing_key, properties)
        if not queues:
            return False, True
        expiration = properties.get("expiration")
        ttl = None if expiration is None else _milliseconds(expiration)
        is_shared = len(queues) > 1
        taken = True
        for queue in queues:
            stored = Stored(body, properties, exchange, routing_key, _deadline(ttl, queue.ttl), is_shared)
            if queue.is_full_for(len(body)):
                taken = False
                if queue.overflow == "reject-publish-dlx":
                    stored.queue = queue
                    self.bury(stored, "maxlen")
            else:
                queue.put(stored)
        return True, taken

    def _route(self, exchange: str, routing_key: str, properties: Properties) -> tuple[Queue, ...]:
        if not exchange:
            queue = self.queues.get(routing_key)
            return () if queue is None else (queue,)
        queues = self._routes.get((exchange, routing_key))
        if queues is None:
            queues = self._find_route(self._exchange(exchange), routing_key, properties.get("headers") or {})
        return queues

    def _find_route(self, exchange: Exchange, routing_key: str, headers: Mapping[str, Any]) -> tuple[Queue, ...]:
        reached: dict[Queue, None] = {}
        walk = [exchange]
        for current in walk:
            found = list(current.destinations(routing_key, headers))
            alternate = self._exchanges.get(current.arguments.get("alternate-exchange", ""))
            if not found and alternate is not None:
                found = [alternate]
            for destination in found:
                if isinstance(destination, Queue):
                    reached[destination] = None
                elif isinstance(destination, Exchange) and destination not in walk:
                    walk.append(destination)
        queues = tuple(reached)
        if all(current.type != "headers" for current in walk):
            if len(self._routes) >= _KNOWN_ROUTES:
                self._routes.clear()
            self._routes[exchange.name, routing_key] = queues
        return queues

    def bury(self, stored: Stored, reason: str) -> None:
        """Drop a message of a queue: to the queue's dead letter exchange, if it has one."""
        if stored.queue.dead_letter_exchange is None:
            return
        self._dead.append((stored, reason))
        if self._is_burying:
            return
        # A dead letter may push others out of their queue: one after the other, never one inside the other.
        self._is_burying = True
        try:
            for dead, why in self._dead:
                self._republish(dead, why)
        finally:
            self._dead.clear()
            self._is_burying = False

    def _republish(self, stored: Stored, reason: str) -> None:
        exchange, key = stored.queue.dead_letter_exchange or "", stored.queue.dead_letter_key
        if exchange and exchange not in self._exchanges:
            return
        routing_key = stored.routing_key if key is None else key
        properties = with_death(stored, reason)
        queues = self._route(exchange, routing_key, properties)
        for queue in queues:
            if queue.is_full_for(len(stored.body)) or (reason != "rejected" and is_cycle(properties, queue.name)):
                continue
            deadline = _deadline(None, queue.ttl)
            queue.put(Stored(stored.body, properties, exchange, routing_key, deadline, len(queues) > 1))

    # Exchanges

    def _exchange(self, name: str) -> Exchange:
        try:
            return self._exchanges[name]
        except KeyError:
            raise ChannelClosed(404, f"NOT_FOUND - no exchange '{name}' in vhost '{self.name}'") from None

    def declare_exchange(
        self, name: str, type: str, durable: bool, auto_delete: bool, passive: bool, arguments: Mapping[str, Any]
    ) -> None:
        """Make an exchange or compare it with the one there is."""
        _guard_default_exchange(name)
        if passive:
            self._exchange(name)
            return
        if type not in EXCHANGE_TYPES:
            raise ConnectionLost(
                f"the broker closed the connection: 503 COMMAND_INVALID - unknown exchange type '{type}'; "
                f"it knows {', '.join(EXCHANGE_TYPES)}"
            )
        exchange = self._exchanges.get(name)
        if exchange is None:
            _guard_reserved("exchange", name)
            self._exchanges[name] = Exchange(name, type, durable=durable, auto_delete=auto_delete, arguments=arguments)
            self._routes.clear()
            return
        key = "alternate-exchange"
        for what, received, current in (
            ("type", type, exchange.type),
            ("durable", durable, exchange.durable),
            ("auto_delete", auto_delete, exchange.auto_delete),
            (key, arguments.get(key), exchange.arguments.get(key)),
        ):
            if received != current:
                raise self._inequivalent("exchange", name, what, received, current)

    def _inequivalent(self, kind: str, name: str, what: str, received: Any, current: Any) -> ChannelClosed:
        return ChannelClosed(
            406,
            f"PRECONDITION_FAILED - inequivalent arg '{what}' for {kind} '{name}' in vhost '{self.name}': "
            f"received {_quote(received)} but current is {_quote(current)}",
        )

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange."""
        _guard_default_exchange(name)
        _guard_reserved("exchange", name)
        exchange = self._exchanges.pop(name, None)
        if exchange is None:
            return
        for binding in exchange.bindings():
            remove_binding(binding)
        self._cut_off(exchange)

    def _cut_off(self, destination: Destination) -> None:
        """Remove the bindings to something that is gone."""
        self._routes.clear()
        for binding in list(destination.inbound.values()):
            remove_binding(binding)
            self._drop_if_unused(binding.source)

    def _drop_if_unused(self, exchange: Exchange) -> None:
        if exchange.auto_delete and not exchange.outbound and self._exchanges.get(exchange.name) is exchange:
            self.delete_exchange(exchange.name)

    def bind(self, destination: Destination, source: str, routing_key: str, arguments: Mapping[str, Any]) -> None:
        """Bind a queue or an exchange."""
        _guard_default_exchange(source)
        exchange = self._exchange(source)
        kind = arguments.get("x-match", "all")
        if exchange.type == "headers" and kind not in MATCH_KINDS:
            raise ChannelClosed(
                406,
                f"PRECONDITION_FAILED - Invalid x-match field value {kind!r}; expected one of {', '.join(MATCH_KINDS)}",
            )
        exchange.bind(destination, routing_key, arguments)
        self._routes.clear()

    def bind_exchange(self, destination: str, source: str, routing_key: str, arguments: Mapping[str, Any]) -> None:
        """Bind an exchange to another."""
        _guard_default_exchange(destination)
        self.bind(self._exchange(destination), source, routing_key, arguments)

    def bind_queue(
        self, queue: str, source: str, routing_key: str, arguments: Mapping[str, Any], asker: object
    ) -> None:
        """Bind a queue to an exchange."""
        self.bind(self.queue(queue, asker), source, routing_key, arguments)

    def unbind_queue(
        self, queue: str, source: str, routing_key: str, arguments: Mapping[str, Any], asker: object
    ) -> None:
        """Undo :meth:`bind_queue`."""
        _guard_default_exchange(source)
        exchange = self._exchange(source)
        exchange.unbind(self.queue(queue, asker), routing_key, arguments)
        self._routes.clear()
        self._drop_if_unused(exchange)

    # Queues

    def queue(self, name: str, asker: object) -> Queue:
        """Give a queue that somebody wants to use."""
        queue = self.queues.get(name)
        if queue is None:
            raise ChannelClosed(404, f"NOT_FOUND - no queue '{name}' in vhost '{self.name}'")
        if queue.owner is not None and queue.owner is not asker:
            raise self._locked(name)
        return queue

    def _locked(self, name: str) -> ChannelClosed:
        return ChannelClosed(
            405,
            f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '{self.name}'. It "
            "could be originally declared on another connection or the exclusive property value does not match that "
            "of the original declaration.",
        )

    def declare_queue(
        self,
        name: str,
        durable: bool,
        exclusive: bool,
        auto_delete: bool,
        passive: bool,
        arguments: Mapping[str, Any],
        asker: object,
    ) -> QueueInfo:
        """Make a queue or compare it with the one there is."""
        if passive:
            return _info(self.queue(name, asker))
        existing = self.queues.get(name)
        if existing is not None:
            difference = existing.difference(durable, auto_delete, arguments)
            if difference is not None:
                raise self._inequivalent("queue", name, *difference)
            if existing.owner is not (asker if exclusive else None):
                raise self._locked(name)
            return _info(existing)
        _guard_reserved("queue", name)
        name = name or f"amq.gen-{new_id()}"
        owner = asker if exclusive else None
        queue = Queue(self, name, durable=durable, auto_delete=auto_delete, owner=owner, arguments=arguments)
        self.queues[name] = queue
        return _info(queue)

    def delete_queue(self, name: str, if_unused: bool, if_empty: bool, asker: object) -> int:
        """Delete a queue; gives the number of messages that were ready."""
        if name not in self.queues:
            return 0
        queue = self.queue(name, asker)
        if if_unused and queue.consumers:
            raise ChannelClosed(406, f"PRECONDITION_FAILED - queue '{name}' in vhost '{self.name}' in use")
        if if_empty and queue.ready:
            raise ChannelClosed(406, f"PRECONDITION_FAILED - queue '{name}' in vhost '{self.name}' not empty")
        self.drop_queue(queue)
        return queue.purge()

    def drop_queue(self, queue: Queue, tell: bool = True) -> None:
        """Remove a queue; its consumers are told."""
        if queue.is_deleted:
            return
        queue.is_deleted = True
        del self.queues[queue.name]
        self._cut_off(queue)
        consumers = list(queue.consumers)
        queue.consumers.clear()
        for consumer in consumers:
            consumer.channel.drop_consumer(consumer, tell)


def _guard_default_exchange(name: str) -> None:
    if not name:
        raise ChannelClosed(403, "ACCESS_REFUSED - operation not permitted on the default exchange")


def _guard_reserved(kind: str, name: str) -> None:
    if name.startswith("amq."):
        raise ChannelClosed(403, f"ACCESS_REFUSED - {kind} name '{name}' contains reserved prefix 'amq.*'")


def _info(queue: Queue) -> QueueInfo:
    queue.touch()
    return QueueInfo(queue.name, len(queue.ready), len(queue.consumers))


def _quote(value: Any) -> str:
    if value is None:
        return "none"
    return f"'{str(value).lower() if isinstance(value, bool) else value}'"


def _milliseconds(expiration: Any) -> float:
    text = str(expiration)
    if not (text.isascii() and text.isdigit()):
        raise ChannelClosed(
            406, f"PRECONDITION_FAILED - invalid expiration '{text}': give milliseconds, as text of digits"
        )
    return int(text) / 1000


def _deadline(ttl: float | None, queue_ttl: float | None) -> float | None:
    if ttl is None:
        ttl = queue_ttl
    elif queue_ttl is not None:
        ttl = min(ttl, queue_ttl)
    return None if ttl is None else monotonic() + ttl
