"""The backdoor: Python consoles within a process that serves, for who connects to its port."""

import logging
import os
import socket
import sys
from code import InteractiveConsole
from collections.abc import Mapping
from types import CodeType, TracebackType
from typing import Any, NoReturn, Self

import eventlet
import eventlet.greenio
import eventlet.hubs
from eventlet.backdoor import SocketConsole

from rpcservice.web.listening import listen

_log = logging.getLogger(__name__)

HOW_TO_LEAVE = "this would end the service, not the backdoor; Ctrl-D leaves the backdoor"


class Leave:
    """Stands where ``quit`` and ``exit`` are expected, and ends nothing."""

    def __call__(self, code: object = None) -> NoReturn:
        """Say how to leave.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(HOW_TO_LEAVE)

    def __repr__(self) -> str:
        return HOW_TO_LEAVE


class _Stream:
    """Standard input and output of a console.

    It has a file for each direction, for Python's text files forget what they have read ahead when they are written to.
    It is no terminal: pagers and the like would ask for that of the process.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.encoding = "utf-8"
        self.readline = connection.makefile("r", encoding="utf-8", errors="replace").readline
        self._writer = connection.makefile("w", encoding="utf-8", errors="replace")
        self.flush = self._writer.flush

    def write(self, text: str) -> int:
        """Send some text at once: the client sees what is printed, while it is."""
        count = self._writer.write(text)
        self._writer.flush()
        return count

    def isatty(self) -> bool:
        """Say no."""
        return False


class _Interpreter(InteractiveConsole):
    """An interpreter that outlives ``sys.exit()``: what ends here would end the process."""

    def runcode(self, code: CodeType) -> None:
        try:
            super().runcode(code)
        except SystemExit:
            self.write(f"{HOW_TO_LEAVE}\n")


class Console(SocketConsole):  # type: ignore[misc]  # eventlet has no types
    """One client's console, a greenlet that reads and prints on its connection whenever it runs.

    Args:
        connection: The client's socket; closed at the end.
        client: Its address.
        names: What the console knows by name.
    """

    def __init__(self, connection: socket.socket, client: tuple[Any, ...], names: Mapping[str, object]) -> None:
        self._connection = connection
        super().__init__(None, client, dict(names))
        self.desc = _Stream(connection)
        # At its end the hub goes on. By default that is the greenlet that began it, wherever it waits by then.
        self.parent = eventlet.hubs.get_hub().greenlet

    @property
    def _banner(self) -> str:
        names = ", ".join(name for name in self.locals if name not in ("quit", "exit"))
        return f"Python {sys.version.split()[0]} within process {os.getpid()}; it knows: {names}. Ctrl-D leaves."

    def run(self) -> None:
        """Talk with the client until it leaves."""
        try:
            _Interpreter(self.locals).interact(self._banner, exitmsg="")
        except OSError as exc:
            _log.debug("lost the client of the backdoor: %s", exc)
        finally:
            self.finalize()

    def finalize(self) -> None:
        """Give the process its own streams back, and let go of the client."""
        self.switch_out()
        self.close()
        _log.info("a client of the backdoor has left: %s", self.hostport[0])

    def close(self) -> None:
        """Cut the client off."""
        try:
            # More than close(): the file of the console holds the connection too.
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            _log.debug("the client of the backdoor had gone: %s", exc)
        self._connection.close()


class BackdoorServer:
    """Gives a Python console to everybody who connects, as a context manager; stops with its block.

    Args:
        address: ``host:port`` to listen on; port 0 takes a free one.
        names: What the consoles know by name; each gets a copy.

    Raises:
        ConfigError: The address cannot be listened on.
    """

    def __init__(self, address: str, names: Mapping[str, object]) -> None:
        self._socket: Any = eventlet.greenio.GreenSocket(listen(address, "--backdoor-port"))
        host, _, _ = address.rpartition(":")
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._names = {**names, "quit": Leave(), "exit": Leave()}
        self._consoles: set[Console] = set()
        if not is_local(self._socket.getsockname()[0]):
            _log.warning(
                "the backdoor listens on %s: whoever reaches it may run any code in this process; "
                "give a port alone to listen on localhost",
                self.address,
            )

    def __enter__(self) -> Self:
        self._greenlet = eventlet.spawn(self._serve)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._greenlet.kill()
        self._socket.close()
        for console in self._consoles:
            if not console.dead:
                console.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, client = self._socket.accept()
            except OSError as exc:  # of one client, which left before it came in
                _log.warning("a client did not reach the backdoor: %s", exc)
                continue
            _log.info("a client of the backdoor has come: %s", client[0])
            console = Console(connection, client, self._names)
            self._consoles = {one for one in self._consoles if not one.dead} | {console}
            eventlet.hubs.get_hub().schedule_call_global(0, console.switch)


def is_local(host: str) -> bool:
    """Say whether an IP address is one that only this machine reaches."""
    return host == "::1" or host.startswith("127.")
