"""Stream, what a connection needs of its client's socket, and GreenStream, which is that on greenlets."""

import errno
import socket as socket_types
from typing import Any, Protocol

from eventlet import hubs, sleep
from eventlet.patcher import original

from rpcservice.concurrency import Watch

# The constants of the unpatched module.
_socket: Any = original("socket")

_READ_SIZE = 64 * 1024
_LEAST = 4 * 1024
_TURN = 256 * 1024


class Stream(Protocol):
    """What a connection needs of its socket."""

    peer: tuple[Any, ...]
    local: tuple[Any, ...]

    def recv(self) -> bytes:
        """Wait for bytes; gives none when the client has ended its side, or :meth:`interrupt` was called."""
        ...

    def take(self) -> bytes:
        """Give what has come already, and none where nothing has."""
        ...

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it; waits while the client does not take it."""
        ...

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what can be sent without waiting; gives how much that was."""
        ...

    def give_turn(self) -> None:
        """Let others run if much has been sent since they did."""
        ...

    def interrupt(self) -> None:
        """Have the ``recv`` that waits, or the next one, give nothing."""
        ...

    def end_writing(self) -> None:
        """Tell the client that nothing follows."""
        ...

    def abort(self) -> None:
        """Have whoever waits for the client go on with an error."""
        ...

    def close(self) -> None:
        """Close the socket."""
        ...


class GreenStream:
    """A client's socket, for the one greenlet that reads from it and writes to it."""

    def __init__(self, sock: socket_types.socket, watch: Watch, peer: tuple[Any, ...], local: tuple[Any, ...]) -> None:
        self.peer = peer
        self.local = local
        self._sock = sock
        self._fileno = sock.fileno()
        self._watch = watch
        self._is_interrupted = False
        self._sent = 0

    def recv(self) -> bytes:
        """Wait for bytes; gives none at the end of the stream, or when interrupted."""
        while not self._is_interrupted:
            # The hub first, though bytes may be there: a client that is never waited for would starve all others.
            self._sent = 0
            self._watch.wait()
            try:
                return self._sock.recv(_READ_SIZE)
            except BlockingIOError:
                continue
        self._is_interrupted = False
        return b""

    def take(self) -> bytes:
        """Give what has come already, and none where nothing has."""
        try:
            return self._sock.recv(_READ_SIZE)
        except BlockingIOError:
            return b""

    def interrupt(self) -> None:
        """Have the ``recv`` that waits, or the next one, give nothing."""
        self._is_interrupted = True
        self._watch.wake()

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it; waits while the client does not take it."""
        self.give_turn()
        sent = self.try_send(data)
        while sent < len(data):
            hubs.trampoline(self._fileno, write=True)
            data = memoryview(data)[sent:]
            sent = self.try_send(data)

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what can be sent without waiting; gives how much that was."""
        self._sent += max(len(data), _LEAST)
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0

    def give_turn(self) -> None:
        """Let others run if much has been sent since they did: a client that is fast enough never lets this wait."""
        if self._sent > _TURN:
            self._sent = 0
            sleep(0)

    def end_writing(self) -> None:
        """Tell the client that nothing follows."""
        self._sock.shutdown(_socket.SHUT_WR)

    def abort(self) -> None:
        """Have whoever waits for the client go on with an error."""
        try:
            self._sock.shutdown(_socket.SHUT_RDWR)
        except OSError as exc:
            if exc.errno != errno.ENOTCONN:
                raise

    def close(self) -> None:
        """Close the socket; only for the greenlet that uses it, for another one may not wait for a closed one."""
        self._watch.close()
        self._sock.close()
