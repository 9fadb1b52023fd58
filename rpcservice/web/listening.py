"""Listening sockets. Nothing here needs eventlet: a supervisor makes them too."""

import errno
import socket as socket_types

from rpcservice.concurrency.native import native
from rpcservice.errors import ConfigError
from rpcservice.kinds import parse_address

_BACKLOG = 1024


def listen(address: str, key: str) -> socket_types.socket:
    """Give a socket that listens and never waits, in a process that eventlet has patched too.

    Args:
        address: As for :func:`~rpcservice.kinds.parse_address`.
        key: The key of the configuration, for messages.

    Raises:
        ConfigError: The address cannot be listened on.
    """
    host, port = parse_address(address)
    sockets = native("socket")
    try:
        family, kind, protocol, _, place = sockets.getaddrinfo(
            host or None, port, type=sockets.SOCK_STREAM, flags=sockets.AI_PASSIVE
        )[0]
        sock: socket_types.socket = sockets.socket(family, kind, protocol)
    except OSError as exc:
        raise ConfigError(f"{key} is {address!r}: {exc.strerror or exc}; give an address of this machine") from exc
    try:
        # Not SO_REUSEPORT: a second process on the port would silently take half of the requests.
        sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        sock.bind(place)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise ConfigError(f"{key} is {address!r}: {_why_not(exc)}") from exc
    return sock


def _why_not(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; stop what listens there, or give another port (0 takes a free one)"
    if error.errno == errno.EACCES:
        return "this user may not listen there; give a port from 1024 on"
    return f"{error.strerror or error}; give an address of this machine"
