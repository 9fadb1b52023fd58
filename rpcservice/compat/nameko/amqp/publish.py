"""nameko's Publisher, and its pools of kombu's connections and producers."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from kombu import Connection, Exchange
from kombu.exceptions import ChannelError
from kombu.pools import connections, producers

from rpcservice.compat.nameko._outlets import Outlet, find_outlet
from rpcservice.compat.nameko.constants import DEFAULT_RETRY_POLICY, DEFAULT_TRANSPORT_OPTIONS, PERSISTENT
from rpcservice.errors import UndeliverableMessage as UndeliverableMessage

__all__ = (
    "Publisher",
    "UndeliverableMessage",
    "get_connection",
    "get_producer",
)

_OPTIONS = (
    "delivery_mode",
    "mandatory",
    "priority",
    "expiration",
    "serializer",
    "compression",
    "retry",
    "retry_policy",
    "use_confirms",
)
_values = attrgetter(*_OPTIONS)


@contextmanager
def get_connection(
    amqp_uri: str, ssl: Any = None, login_method: str | None = None, transport_options: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Lend a connection of kombu's pool for the time of a ``with`` block."""
    options = transport_options or DEFAULT_TRANSPORT_OPTIONS
    connection = Connection(amqp_uri, transport_options=dict(options), ssl=ssl, login_method=login_method)
    with connections[connection].acquire(block=True) as lent:
        yield lent


@contextmanager
def get_producer(
    amqp_uri: str,
    confirms: bool = True,
    ssl: Any = None,
    login_method: str | None = None,
    transport_options: Mapping[str, Any] | None = None,
) -> Iterator[Any]:
    """Lend a producer of kombu's pool for the time of a ``with`` block.

    Args:
        amqp_uri: The broker.
        confirms: Publishing is to wait until the broker has the message.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        transport_options: For kombu.
    """
    given = DEFAULT_TRANSPORT_OPTIONS if transport_options is None else transport_options
    options = {**given, "confirm_publish": confirms}
    connection = Connection(amqp_uri, transport_options=options, ssl=ssl, login_method=login_method)
    with producers[connection].acquire(block=True) as lent:
        yield lent


def verify_amqp_uri(amqp_uri: str, ssl: Any = None, login_method: str | None = None) -> None:
    """See whether a broker takes the login of a URI.

    Raises:
        OSError: It cannot be reached, or refuses.
    """
    with Connection(amqp_uri, ssl=ssl, login_method=login_method, connect_timeout=10) as connection:
        connection.connect()


class Publisher:
    """Publishes messages; in a worker on the connection of its service, elsewhere on one of kombu's pool.

    Each option may be given as an attribute of a subclass, to the constructor, or for one message.

    Args:
        amqp_uri: The broker.
        use_confirms: Wait until the broker has the message.
        serializer: The serializer's name.
        compression: The compression's name.
        delivery_mode: 1 for transient, 2 for persistent messages.
        mandatory: A message that no queue takes is an error.
        priority: 0 to 255.
        expiration: Seconds after which a message that nobody took is dropped.
        declare: Exchanges and queues of kombu, declared before the message is published.
        retry: Publish again when the connection is lost.
        retry_policy: How often, with ``max_retries``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        publish_kwargs: ``exchange``, ``routing_key``, ``headers`` and the other properties of messages.
    """

    use_confirms = True
    transport_options: Mapping[str, Any] = DEFAULT_TRANSPORT_OPTIONS
    delivery_mode: int | None = PERSISTENT
    mandatory = False
    priority: int | None = 0
    expiration: float | None = None
    serializer: str | None = "json"
    compression: str | None = None
    retry = True
    retry_policy: Mapping[str, Any] | None = DEFAULT_RETRY_POLICY
    declare: list[Any] = []

    outlet: Outlet | None = None
    """Where messages go; None looks for that of the worker each time."""

    def __init__(
        self,
        amqp_uri: str,
        use_confirms: bool | None = None,
        serializer: str | None = None,
        compression: str | None = None,
        delivery_mode: int | None = None,
        mandatory: bool | None = None,
        priority: int | None = None,
        expiration: float | None = None,
        declare: list[Any] | None = None,
        retry: bool | None = None,
        retry_policy: Mapping[str, Any] | None = None,
        ssl: Any = None,
        login_method: str | None = None,
        **publish_kwargs: Any,
    ) -> None:
        given = {
            "use_confirms": use_confirms,
            "serializer": serializer,
            "compression": compression,
            "delivery_mode": delivery_mode,
            "mandatory": mandatory,
            "priority": priority,
            "expiration": expiration,
            "declare": declare,
            "retry": retry,
            "retry_policy": retry_policy,
        }
        for name, value in given.items():
            if value is not None:
                setattr(self, name, value)
        self.amqp_uri = amqp_uri
        self.ssl = ssl
        self.login_method = login_method
        self.publish_kwargs = publish_kwargs

    def publish(self, payload: Any, **kwargs: Any) -> Any:
        """Publish a message.

        Args:
            payload: Anything the serializer accepts.
            kwargs: Options for this message; ``headers`` and ``extra_headers`` are laid over those given before.

        Raises:
            UndeliverableMessage: It is mandatory and no queue took it.
        """
        outlet = self.outlet or find_outlet(self)
        if outlet is not None:
            return outlet.publish(self, payload, kwargs)
        return self._publish_by_kombu(payload, kwargs)

    def attributes(self) -> tuple[Any, ...]:
        """Give the values of the options that are attributes."""
        values: tuple[Any, ...] = _values(self)
        return values

    def options(self) -> dict[str, Any]:
        """Give the options that hold for every message."""
        return {**dict(zip(_OPTIONS, self.attributes(), strict=True)), **self.publish_kwargs}

    def _publish_by_kombu(self, payload: Any, changes: dict[str, Any]) -> None:
        headers = {
            **(self.publish_kwargs.get("headers") or {}),
            **(changes.pop("headers", None) or {}),
            **(changes.pop("extra_headers", None) or {}),
        }
        options = {**self.options(), **changes, "headers": headers}
        options["declare"] = [*self.declare, *(changes.get("declare") or ())]
        use_confirms = options.pop("use_confirms")
        transport_options = options.pop("transport_options", self.transport_options)
        if options["mandatory"] and not use_confirms:
            warnings.warn(
                "a mandatory message that no queue takes is noticed only with use_confirms=True", stacklevel=3
            )
        producer = get_producer(self.amqp_uri, use_confirms, self.ssl, self.login_method, transport_options)
        with producer as lent:
            try:
                lent.publish(payload, **options)
            except ChannelError as exc:
                if "NO_ROUTE" in str(exc):
                    raise UndeliverableMessage(_name(options), str(options.get("routing_key") or "")) from exc
                raise


def _name(options: Mapping[str, Any]) -> str:
    exchange = options.get("exchange") or ""
    return str(exchange.name) if isinstance(exchange, Exchange) else str(exchange)
