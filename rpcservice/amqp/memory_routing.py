"""Exchanges and bindings of the embedded broker: which destinations a message reaches; no locks, no waiting."""

from collections.abc import Iterator, Mapping
from typing import Any

EXCHANGE_TYPES = ("direct", "fanout", "headers", "topic")
MATCH_KINDS = ("all", "any", "all-with-x", "any-with-x")
"""What ``x-match`` of a binding to a headers exchange may be."""


class Destination:
    """What can be bound to an exchange: a queue or an exchange."""

    __slots__ = ("inbound", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.inbound: dict[tuple[str, str, str], Binding] = {}


class Binding:
    """A rule of an exchange: messages that match go to a destination."""

    __slots__ = ("arguments", "destination", "routing_key", "source", "words")

    def __init__(
        self, source: "Exchange", destination: Destination, routing_key: str, arguments: Mapping[str, Any]
    ) -> None:
        self.source = source
        self.destination = destination
        self.routing_key = routing_key
        self.arguments = dict(arguments)
        self.words = split_words(routing_key)


class Exchange(Destination):
    """An exchange and the bindings that leave it."""

    __slots__ = ("arguments", "auto_delete", "durable", "outbound", "type")

    def __init__(self, name: str, type: str, *, durable: bool, auto_delete: bool, arguments: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.type = type
        self.durable = durable
        self.auto_delete = auto_delete
        self.arguments = dict(arguments)
        # By routing key, so that a direct exchange looks its destinations up; the inner dict keeps the order.
        self.outbound: dict[str, dict[Binding, None]] = {}

    def bind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> bool:
        """Add a binding; False when an equal one is there."""
        key = _binding_key(self, routing_key, arguments)
        if key in destination.inbound:
            return False
        binding = destination.inbound[key] = Binding(self, destination, routing_key, arguments)
        self.outbound.setdefault(routing_key, {})[binding] = None
        return True

    def unbind(self, destination: Destination, routing_key: str, arguments: Mapping[str, Any]) -> bool:
        """Remove a binding; False when there is none like it."""
        binding = destination.inbound.get(_binding_key(self, routing_key, arguments))
        if binding is None:
            return False
        remove_binding(binding)
        return True

    def bindings(self) -> list[Binding]:
        """Give all bindings that leave this exchange."""
        return [binding for group in self.outbound.values() for binding in group]

    def destinations(self, routing_key: str, headers: Mapping[str, Any]) -> Iterator[Destination]:
        """Give the destination of each binding that a message matches; the same one may come several times."""
        if self.type == "direct":
            for binding in self.outbound.get(routing_key, ()):
                yield binding.destination
        elif self.type == "topic":
            words = split_words(routing_key)
            for group in self.outbound.values():
                if topic_matches(next(iter(group)).words, words):
                    yield from (binding.destination for binding in group)
        else:
            for binding in self.bindings():
                if self.type == "fanout" or headers_match(binding.arguments, headers):
                    yield binding.destination


def remove_binding(binding: Binding) -> None:
    """Take a binding out of its source and its destination."""
    source = binding.source
    binding.destination.inbound.pop(_binding_key(source, binding.routing_key, binding.arguments), None)
    group = source.outbound.get(binding.routing_key, {})
    group.pop(binding, None)
    if not group:
        source.outbound.pop(binding.routing_key, None)


def _binding_key(source: Exchange, routing_key: str, arguments: Mapping[str, Any]) -> tuple[str, str, str]:
    return source.name, routing_key, repr(sorted(arguments.items())) if arguments else ""


def split_words(key: str) -> tuple[str, ...]:
    """Cut a routing key at its dots; the empty key has no words."""
    return tuple(key.split(".")) if key else ()


def topic_matches(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Say whether words match a topic pattern: ``*`` is one word, ``#`` any number of words, none included."""
    # The positions in the words that the pattern read so far may have come to: linear, whatever the pattern.
    count = len(words)
    positions = {0}
    for part in pattern:
        if part == "#":
            positions = set(range(min(positions), count + 1))
        else:
            positions = {at + 1 for at in positions if at < count and part in ("*", words[at])}
        if not positions:
            return False
    return count in positions


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Say whether a message's headers match the arguments of a binding to a headers exchange."""
    kind = arguments.get("x-match", "all")
    wanted = [
        (key, value)
        for key, value in arguments.items()
        if key != "x-match" and (kind.endswith("-with-x") or not key.startswith("x-"))
    ]
    matching = (key in headers and _same_value(value, headers[key]) for key, value in wanted)
    return any(matching) if kind.startswith("any") else all(matching)


def _same_value(wanted: object, value: object) -> bool:
    # None in a binding asks only that the header is there; otherwise the types count too: 1 is not True.
    return wanted is None or (type(wanted) is type(value) and wanted == value)
