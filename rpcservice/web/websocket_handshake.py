"""The opening of a websocket (RFC 6455 section 4): who may open one, and the answer that does."""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from werkzeug.exceptions import BadRequest, Forbidden, HTTPException

from rpcservice.web.answer import Answer
from rpcservice.web.parser import Head

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION = "13"
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class UpgradeRequired(HTTPException):
    """Answers a request that opens no websocket, or one of another version."""

    code = 426
    description = "Only websockets of version 13 are served here."

    def get_headers(self, *args: object, **kwargs: object) -> list[tuple[str, str]]:
        """Say what to ask for."""
        return [
            ("Content-Type", "text/html; charset=utf-8"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", _VERSION),
        ]


def check_handshake(head: Head) -> None:
    """See whether a request opens a websocket.

    Raises:
        HTTPException: It does not.
    """
    headers = head.headers
    if not (
        head.is_http_11
        and head.method == "GET"
        and "websocket" in _tokens(headers.get("upgrade", ""))
        and "upgrade" in _tokens(headers.get("connection", ""))
        and headers.get("sec-websocket-version", "").strip() == _VERSION
    ):
        raise UpgradeRequired
    try:
        key = base64.b64decode(headers.get("sec-websocket-key", ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise BadRequest("Sec-WebSocket-Key is not the base64 of 16 bytes.")


def _tokens(value: str) -> set[str]:
    return {token.strip().lower() for token in value.split(",")}


def check_origin(head: Head, allowed: Sequence[str]) -> None:
    """See whether the page that opens the websocket may: a browser sends its user's cookies along for any page.

    A client that names no origin is no browser. The page of this host itself always may.

    Args:
        head: The request.
        allowed: Other origins that may; ``*`` stands for any.

    Raises:
        HTTPException: It may not.
    """
    origin = head.headers.get("origin")
    if origin is None or "*" in allowed or origin.lower() in {one.lower().rstrip("/") for one in allowed}:
        return
    scheme, place = _place(origin)
    if not scheme or place is None or place != _place(f"{scheme}://{head.headers.get('host', '')}")[1]:
        raise Forbidden(f"Pages of {origin} may not open websockets here; websocket_origins allows others.")


def _place(url: str) -> tuple[str, tuple[str, int] | None]:
    """Give a URL's scheme, and its host with the port."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", None
    if not parts.hostname:
        return parts.scheme, None
    return parts.scheme, (parts.hostname, port or _DEFAULT_PORTS.get(parts.scheme, 0))


def accept(head: Head, extensions: str | None) -> Answer:
    """Give the answer that opens the websocket.

    Args:
        head: The request.
        extensions: What of its Sec-WebSocket-Extensions is taken.
    """
    digest = hashlib.sha1(head.headers["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest()
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
    ]
    if extensions is not None:
        fields.append(("Sec-WebSocket-Extensions", extensions))
    return Answer(101, fields)
