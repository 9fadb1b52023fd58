"""FrameParser: cuts what an AMQP connection reads into frames; does no reading itself."""

from collections.abc import Callable, Sequence
from typing import Any

from rpcservice.amqp.frames import BODY, FRAME_END, FRAME_HEAD, FRAME_OVERHEAD, HEADER, METHOD
from rpcservice.amqp.properties import ULONGLONG

_DELIVER = b"\x00\x3c\x00\x3c"
_RETURN = b"\x00\x3c\x00\x32"
_GET_OK = b"\x00\x3c\x00\x47"
_ACK = b"\x00\x3c\x00\x50"
_NACK = b"\x00\x3c\x00\x78"
_CONFIRMS = (_ACK, _NACK)
_CONFIRM_SIZE = 21
"""Bytes of a frame of ``basic.ack`` or ``basic.nack``."""
_ALONE = b"\x00\xce"
"""The end of one that stands for a single message."""
_LEAST_HEADER = FRAME_OVERHEAD + 14
"""Bytes of a header frame whose message has no properties."""


class FrameError(Exception):
    """Raised when the bytes from the broker are no frames."""


ContentHandler = Callable[[bytes, bytes, bytes], None]
"""Called with the method's payload, the header's payload and the body."""
ConfirmHandler = Callable[[Sequence[int], bool, bool], None]
"""Called with the delivery tags, multiple, and whether it was an ack."""


class FrameParser:
    """Cuts a stream of bytes into frames and hands on the hot ones of known channels, complete with their content.

    Args:
        pass_on: Called with (type, channel, payload) of every other frame.
    """

    def __init__(self, pass_on: Callable[[int, int, bytes], None]) -> None:
        self._pass_on = pass_on
        self._rest = b""
        self._partial: dict[int, list[Any]] = {}
        self._deliver: dict[int, ContentHandler] = {}
        self._return: dict[int, ContentHandler] = {}
        self._got: dict[int, ContentHandler] = {}
        self._confirm: dict[int, ConfirmHandler] = {}

    def add_channel(
        self,
        channel: int,
        deliver: ContentHandler,
        returned: ContentHandler,
        got: ContentHandler,
        confirm: ConfirmHandler,
    ) -> None:
        """Take over the hot methods of a channel, and whatever has content."""
        self._deliver[channel] = deliver
        self._return[channel] = returned
        self._got[channel] = got
        self._confirm[channel] = confirm

    def remove_channel(self, channel: int) -> None:
        """Leave a channel alone again."""
        for table in (self._deliver, self._return, self._got, self._confirm, self._partial):
            table.pop(channel, None)

    def feed(self, data: bytes) -> None:
        """Take in what was read and handle every frame that is complete.

        Raises:
            FrameError: A frame does not end where it says.
        """
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        unpack_head = FRAME_HEAD.unpack_from
        while end - position >= FRAME_OVERHEAD:
            kind, channel, size = unpack_head(data, position)
            start = position + 7
            stop = start + size
            if stop >= end:
                break
            if data[stop] != FRAME_END:
                raise FrameError(f"frame of type {kind} on channel {channel} does not end after {size} bytes")
            if kind == METHOD:
                payload = data[start:stop]
                signature = payload[:4]
                if signature == _DELIVER and channel in self._deliver:
                    position = self._delivery(channel, payload, data, stop + 1)
                    continue
                if signature in _CONFIRMS and channel in self._confirm:
                    position = self._confirms(channel, payload, data, stop + 1)
                    continue
                self._method(channel, payload)
            elif (kind != BODY and kind != HEADER) or channel not in self._partial:
                self._pass_on(kind, channel, data[start:stop])
            else:
                self._content(kind, channel, data[start:stop])
            position = stop + 1
        self._rest = data[position:]

    def _delivery(self, channel: int, method: bytes, data: bytes, position: int) -> int:
        """Handle a delivery whose content follows in whole; else note that it follows. Gives the next position."""
        handler = self._deliver[channel]
        content = _small_content(channel, data, position)
        if content is None:
            self._partial[channel] = [handler, method]
            return position
        header, body, position = content
        handler(method, header, body)
        return position

    def _confirms(self, channel: int, payload: bytes, data: bytes, position: int) -> int:
        """Hand on a confirm, with those that follow it at once and are like it. Gives the next position.

        RabbitMQ sends a frame for each message, and many of them together.
        """
        tags = [ULONGLONG.unpack_from(payload, 4)[0]]
        multiple = payload[12] & 1 == 1
        if not multiple and len(payload) == _CONFIRM_SIZE - FRAME_OVERHEAD:
            alike = data[position - _CONFIRM_SIZE : position - 10]
            last = len(data) - _CONFIRM_SIZE
            while position <= last and data.startswith(alike, position):
                if data[position + 19 : position + 21] != _ALONE:
                    break
                tags.append(ULONGLONG.unpack_from(data, position + 11)[0])
                position += _CONFIRM_SIZE
        self._confirm[channel](tags, multiple, payload[:4] == _ACK)
        return position

    def _method(self, channel: int, payload: bytes) -> None:
        signature = payload[:4]
        if signature == _RETURN and channel in self._return:
            self._partial[channel] = [self._return[channel], payload]
        elif signature == _GET_OK and channel in self._got:
            self._partial[channel] = [self._got[channel], payload]
        else:
            self._pass_on(METHOD, channel, payload)

    def _content(self, kind: int, channel: int, payload: bytes) -> None:
        partial = self._partial[channel]
        if kind == HEADER:
            missing = ULONGLONG.unpack_from(payload, 4)[0]
            if not missing:
                del self._partial[channel]
                partial[0](partial[1], payload, b"")
                return
            partial += (payload, missing, [])
            return
        handler, method, header, missing, pieces = partial
        missing -= len(payload)
        if missing > 0:
            pieces.append(payload)
            partial[3] = missing
            return
        del self._partial[channel]
        handler(method, header, b"".join((*pieces, payload)) if pieces else payload)


def _small_content(channel: int, data: bytes, position: int) -> tuple[bytes, bytes, int] | None:
    """Give the header, the body and where they end, where they lie in the data in two whole frames; else None.

    Most messages come like this, and are not worth a record of what is missing of them.
    """
    end = len(data)
    if end - position < _LEAST_HEADER:
        return None
    kind, number, size = FRAME_HEAD.unpack_from(data, position)
    start = position + 7
    stop = start + size
    if kind != HEADER or number != channel or end - stop < FRAME_OVERHEAD or data[stop] != FRAME_END:
        return None
    length = ULONGLONG.unpack_from(data, start + 4)[0]
    kind, number, size = FRAME_HEAD.unpack_from(data, stop + 1)
    first = stop + 8
    last = first + size
    if kind != BODY or number != channel or size != length or last >= end or data[last] != FRAME_END:
        return None
    return data[start:stop], data[first:last], last + 1
