"""Ports for servers that tests start, and a look at who listens there."""

import random
import socket


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Give different ports of this host that nobody listens on, outside the range for outgoing connections."""
    # In the outgoing range a client that retries a dead port may be given that very port as its own, and then
    # connects to itself; and a server may find its port taken when it comes back.
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        if port not in ports and _is_free(port, host):
            ports.append(port)
    return ports


def find_free_port(host: str = "127.0.0.1") -> int:
    """Give a port on which a server may listen at an address of this host."""
    return free_ports(1, host)[0]


def _is_free(port: int, host: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def speaks_amqp(port: int, timeout: float = 2) -> bool:
    """Say whether an AMQP 0-9-1 server greets on that port of this host."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as probe:
            probe.sendall(b"AMQP\x00\x00\x09\x01")
            # A method frame on channel 0: connection.start.
            return probe.recv(1) == b"\x01"
    except OSError:
        return False


def is_open(port: int, timeout: float = 2) -> bool:
    """Say whether somebody listens on that port of this host."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout).close()
    except OSError:
        return False
    return True
