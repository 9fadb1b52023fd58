"""A TLS socket for two threads, of which one reads and the other writes."""

import select
import ssl
from typing import Any

from rpcservice.concurrency import Backend


class SharedTlsSocket:
    """Lets one thread read while another writes.

    OpenSSL allows one at a time in a connection, and one that waited inside for the peer would keep the other out. So
    neither does: who has nothing to do yet waits for the socket outside.
    """

    def __init__(self, sock: ssl.SSLSocket, backend: Backend) -> None:
        self._sock = sock
        self._lock = backend.lock()
        self._timeout: float | None = None
        sock.settimeout(0)

    def recv(self, size: int) -> bytes:
        """Wait for bytes; gives none at the end of the stream."""
        while True:
            with self._lock:
                try:
                    return self._sock.recv(size)
                except ssl.SSLWantReadError:
                    events = select.POLLIN
                except ssl.SSLWantWriteError:
                    events = select.POLLOUT
            self._wait(events)

    def sendall(self, data: bytes) -> None:
        """Send all of it, waiting where the socket takes no more."""
        left = memoryview(data)
        while left:
            with self._lock:
                try:
                    left = left[self._sock.send(left) :]
                    continue
                except ssl.SSLWantWriteError:
                    events = select.POLLOUT
                except ssl.SSLWantReadError:
                    events = select.POLLIN
            self._wait(events)

    def _wait(self, events: int) -> None:
        poll = select.poll()
        poll.register(self._sock.fileno(), events)
        if not poll.poll(None if self._timeout is None else self._timeout * 1000):
            raise TimeoutError(f"the socket was not ready within {self._timeout:g} s")

    def settimeout(self, seconds: float | None) -> None:
        """Have each wait for the socket end after so many seconds; None is without end."""
        self._timeout = seconds

    def shutdown(self, how: int) -> None:
        """Wake who waits for the socket; no more comes from it."""
        with self._lock:
            self._sock.shutdown(how)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._sock.close()

    def detach(self) -> int:
        """Give the file descriptor away."""
        return self._sock.detach()


def shared(sock: Any, backend: Backend) -> Any:
    """Give a socket that may be read and written at the same time by this backend's tasks."""
    # In a patched process the class of that name is eventlet's, whose sockets wait outside of OpenSSL already.
    is_plain_tls = type(sock) is ssl.SSLSocket and ssl.SSLSocket.__module__ == "ssl"
    return SharedTlsSocket(sock, backend) if is_plain_tls and backend.name == "threads" else sock
