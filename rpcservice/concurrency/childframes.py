"""Messages between a process and the children that work for it: their length, then their bytes, through a pipe."""

import struct
from typing import Any

from rpcservice.concurrency.native import native

_LENGTH = struct.Struct("!Q")
_MOST = 1 << 20


def send_frame(fileno: int, data: bytes) -> None:
    """Write a message; for real threads, since it blocks."""
    os: Any = native("os")
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[os.write(fileno, view) :]


def receive_frame(fileno: int) -> bytes:
    """Read a message; for real threads, since it blocks.

    Raises:
        EOFError: The other side is gone.
    """
    (length,) = _LENGTH.unpack(_receive(fileno, _LENGTH.size))
    return _receive(fileno, length)


def _receive(fileno: int, length: int) -> bytes:
    os: Any = native("os")
    data = bytearray()
    while len(data) < length:
        part = os.read(fileno, min(length - len(data), _MOST))
        if not part:
            raise EOFError("the pipe has been closed")
        data += part
    return bytes(data)
