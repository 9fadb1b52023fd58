"""PublishOptions: how messages are published. Made once from what is declared, changed where one call asks for more."""

import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from math import inf
from typing import Any, Self

from rpcservice.amqp.codec import Codec, Codecs, raw_codec
from rpcservice.amqp.compression import Compression, find_compression
from rpcservice.amqp.link import Message
from rpcservice.amqp.message import (
    APP_ID,
    LONGEST_WAIT,
    PERSISTENT,
    check_delivery_mode,
    check_priority,
    check_size,
    check_timeout,
    expiration_text,
    headers_from_context,
    properties_for,
)
from rpcservice.amqp.topology import Declarable, check_declarables, exchange_name
from rpcservice.amqp.waiting import check_delay
from rpcservice.core.context import new_id
from rpcservice.core.retry import Retry

_POLICY = frozenset(("interval_max", "interval_start", "interval_step", "max_retries"))

_log = logging.getLogger(__name__)


class Publication(Message):
    """A message on its way out, and how it is to be published."""

    __slots__ = ("options",)

    options: "PublishOptions"


def retry_limit(retry: Any, policy: Any) -> int | None:
    """Give how many times a message may be published again after a connection was lost; None is without bound.

    The pauses of a policy have no meaning here: the connection of the process comes back for all at once.

    Args:
        retry: False is never; of a Retry the number of attempts counts.
        policy: kombu's ``retry_policy``, a mapping with ``max_retries``; None is without bound.

    Raises:
        TypeError: They are something else.
        ValueError: ``max_retries`` is no such number.
    """
    if isinstance(retry, Retry):
        return retry.max_attempts - 1
    if not isinstance(retry, bool | None):
        raise TypeError(f"retry={retry!r}: give True, False or Retry(...)")
    if policy is not None and not (isinstance(policy, Mapping) and set(policy) <= _POLICY):
        raise TypeError(f"retry_policy={policy!r}: give a mapping with some of {', '.join(sorted(_POLICY))}")
    limit = (policy or {}).get("max_retries")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(f"retry_policy: max_retries is {limit!r}; give a whole number from 0 on, or None")
    return 0 if retry is False else limit


class PublishOptions:
    """The options of one kind of messages.

    Args:
        codecs: The serializers.
        given: Options by name.
        known: The names that are allowed, of :data:`OPTIONS`.
        owner: Whose options they are, for messages.

    Raises:
        TypeError: There is no such option, or its value is of another type.
        ValueError: A value is out of its range.
        ConfigError: There is no such serializer.
        MissingExtra: A serializer or a compression is not installed.

    Attributes:
        codec: The serializer.
        compression: How bodies are compressed; None leaves them as they are.
        declare: Exchanges and queues to be declared first.
        delay: Seconds that messages wait in the broker before they go to the exchange; None is not at all.
        exchange: The exchange's name.
        headers: Fixed headers; those of the context data win over them.
        mandatory: A message that no queue takes is an error.
        properties: AMQP properties that all messages share.
        retries: How many times a message may be published again; None is without bound.
        routing_key: By what the exchange routes.
        timeout: Seconds to wait for the broker; None is ``publish_timeout``.
        use_confirms: Wait until the broker has the message.
    """

    def __init__(self, codecs: Codecs, given: Mapping[str, Any], known: Iterable[str], owner: str) -> None:
        self._codecs = codecs
        self._known = known
        self._owner = owner
        self._limit = codecs.config.max_message_size
        self._serializer: str | None = None
        self._content_type: str | None = None
        self._content_encoding: str | None = None
        self._guesses_encoding = False
        self._plain_headers: Mapping[str, Any] = {}
        self._extra_headers: Mapping[str, Any] = {}
        self._retry: Any = True
        self._retry_policy: Any = None
        self.codec: Codec = codecs.default
        self.compression: Compression | None = None
        self.declare: tuple[Declarable, ...] = ()
        self.delay: float | None = None
        self.exchange = self.routing_key = ""
        self.headers: Mapping[str, Any] = {}
        self.mandatory = False
        self.properties = properties_for(self.codec)
        self.retries: int | None = None
        self.timeout: float | None = None
        self.use_confirms = True
        self._apply(given)

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """Give the same with changes, for one call: headers are added, and what is declared is what they add."""
        # copy() would cost more than the rest of it.
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.properties = dict(self.properties)
        new.declare = ()
        new._apply(changes)
        return new

    def _apply(self, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            if name not in self._known:
                raise TypeError(f"{name!r} is no option of {self._owner}; there are: {', '.join(sorted(self._known))}")
            check = _PROPERTIES.get(name)
            if check is None:
                _SETTERS[name](self, value)
            elif value is not None:
                self.properties[name] = check(value)
            elif name in _DEFAULTS:
                self.properties[name] = _DEFAULTS[name]
            else:
                self.properties.pop(name, None)
        if self.delay is not None and "expiration" in self.properties:
            raise TypeError(
                "delay and expiration: the broker forgets how long a message may live while it waits; give one"
            )

    def _set_serializer(self, name: str | None) -> None:
        self._serializer = name
        self._choose_codec()

    def _set_content_type(self, content_type: str | None) -> None:
        self._content_type = _optional_text(content_type)
        self._choose_codec()

    def _set_content_encoding(self, content_encoding: str | None) -> None:
        self._content_encoding = _optional_text(content_encoding)
        self._choose_codec()

    def _choose_codec(self) -> None:
        """Serialize, or with a content type of one's own take what is encoded already; as kombu does it."""
        content_type = self._content_type or ("application/data" if self._serializer == "raw" else None)
        if content_type is not None:
            self.codec = raw_codec(content_type, self._content_encoding or "utf-8")
        else:
            self.codec = self._codecs.named(self._serializer) if self._serializer else self._codecs.default
        self._guesses_encoding = content_type is not None and self._content_encoding is None
        self.properties["content_type"] = self.codec.content_type
        self.properties["content_encoding"] = self.codec.content_encoding

    def _set_compression(self, name: str | None) -> None:
        self.compression = None if name is None else find_compression(name)

    def _set_headers(self, headers: Mapping[str, Any] | None) -> None:
        self._plain_headers = {**self._plain_headers, **_headers(headers)}
        self.headers = {**self._plain_headers, **self._extra_headers}

    def _set_extra_headers(self, headers: Mapping[str, Any] | None) -> None:
        self._extra_headers = {**self._extra_headers, **_headers(headers)}
        self.headers = {**self._plain_headers, **self._extra_headers}

    def _set_declare(self, entities: Any) -> None:
        self.declare = check_declarables(entities)

    def _set_retry(self, retry: Any) -> None:
        self._retry = retry
        self.retries = retry_limit(retry, self._retry_policy)

    def _set_retry_policy(self, policy: Any) -> None:
        self._retry_policy = policy
        self.retries = retry_limit(self._retry, policy)

    def _set_exchange(self, exchange: Any) -> None:
        self.exchange = exchange_name(exchange)

    def _set_routing_key(self, routing_key: str | None) -> None:
        self.routing_key = _optional_text(routing_key) or ""

    def _set_mandatory(self, mandatory: bool | None) -> None:
        self.mandatory = bool(mandatory)

    def _set_use_confirms(self, use_confirms: bool | None) -> None:
        self.use_confirms = use_confirms is None or bool(use_confirms)

    def _set_timeout(self, timeout: float | None) -> None:
        # None is another time here, so that a time without end is a very long one.
        self.timeout = LONGEST_WAIT if timeout == inf else check_timeout(timeout, "for publish_timeout")

    def _set_delay(self, delay: float | None) -> None:
        self.delay = check_delay(delay)

    def _set_transport_options(self, options: Any) -> None:
        if options:
            _log.warning("transport_options of %s have no effect; set TRANSPORT_OPTIONS", self._owner)

    def message(self, exchange: str, routing_key: str, payload: Any, context_data: Mapping[str, Any]) -> Publication:
        """Make a message.

        Raises:
            UnserializableValueError: The payload cannot be encoded, or a key of the context data is no text.
            MessageTooLarge: The body is larger than ``max_message_size``, before it is compressed.
        """
        body = check_size(self.codec.encode(payload), self._limit)
        headers = headers_from_context(context_data)
        if self.headers:
            headers = {**self.headers, **headers}
        if self.compression is not None:
            body = self.compression.pack(body)
            headers["compression"] = self.compression.content_type
        properties = {"message_id": new_id(), **self.properties, "headers": headers}
        if self._guesses_encoding:
            properties["content_encoding"] = "utf-8" if isinstance(payload, str) else "binary"
        message = Publication(exchange, routing_key, body, properties, self.mandatory)
        message.options = self
        return message


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is a {type(value).__name__}; routing keys, ids, types and their like are texts")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _headers(headers: Any) -> Mapping[str, Any]:
    if headers is not None and not (isinstance(headers, Mapping) and all(isinstance(key, str) for key in headers)):
        raise TypeError(f"headers={headers!r}: give a mapping with texts for keys")
    return headers or {}


def _timestamp(value: Any) -> int:
    seconds = value.timestamp() if isinstance(value, datetime) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise TypeError(f"timestamp={value!r}: give a datetime, or seconds since 1970")
    return int(seconds)


_PROPERTIES: dict[str, Callable[[Any], Any]] = {
    "app_id": _text,
    "correlation_id": _text,
    "delivery_mode": check_delivery_mode,
    "expiration": expiration_text,
    "message_id": _text,
    "priority": check_priority,
    "reply_to": _text,
    "timestamp": _timestamp,
    "type": _text,
    "user_id": _text,
}
_DEFAULTS = {"app_id": APP_ID, "delivery_mode": PERSISTENT, "priority": 0}
_SETTERS: dict[str, Callable[[PublishOptions, Any], None]] = {
    "compression": PublishOptions._set_compression,
    "content_encoding": PublishOptions._set_content_encoding,
    "content_type": PublishOptions._set_content_type,
    "declare": PublishOptions._set_declare,
    "delay": PublishOptions._set_delay,
    "exchange": PublishOptions._set_exchange,
    "extra_headers": PublishOptions._set_extra_headers,
    "headers": PublishOptions._set_headers,
    "mandatory": PublishOptions._set_mandatory,
    "retry": PublishOptions._set_retry,
    "retry_policy": PublishOptions._set_retry_policy,
    "routing_key": PublishOptions._set_routing_key,
    "serializer": PublishOptions._set_serializer,
    "timeout": PublishOptions._set_timeout,
    "transport_options": PublishOptions._set_transport_options,
    "use_confirms": PublishOptions._set_use_confirms,
}

OPTIONS = frozenset((*_PROPERTIES, *_SETTERS))
"""The names of all options."""
CLASS_OPTIONS = (
    "compression",
    "delivery_mode",
    "expiration",
    "mandatory",
    "priority",
    "retry",
    "retry_policy",
    "serializer",
    "use_confirms",
)
"""Those that may be class attributes too."""
