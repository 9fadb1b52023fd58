"""TcpProxy, a network between a client and a server that can be made to fail."""

import os
import sys
import time
from collections import deque
from contextlib import suppress
from types import ModuleType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from rpcservice.testing.ports import free_ports

_CHUNK = 65536
_MOST_WAITING = 1 << 20
_POLL_PAUSE = 0.01


def _unpatched(name: str) -> ModuleType:
    """Give a standard module as it is without eventlet's patches, which would tie the proxy to the tests' hub."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("socket"):
        module: ModuleType = patcher.original(name)
        return module
    return __import__(name)


class _Side:
    """One socket of a connection, and what waits to be written to it: now, and from a time on."""

    __slots__ = ("late", "other", "socket", "waiting")

    def __init__(self, sock: Any) -> None:
        self.socket = sock
        self.other: _Side | None = None
        self.waiting = bytearray()
        self.late: deque[tuple[float, bytes]] = deque()

    def take(self, data: bytes, delay: float) -> None:
        """Take in what is to be written; nothing overtakes what came before."""
        if delay or self.late:
            self.late.append((time.monotonic() + delay, data))
        else:
            self.waiting += data

    def move_due(self, now: float) -> None:
        """Have what is due written."""
        while self.late and self.late[0][0] <= now:
            self.waiting += self.late.popleft()[1]

    @property
    def is_full(self) -> bool:
        """Whether so much waits that no more is to be read for it."""
        return len(self.waiting) + sum(len(data) for _, data in self.late) >= _MOST_WAITING


class TcpProxy:
    """Forwards TCP connections from a port of its own, in a thread of its own; usable as a context manager.

    It works the same in a process patched by eventlet and in one that is not.

    Args:
        target: Where to forward to: (host, port), or a URI whose host and port are meant.

    Attributes:
        port: The proxy's port on 127.0.0.1.
        target: Where it forwards to, as (host, port).
        uri: The target's URI with the proxy's host and port; for a pair, just ``tcp://host:port``.
        accepted: How many connections were accepted so far.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self.target = _address(target)
        self._modules = _unpatched("socket"), _unpatched("select"), _unpatched("threading")
        self.port = free_ports(1)[0]
        self.uri = self._through(target)
        self.accepted = 0
        self._sides: dict[int, _Side] = {}
        self._commands: list[tuple[str, tuple[Any, ...], Any]] = []
        self._forwarding = True
        self._delay = 0.0
        self._until_cut: int | None = None
        self._listener: Any = None
        self._wake_read, self._wake_write = os.pipe()
        self._poll = self._modules[1].poll()
        self._poll.register(self._wake_read, self._modules[1].POLLIN)
        self._listen()
        self._thread = self._modules[2].Thread(target=self._run, name=f"TcpProxy:{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # What tests do to it

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        return sum(1 for side in list(self._sides.values()) if side.other is not None) // 2

    def wait_for_connections(self, count: int, timeout: float = 10) -> None:
        """Wait until exactly that many connections are open.

        Raises:
            TimeoutError: It did not come to that in time.
        """
        deadline = time.monotonic() + timeout
        while self.connections != count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.connections} connections through the proxy after {timeout:g} s, not {count}")
            time.sleep(_POLL_PAUSE)

    def black_hole(self) -> None:
        """Keep every socket open, old and new, and forward nothing: what a pulled cable looks like."""
        self._command("black_hole")

    def resume(self) -> None:
        """Forward again, what was held back first, and listen again."""
        self._command("resume")

    def drop(self) -> None:
        """Close all connections, without a word of AMQP; new ones are welcome."""
        self._command("drop")

    def cut(self, after: int) -> None:
        """Close all connections when so many more bytes went through, in both directions together.

        With a number at which no frame happens to end, a frame is cut in two. New connections are welcome then.
        """
        self._command("cut", after)

    def delay(self, seconds: float) -> None:
        """Forward everything so much later, in each direction; 0 is at once again."""
        self._command("delay", seconds)

    def refuse(self) -> None:
        """Close all connections and the port, until :meth:`resume`: what a broker that is down looks like."""
        self._command("refuse")

    def close(self) -> None:
        """Close everything and end the thread."""
        if self._thread.is_alive():
            self._command("close")
            self._thread.join(10)
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _command(self, name: str, *args: Any) -> None:
        done = self._modules[2].Event()
        self._commands.append((name, args, done))
        os.write(self._wake_write, b"x")
        if not done.wait(10):
            raise TimeoutError(f"the proxy on port {self.port} did not {name} within 10 s")

    # The thread

    def _run(self) -> None:
        while True:
            for fileno, events in self._poll.poll(self._patience()):
                if fileno == self._wake_read:
                    os.read(self._wake_read, 64)
                    if self._obey():
                        return
                    # What else was ready may not be watched any more; what is, is still ready.
                    break
                if self._listener is not None and fileno == self._listener.fileno():
                    self._accept()
                elif fileno in self._sides:
                    self._serve(self._sides[fileno], events)
            self._write_due()

    def _patience(self) -> float | None:
        """Give the milliseconds until something is due that was delayed; None where nothing was."""
        if not self._forwarding:
            return None
        due = min((side.late[0][0] for side in self._sides.values() if side.late), default=None)
        return None if due is None else max(0, (due - time.monotonic()) * 1000 + 1)

    def _write_due(self) -> None:
        now = time.monotonic()
        for side in list(self._sides.values()) if self._forwarding else ():
            if side.late:
                side.move_due(now)
                self._watch(side)
                self._watch(side.other)

    def _obey(self) -> bool:
        """Carry out the commands that wait; True when the last one was to close."""
        name = ""
        while self._commands:
            name, args, done = self._commands.pop(0)
            getattr(self, f"_do_{name}")(*args)
            done.set()
        return name == "close"

    def _do_black_hole(self) -> None:
        self._forwarding = False
        for side in self._sides.values():
            self._poll.unregister(side.socket)

    def _do_resume(self) -> None:
        if self._listener is None:
            self._listen()
        if self._forwarding:
            return
        self._forwarding = True
        for side in list(self._sides.values()):
            self._poll.register(side.socket, 0)
            if side.other is None:
                self._connect(side)
        for side in list(self._sides.values()):
            self._watch(side)

    def _do_drop(self) -> None:
        for side in list(self._sides.values()):
            self._end(side)

    def _do_cut(self, after: int) -> None:
        self._until_cut = after

    def _do_delay(self, seconds: float) -> None:
        self._delay = seconds

    def _do_refuse(self) -> None:
        self._do_drop()
        if self._listener is not None:
            self._poll.unregister(self._listener)
            self._listener.close()
            self._listener = None

    _do_close = _do_refuse

    def _listen(self) -> None:
        socket, select, _ = self._modules
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._poll.register(self._listener, select.POLLIN)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # who knocked is gone again
        client.setblocking(False)
        self.accepted += 1
        side = self._sides[client.fileno()] = _Side(client)
        if self._forwarding:
            self._poll.register(client, 0)
            self._connect(side)

    def _connect(self, client: _Side) -> None:
        """Connect a client that was accepted to the target, or close it when the target is away."""
        try:
            server = _Side(self._modules[0].create_connection(self.target, 5))
        except OSError:
            self._end(client)
            return
        server.socket.setblocking(False)
        client.other, server.other = server, client
        self._sides[server.socket.fileno()] = server
        self._poll.register(server.socket, 0)
        self._watch(client)
        self._watch(server)

    def _watch(self, side: _Side | None) -> None:
        """Wait for what this side can do next; one that outruns its peer is not read until the peer has caught up."""
        if side is None or side.other is None:
            return
        select = self._modules[1]
        reads = 0 if side.other.is_full else select.POLLIN
        self._poll.modify(side.socket, reads | (select.POLLOUT if side.waiting else 0))

    def _serve(self, side: _Side, events: int) -> None:
        select = self._modules[1]
        try:
            if events & select.POLLOUT:
                self._write(side)
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                self._read(side)
        except OSError:
            self._end(side)
            return
        for one in (side, side.other):
            self._watch(one)

    def _read(self, side: _Side) -> None:
        try:
            data = side.socket.recv(_CHUNK)
        except BlockingIOError:
            return
        other = side.other
        if not data or other is None:
            self._flush(other)
            self._end(side)
            return
        left = self._until_cut
        other.take(data[:left], self._delay)
        self._write(other)
        if left is not None:
            self._until_cut = left - len(data)
            if self._until_cut <= 0:
                self._until_cut = None
                self._flush(other)
                self._do_drop()

    def _write(self, side: _Side) -> None:
        with suppress(BlockingIOError):  # the rest goes when the peer has read
            del side.waiting[: side.socket.send(side.waiting)]

    def _flush(self, side: _Side | None) -> None:
        """Hand over the last words of a peer that has closed."""
        if side is None:
            return
        side.move_due(float("inf"))
        if side.waiting:
            side.socket.settimeout(5)
            side.socket.sendall(side.waiting)

    def _end(self, side: _Side) -> None:
        for one in (side, side.other):
            if one is not None and self._sides.pop(one.socket.fileno(), None) is not None:
                if self._forwarding:
                    self._poll.unregister(one.socket)
                one.other = None
                one.socket.close()

    def _through(self, target: tuple[str, int] | str) -> str:
        here = f"127.0.0.1:{self.port}"
        if not isinstance(target, str):
            return f"tcp://{here}"
        parts = urlsplit(target)
        login, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{login}{at}{here}"))


def _address(target: tuple[str, int] | str) -> tuple[str, int]:
    if not isinstance(target, str):
        return target
    parts = urlsplit(target)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    return parts.hostname or "localhost", port
