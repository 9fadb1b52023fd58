"""A server to attack, in a process of its own, and what talks to it byte by byte."""

import re
import select
import socket
from dataclasses import dataclass
from time import monotonic

from command_process import Running

LIMIT = 15.0
HEADER_LIMIT, BODY_LIMIT = 4096, 1000
HEADER_TIMEOUT, BODY_TIMEOUT = 2.5, 1.0
MOST_CONNECTIONS = 60


@dataclass(frozen=True)
class Answers:
    """What the server sent on one connection, and whether it ended the connection."""

    data: bytes
    is_closed: bool

    @property
    def statuses(self) -> list[int]:
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.data)]

    def whole(self) -> list[tuple[bytes, bytes]]:
        """Give the header and the body of each answer, told apart by their lengths as a client does."""
        found, rest = [], self.data
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = re.search(rb"\r\nContent-Length: (\d+)(?:\r\n|\Z)", head)
            assert length is not None, f"a header without a length: {head!r}"
            end = int(length[1])
            found.append((head, rest[:end]))
            rest = rest[end:]
        return found

    def frames(self) -> list[tuple[int, bytes]]:
        """Give the first byte and the payload of each frame of a websocket that has been opened."""
        found, rest = [], self.data.partition(b"\r\n\r\n")[2]
        while rest:
            assert rest[1] < 126, "a frame that is longer than any that these tests await"
            end = 2 + rest[1]
            found.append((rest[0], rest[2:end]))
            rest = rest[end:]
        return found

    def body(self) -> bytes:
        """Give what follows the last header."""
        return self.data.rpartition(b"\r\n\r\n")[2]

    def fields(self) -> list[bytes]:
        """Give the lines of the first header."""
        return self.data.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]


class Target:
    """A running server."""

    def __init__(self, running: Running, address: tuple[str, int]) -> None:
        self.running = running
        self.address = address

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, LIMIT)

    def send(self, *pieces: bytes, end: bool = False) -> Answers:
        """Send bytes, piece by piece, and give all that comes back until the server closes."""
        with self.connect() as sock:
            for piece in pieces:
                sock.sendall(piece)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return self.read(sock)

    def read(self, sock: socket.socket) -> Answers:
        """Read until the server closes."""
        parts, deadline = [], monotonic() + LIMIT
        try:
            while part := sock.recv(65536):
                parts.append(part)
                assert monotonic() < deadline, "the server goes on for ever"
        except ConnectionResetError:
            pass
        except TimeoutError:
            return Answers(b"".join(parts), False)
        return Answers(b"".join(parts), True)

    def get(self, path: str, *fields: str) -> Answers:
        """Ask on a connection of its own."""
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *fields]
        return self.send("\r\n".join([*lines, "", ""]).encode())

    def drip(self, begin: bytes, drop: bytes) -> Answers:
        """Send ``begin`` and then ``drop`` again and again, until the server has had enough."""
        with self.connect() as sock:
            sock.sendall(begin)
            deadline = monotonic() + LIMIT
            while not select.select([sock], [], [], 0.05)[0]:
                assert monotonic() < deadline, "the server lets the client drip"
                sock.sendall(drop)
            return self.read(sock)

    def is_well(self) -> bool:
        """Whether others are served, and nothing that was smuggled in has reached a method."""
        return self.get("/ok").body() == b"ok" and self.get("/count").body() == b"0"
