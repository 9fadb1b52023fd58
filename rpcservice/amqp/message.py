"""The wire format of requests, replies and events: pure functions; the same bytes as nameko's."""

from collections.abc import Mapping
from typing import Any

from rpcservice.amqp.codec import Codec
from rpcservice.amqp.link import Properties
from rpcservice.errors import IncorrectSignature, MalformedRequest, MessageTooLarge

APP_ID = "rpcservice"
"""Everything that this package originates carries it as ``app_id``."""
HEADER_PREFIX = "nameko."
_NO_CONTEXT = ("rpcservice-", "x-death")
PERSISTENT, TRANSIENT = 2, 1
REPLY_QUEUE_EXPIRES = 300_000
"""Milliseconds for which the broker keeps a reply queue that nobody consumes from."""


def properties_for(codec: Codec, *, delivery_mode: int = PERSISTENT, priority: int = 0) -> Properties:
    """Give the properties that all messages of one kind share."""
    return {
        "content_type": codec.content_type,
        "content_encoding": codec.content_encoding,
        "delivery_mode": delivery_mode,
        "priority": priority,
        "app_id": APP_ID,
    }


def headers_from_context(context_data: Mapping[str, Any]) -> dict[str, Any]:
    """Give the headers in which context data travels; entries that are None stay behind."""
    return {HEADER_PREFIX + key: value for key, value in context_data.items() if value is not None}


def context_from_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Give the context data of a message: all headers less their prefix, but for the broker's and our own."""
    context = {}
    for header, value in headers.items():
        key = header.removeprefix(HEADER_PREFIX)
        if not key.startswith(_NO_CONTEXT):
            context[key] = value
    return context


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
