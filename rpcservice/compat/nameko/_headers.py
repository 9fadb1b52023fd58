"""Context data in message headers, as nameko's extensions pack and unpack it."""

from collections.abc import Mapping
from typing import Any

from rpcservice.amqp.message import context_from_headers
from rpcservice.compat.nameko.constants import HEADER_PREFIX


def encode_to_headers(context_data: Mapping[str, Any], prefix: str = HEADER_PREFIX) -> dict[str, Any]:
    """Give the headers in which context data travels; entries that are None stay behind."""
    return {f"{prefix}.{key}": value for key, value in context_data.items() if value is not None}


def decode_from_headers(headers: Mapping[str, Any], prefix: str = HEADER_PREFIX) -> dict[str, Any]:
    """Give the context data of a message: all headers less their prefix, but for the broker's and our own."""
    if prefix == HEADER_PREFIX:
        return context_from_headers(headers)
    return {key.removeprefix(f"{prefix}."): value for key, value in headers.items()}


class HeaderEncoder:
    """Packs context data; of nameko 2."""

    header_prefix = HEADER_PREFIX

    def get_message_headers(self, worker_ctx: Any) -> dict[str, Any]:
        """Give the headers for what a worker sends."""
        return encode_to_headers(worker_ctx.context_data, self.header_prefix)


class HeaderDecoder:
    """Unpacks context data; of nameko 2."""

    header_prefix = HEADER_PREFIX

    def unpack_message_headers(self, message: Any) -> dict[str, Any]:
        """Give the context data of a message."""
        return decode_from_headers(message.headers, self.header_prefix)
