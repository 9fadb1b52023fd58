"""RFC 6455 and RFC 7692 as bytes, over wsproto, which the extra ``websocket`` installs; does nothing by itself."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

WINDOW_BITS = 12
"""The window that is compressed with: whoever takes a larger one reads it as well."""
WORTH_COMPRESSING = 1024
NORMAL, GOING_AWAY, PROTOCOL_ERROR, NOT_ACCEPTABLE, ABNORMAL = 1000, 1001, 1002, 1003, 1006
TOO_BIG, FAILED, TRY_LATER = 1009, 1011, 1013


class BoundedDeflate(PerMessageDeflate):
    """permessage-deflate that keeps nothing from one message to the next, and never inflates past a limit.

    Args:
        limit: How many bytes a message may have.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(client_no_context_takeover=True, server_no_context_takeover=True)
        self._limit = limit

    def frame_inbound_payload_data(self, proto: Any, data: bytes) -> bytes | CloseReason:
        """Inflate a piece: a few bytes may stand for gigabytes."""
        if not self._inbound_compressed or not self._inbound_is_compressible:
            return data
        assert self._decompressor is not None
        try:
            inflated = self._decompressor.decompress(data, self._limit + 1)
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        return CloseReason.MESSAGE_TOO_BIG if len(inflated) > self._limit else inflated


def negotiate_deflate(offers: str, limit: int) -> tuple[BoundedDeflate, str] | None:
    """Give the extension and its header value for the first offer of compression that can be taken.

    Args:
        offers: The client's header Sec-WebSocket-Extensions.
        limit: How many bytes a message may have.
    """
    for offer in offers.split(","):
        if offer.partition(";")[0].strip() != BoundedDeflate.name:
            continue
        extension = BoundedDeflate(limit)
        try:
            accepted = extension.accept(offer)
        except ValueError:
            continue
        if isinstance(accepted, str) and extension.server_max_window_bits >= WINDOW_BITS:
            return extension, f"{extension.name}; {accepted}"
    return None


class Encoder:
    """Makes frames of messages; they are the same for every client, so that a broadcast is encoded once."""

    def __init__(self) -> None:
        self._plain = Connection(ConnectionType.SERVER)
        deflate = PerMessageDeflate(server_no_context_takeover=True, server_max_window_bits=WINDOW_BITS)
        deflate.finalize(PerMessageDeflate.name)
        self._deflating = Connection(ConnectionType.SERVER, [deflate])

    def encode(self, text: str) -> "Message":
        """Give a message that can be sent."""
        return Message(self, text)

    def frame(self, text: str, *, deflates: bool) -> bytes:
        """Give the frame of a text message."""
        connection = self._deflating if deflates and len(text) >= WORTH_COMPRESSING else self._plain
        return bytes(connection.send(TextMessage(data=text)))


class Message:
    """A text message, and the frames that have been made of it."""

    __slots__ = ("_deflated", "_encoder", "_plain", "text")

    def __init__(self, encoder: Encoder, text: str) -> None:
        self.text = text
        self._encoder = encoder
        self._plain: bytes | None = None
        self._deflated: bytes | None = None

    def frame(self, *, deflates: bool) -> bytes:
        """Give its frame for a client that takes compression, or for one that does not."""
        if not deflates:
            if self._plain is None:
                self._plain = self._encoder.frame(self.text, deflates=False)
            return self._plain
        if self._deflated is None:
            self._deflated = self._encoder.frame(self.text, deflates=True)
        return self._deflated


@dataclass(frozen=True)
class Text:
    """A whole text message came."""

    text: str
    size: int


@dataclass(frozen=True)
class Reply:
    """A ping came, which is to be answered with this frame."""

    frame: bytes


@dataclass(frozen=True)
class Closed:
    """The client closed, or said that it takes the close."""

    code: int


@dataclass(frozen=True)
class Broken:
    """What came cannot be accepted, and the websocket is to be closed with this code."""

    code: int
    reason: str


Incoming = Text | Reply | Closed | Broken


class Wire:
    """One client's side of the protocol: bytes that came become what they mean.

    Args:
        limit: How many bytes a message may have.
        deflate: The extension, when both sides compress.
    """

    def __init__(self, limit: int, deflate: BoundedDeflate | None = None) -> None:
        self.deflates = deflate is not None
        self._limit = limit
        self._connection = Connection(ConnectionType.SERVER, [deflate] if deflate is not None else [])
        self._parts: list[str] = []
        self._size = 0
        self._is_broken = False

    def feed(self, data: bytes) -> Iterator[Incoming]:
        """Take bytes in; gives what they mean. After Closed and Broken nothing more comes."""
        if self._is_broken or self._connection.state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            return
        self._connection.receive_data(data)
        for event in self._connection.events():
            incoming = self._read(event)
            if incoming is not None:
                yield incoming
            if isinstance(incoming, Broken):
                return

    def _read(self, event: Any) -> Incoming | None:
        if isinstance(event, TextMessage):
            return self._collect(event)
        if isinstance(event, Ping):
            return Reply(self.pong(event)) if self._connection.state is ConnectionState.OPEN else None
        if isinstance(event, CloseConnection):
            return self._read_close(event)
        if isinstance(event, BytesMessage):
            return self._break(NOT_ACCEPTABLE, "only text messages are taken here")
        return None

    def _collect(self, event: TextMessage) -> Incoming | None:
        text = event.data
        self._size += len(text) if text.isascii() else len(text.encode())
        if self._size > self._limit:
            return self._break(TOO_BIG, f"a message has more than {self._limit} bytes")
        if text:
            self._parts.append(text)
        if not event.message_finished:
            return None
        message = Text("".join(self._parts), self._size)
        self._parts, self._size = [], 0
        return message

    def _read_close(self, event: CloseConnection) -> Incoming:
        # Bytes that break the protocol are told as a close as well, but leave the state as it is.
        if self._connection.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            return self._break(int(event.code), event.reason or "the protocol was broken")
        return Closed(int(event.code))

    def _break(self, code: int, reason: str) -> Broken:
        self._is_broken = True
        self._parts = []
        return Broken(code, reason)

    def pong(self, ping: Ping) -> bytes:
        """Give the frame that answers a ping."""
        return bytes(self._connection.send(Pong(payload=bytes(ping.payload))))

    def ping(self) -> bytes:
        """Give the frame of a ping."""
        return bytes(self._connection.send(Ping()))

    def close(self, code: int, reason: str = "") -> bytes:
        """Give the frame that closes, or answers the client's close; nothing when it has been given before."""
        try:
            return bytes(self._connection.send(CloseConnection(code=code, reason=reason or None)))
        except LocalProtocolError:
            return b""
