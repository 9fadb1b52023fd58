"""The wire format of requests, replies and events: pure functions; the same bytes as nameko's."""

from collections.abc import Mapping
from math import inf
from time import time
from typing import Any

from rpcservice.amqp.codec import Codec
from rpcservice.amqp.link import Properties
from rpcservice.errors import (
    DeadlineExceeded,
    IncorrectSignature,
    MalformedRequest,
    MessageTooLarge,
    UnserializableValueError,
)

APP_ID = "rpcservice"
"""Everything that this package originates carries it as ``app_id``."""
HEADER_PREFIX = "nameko."
OWN_PREFIX = "rpcservice-"
"""How the names of our own headers begin, which are no context data."""
ORIGIN_EXCHANGE, ORIGIN_KEY = f"{OWN_PREFIX}exchange", f"{OWN_PREFIX}routing-key"
"""Headers: where a message was published first, which its way through a wait queue hides."""
_NO_CONTEXT = (OWN_PREFIX, "x-death", "x-first-death-", "x-last-death-")
DEADLINE = f"{OWN_PREFIX}deadline"
"""The header of a request that says until when somebody waits for its reply, in milliseconds since 1970."""
PERSISTENT, TRANSIENT = 2, 1
_DELIVERY_MODES = {"persistent": PERSISTENT, "transient": TRANSIENT}
LONGEST_EXPIRATION = 315_360_000
"""Ten years, in seconds: RabbitMQ takes no more, and only whole milliseconds."""
LONGEST_WAIT = 2_000_000.0
"""Three weeks, in seconds: epoll, by which greenlets wait, takes no more than 31 bits of milliseconds."""
REPLY_QUEUE_EXPIRES = 300_000
"""Milliseconds for which the broker keeps a reply queue that nobody consumes from."""


def properties_for(
    codec: Codec, *, delivery_mode: int = PERSISTENT, priority: int = 0, expiration: float | None = None
) -> Properties:
    """Give the properties that all messages of one kind share.

    Args:
        codec: The serializer.
        delivery_mode: 1 for transient, 2 for persistent messages.
        priority: 0 to 255.
        expiration: Seconds after which a message that nobody took is dropped.

    Raises:
        ValueError: One of them is out of its range; the broker would close the channel because of it.
    """
    properties: Properties = {
        "content_type": codec.content_type,
        "content_encoding": codec.content_encoding,
        "delivery_mode": check_delivery_mode(delivery_mode),
        "priority": check_priority(priority),
        "app_id": APP_ID,
    }
    if expiration is not None:
        properties["expiration"] = expiration_text(expiration)
    return properties


def check_delivery_mode(mode: Any) -> int:
    """Give a delivery mode, by its number or by kombu's name, as its number."""
    number: Any = _DELIVERY_MODES.get(mode, mode) if isinstance(mode, str) else mode
    if isinstance(number, bool) or number not in (TRANSIENT, PERSISTENT):
        raise ValueError(f"delivery_mode is {mode!r}; give 1 (transient) or 2 (persistent)")
    return int(number)


def check_priority(priority: Any) -> int:
    """Give a priority back that fits into a message."""
    if not isinstance(priority, int) or not 0 <= priority <= 255:
        raise ValueError(f"priority is {priority!r}; give a whole number from 0 to 255")
    return priority


def check_timeout(timeout: Any, none_is: str) -> float | None:
    """Give seconds that can be waited for; None where the time is without end.

    Args:
        timeout: Seconds from 0 on, or None.
        none_is: What None stands for, for the message.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or NaN.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout={timeout!r}: give a number of seconds, or None {none_is}")
    if not timeout >= 0:
        raise ValueError(f"timeout={timeout!r}: give seconds from 0 on, or None {none_is}")
    return None if timeout == inf else min(timeout, LONGEST_WAIT)


def expiration_text(seconds: Any) -> str:
    """Give the text that an expiration in seconds is sent as."""
    if not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_EXPIRATION:
        raise ValueError(f"expiration is {seconds!r}; give seconds from 0 to {LONGEST_EXPIRATION}")
    return str(int(seconds * 1000))


def headers_from_context(context_data: Mapping[str, Any]) -> dict[str, Any]:
    """Give the headers in which context data travels; entries that are None stay behind.

    Raises:
        UnserializableValueError: A key is no text.
    """
    try:
        return {HEADER_PREFIX + key: value for key, value in context_data.items() if value is not None}
    except TypeError as exc:
        raise UnserializableValueError(context_data) from exc


def context_from_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Give the context data of a message: all headers less their prefix, but for the broker's and our own."""
    context = {}
    for header, value in headers.items():
        key = header.removeprefix(HEADER_PREFIX)
        if not key.startswith(_NO_CONTEXT):
            context[key] = value
    return context


def deadline_of(headers: Mapping[str, Any]) -> float | None:
    """Give until when somebody waits for the reply to a request, in seconds since 1970; None where nobody says.

    Read by its bare name and of requests alone: nameko sends what it does not know on with its own prefix, also in
    events that are handled much later.
    """
    milliseconds = headers.get(DEADLINE)
    return milliseconds / 1000 if type(milliseconds) is int else None


def time_left(deadline: float | None, timeout: float | None, skew: float) -> float | None:
    """Give the seconds that a call may take which is made on behalf of a request; None is without end.

    Args:
        deadline: That of the request, in seconds since 1970.
        timeout: Seconds that the call may take by itself.
        skew: Seconds by which the clocks of two hosts may differ.

    Raises:
        DeadlineExceeded: There is no time left.
    """
    if deadline is None:
        return timeout
    left = deadline + skew - time()
    if left <= 0:
        raise DeadlineExceeded(
            f"nothing was sent: whoever waits for the request that this call is for gave up {-left:.3g} s ago", -left
        )
    return left if timeout is None or left < timeout else timeout


def request_arguments(payload: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Take the arguments out of a decoded request.

    Raises:
        MalformedRequest: It is no mapping with ``args`` and ``kwargs``.
        IncorrectSignature: ``args`` is not iterable, or ``kwargs`` is no mapping.
    """
    if not isinstance(payload, Mapping):
        raise MalformedRequest(f"the body of a request is a mapping with `args` and `kwargs`, not {_kind(payload)}")
    try:
        args, kwargs = payload["args"], payload["kwargs"]
    except KeyError:
        raise MalformedRequest("Message missing `args` or `kwargs`") from None
    try:
        positional = tuple(args)
    except TypeError:
        raise IncorrectSignature(f"Value after * must be an iterable, not {_kind(args)}") from None
    if not isinstance(kwargs, Mapping):
        raise IncorrectSignature(f"Value after ** must be a mapping, not {_kind(kwargs)}")
    return positional, dict(kwargs)


def _kind(value: object) -> str:
    return type(value).__name__


def check_size(body: bytes, limit: int) -> bytes:
    """Give the body back when it is not too large.

    Raises:
        MessageTooLarge: It is.
    """
    if len(body) > limit:
        raise MessageTooLarge("body", len(body), limit, "send less at once, or raise max_message_size")
    return body
