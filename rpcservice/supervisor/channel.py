"""Channel, by which a supervisor and one of its workers talk: JSON lines, which may carry a descriptor."""

import json
import os
import socket as socket_types
from collections.abc import Mapping
from typing import Any

from rpcservice.concurrency.native import native

_AT_A_TIME = 65_536
_DESCRIPTORS = 16


class Channel:
    """One end of a pair of connected sockets.

    A worker says ``listen``, ``ready``, ``leaving`` and ``failed``; its supervisor ``listening``, ``lead``, ``stop``
    and ``kill``.

    Args:
        sock: The end; in a process that eventlet has patched one of the native kind.
    """

    def __init__(self, sock: socket_types.socket) -> None:
        self._sock = sock
        self._sockets = native("socket")
        self._rest = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """Give the descriptor, for who waits for something to receive."""
        return self._sock.fileno()

    def send(self, kind: str, value: Any = True, *, descriptor: int | None = None) -> None:
        """Send one message.

        Args:
            kind: Its first word.
            value: What JSON can hold.
            descriptor: An open file that the other process is to have too.

        Raises:
            OSError: The other end is gone.
        """
        line = json.dumps([kind, value, descriptor is not None]).encode() + b"\n"
        if descriptor is None:
            self._sock.sendall(line)
            return
        sent = self._sockets.send_fds(self._sock, [line], [descriptor])
        self._sock.sendall(line[sent:])

    def receive(self) -> list[tuple[str, Any, int | None]]:
        """Give kind, value and descriptor of the messages that have come.

        Raises:
            EOFError: The other end is gone.
            BlockingIOError: Nothing has come, and the socket does not wait.
        """
        try:
            data, descriptors, _, _ = self._sockets.recv_fds(self._sock, _AT_A_TIME, _DESCRIPTORS)
        except ConnectionError as exc:
            raise EOFError from exc
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors.extend(descriptors)
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [self._message(json.loads(line)) for line in lines]

    def _message(self, parts: Any) -> tuple[str, Any, int | None]:
        kind, value, has_descriptor = parts
        return kind, value, self._descriptors.pop(0) if has_descriptor else None

    def close(self) -> None:
        """Close this end, and what has come with it and was not taken."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._sock.close()


Failure = Mapping[str, Any]
"""What a worker says of its end: ``message``, ``code``, its exit code, and ``is_usage``, whether help may help."""
