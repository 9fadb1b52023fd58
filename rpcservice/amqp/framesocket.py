"""The reader's and the writer's side of an AMQP socket: big reads, and one send for all that has gathered."""

import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from rpcservice.concurrency import Backend
from rpcservice.concurrency.thread import make_queue

_log = logging.getLogger(__name__)

READ_SIZE = 256 * 1024
EARLY = 24
"""So many frames are sent before the end of a turn, so that the broker works while the rest of them are made."""


def socket_settings(heartbeat: float) -> dict[int, int]:
    """Give the TCP options of a connection, for py-amqp, which breaks one that takes nothing for a second.

    A broker that reads nothing has to be waited for as long as one that says nothing.

    Args:
        heartbeat: Seconds from one heartbeat to the next; 0 leaves the time to the system.
    """
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    return {} if option is None else {option: int(2 * heartbeat * 1000)}


def _plain_socket(sock: Any, backend: Backend) -> Any:
    """Give the non-blocking socket below one of eventlet's, to be used from the hub; None for TLS and on threads."""
    is_usable = backend.name == "eventlet" and not isinstance(sock, ssl.SSLSocket)
    return getattr(sock, "fd", None) if is_usable else None


class SocketReader:
    """Reads from a socket, for one task.

    On greenlets the hub watches the socket all the time: two system calls and a failed read less for each packet
    than with a socket that is asked first and waited for then.
    """

    def __init__(self, sock: Any, backend: Backend) -> None:
        self._sock = sock
        self._plain = _plain_socket(sock, backend)
        self._watch = backend.watch(self._plain.fileno()) if self._plain is not None else None

    def recv(self) -> bytes:
        """Wait for bytes; gives none at the end of the stream."""
        if self._watch is None:
            data: bytes = self._sock.recv(READ_SIZE)
            return data
        # py-amqp closes the socket when the broker has said goodbye, and nothing would ever come of the wait.
        while self._plain.fileno() >= 0:
            self._watch.wait()
            try:
                read: bytes = self._plain.recv(READ_SIZE)
            except BlockingIOError:
                continue
            return read
        return b""

    def close(self) -> None:
        """Stop to watch; the socket can be read from in other ways again."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


class Writer(Protocol):
    """Sends what it is given, in that order.

    Attributes:
        count: Grows when something is sent.
    """

    count: int

    def write(self, data: bytes) -> object:
        """Leave bytes to be sent."""
        ...

    def leave(self, gather: Callable[[], object]) -> None:
        """Have a call made before the next send, which may write what has gathered until then."""
        ...

    def end(self) -> None:
        """Have the writer's task end when all has been sent."""
        ...


def make_writer(sock: Any, backend: Backend, on_failure: Callable[[Exception], None]) -> Writer:
    """Start the writer for a socket.

    Args:
        sock: The socket.
        backend: Where the writer runs.
        on_failure: Called with the error when the socket takes no more; must not wait.
    """
    return (ThreadWriter if backend.name == "threads" else SocketWriter)(sock, backend, on_failure)


class ThreadWriter:
    """Sends whatever has gathered by the time that its thread gets to it."""

    def __init__(self, sock: Any, backend: Backend, on_failure: Callable[[Exception], None]) -> None:
        self.count = 0
        self._given = make_queue()
        # Nothing around it: what a signal handler raises in a caller comes before it, or when it has been done.
        self.write: Callable[[bytes], object] = self._given.put
        self._sendall = sock.sendall
        self._on_failure = on_failure
        self._is_ended = False
        backend.spawn(self._run)

    def leave(self, gather: Callable[[], object]) -> None:
        """Make the call at once: on threads nobody knows when a turn ends."""
        gather()

    def _run(self) -> None:
        get, size = self._given.get, self._given.qsize
        try:
            while size() or not self._is_ended:
                data = get()
                if more := size():
                    data = b"".join([data, *(get() for _ in range(more))])
                if data:
                    self._sendall(data)
                    self.count += 1
        except (OSError, ValueError) as exc:
            self._on_failure(exc)

    def end(self) -> None:
        """Have the thread end when all has been sent."""
        self._is_ended = True
        self.write(b"")


class SocketWriter:
    """Sends, on greenlets, whatever has gathered by the time that the hub gets to it."""

    def __init__(self, sock: Any, backend: Backend, on_failure: Callable[[Exception], None]) -> None:
        self.count = 0
        self._pending: deque[bytes] = deque()
        self._gathering: deque[Callable[[], object]] = deque()
        self._sendall = sock.sendall
        self._plain = _plain_socket(sock, backend)
        self._backend = backend
        self._on_failure = on_failure
        self._is_due = False
        self._is_taken_over = False
        self._is_ended = False
        self._to_write = backend.event()
        backend.spawn(self._run)

    def write(self, data: bytes) -> None:
        """Leave bytes to be sent."""
        self.count += 1
        self._pending.append(data)
        if not self._is_due:
            self._ask_to_send()
        elif len(self._pending) >= EARLY and not self._is_taken_over:
            self._send_early()

    def leave(self, gather: Callable[[], object]) -> None:
        """Have a call made before the next send, which may write what has gathered until then."""
        self._gathering.append(gather)
        self._ask_to_send()

    def _ask_to_send(self) -> None:
        if self._plain is None:
            if not self._to_write.is_set():
                self._to_write.set()
        elif not self._is_due:
            # In this order: Ctrl-C may come in between, and a flush too many does no harm.
            self._backend.post_last(self._flush)
            self._is_due = True

    def _send_early(self) -> None:
        """Send what there is before the end of the turn."""
        try:
            self._send_some()
        except OSError as exc:
            # The greenlet meets it again, and tells of it; a caller must not.
            _log.debug("nothing was sent before the end of the turn: %s", exc)
            self._hand_over()
        except BaseException as exc:
            self._break_off(exc)
            raise

    def _flush(self) -> None:
        """Send from the hub, at the end of its turn."""
        if self._is_taken_over:
            return
        try:
            if self._gathering:
                self._gather()
            if self._send_some():
                self._is_due = False
        except OSError as exc:
            self._on_failure(exc)
        except BaseException as exc:
            self._break_off(exc)
            raise

    def _send_some(self) -> bool:
        """Send what the socket takes at once, and leave the rest to the greenlet. Gives whether that was all.

        Nobody asks a full socket again: each time, all that waits for it would have to be put together.
        """
        data = b"".join(self._pending)
        self._pending.clear()
        try:
            sent: int = self._plain.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._pending.appendleft(data)
            raise
        if sent < len(data):
            self._pending.appendleft(data[sent:])
            self._hand_over()
        return sent == len(data)

    def _hand_over(self) -> None:
        self._is_taken_over = True
        self._to_write.set()

    def _gather(self) -> None:
        while self._gathering:
            self._gathering.popleft()()

    def _run(self) -> None:
        pending = self._pending
        try:
            while not self._is_ended:
                self._to_write.wait()
                self._to_write.clear()
                while pending or self._gathering:
                    self._gather()
                    batch = []
                    while pending:
                        batch.append(pending.popleft())
                    self._sendall(b"".join(batch))
                self._is_due = self._is_taken_over = False
        except (OSError, ValueError) as exc:
            self._on_failure(exc)
        except (KeyboardInterrupt, SystemExit) as exc:
            self._break_off(exc)
            raise

    def _break_off(self, error: BaseException) -> None:
        """Give the connection up after Ctrl-C.

        Nobody knows what was sent, and a frame that is missing, cut, or sent twice has the broker's confirms be taken
        for those of other messages.
        """
        self._on_failure(InterruptedError(f"{type(error).__name__} came while something was sent"))

    def end(self) -> None:
        """Have the writer's task end."""
        self._is_ended = True
        self._to_write.set()
