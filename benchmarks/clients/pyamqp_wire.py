"""Connects py-amqp to the broker of a URI: for its own programs, and for the harness."""

from urllib.parse import unquote, urlsplit

import amqp


def connect(uri: str) -> amqp.Connection:
    """Open a connection.

    It does not ask to be told when the broker is short of memory: py-amqp would look for that before it publishes, in
    two more system calls for each message, and the floor is to be low.
    """
    parts = urlsplit(uri)
    connection = amqp.Connection(
        host=f"{parts.hostname}:{broker_port(uri)}",
        userid=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=unquote(parts.path[1:]) or "/",
    )
    connection.negotiate_capabilities = {**connection.negotiate_capabilities, "connection.blocked": False}
    connection.connect()
    return connection


def broker_port(uri: str) -> int:
    """Give the port of a broker's URI."""
    return urlsplit(uri).port or 5672
