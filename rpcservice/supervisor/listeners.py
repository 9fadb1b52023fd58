"""Listeners, the listening sockets of all workers: bound once, and open as long as somebody uses them."""

import socket
from collections.abc import Collection

from rpcservice.supervisor.handover import listener_name
from rpcservice.web.listening import listen


class Listeners:
    """Listening sockets by what :func:`listener_name` gives."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def open(self, key: str, address: str) -> int:
        """Give the descriptor of the socket for an address, which is made when it is first asked for.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        name = listener_name(key, address)
        if name not in self._sockets:
            self._sockets[name] = listen(address, key)
        return self._sockets[name].fileno()

    def descriptors(self) -> dict[str, int]:
        """Give the descriptors of all, by name."""
        return {name: sock.fileno() for name, sock in self._sockets.items()}

    def keep(self, names: Collection[str]) -> None:
        """Close all but these; a worker that still has one open goes on with it."""
        for name in set(self._sockets) - set(names):
            self._sockets.pop(name).close()
