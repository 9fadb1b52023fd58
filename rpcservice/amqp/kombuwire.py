"""KombuWire: one connection by way of kombu, without kombu's habit of connecting again by itself."""

import logging
import os
import socket
from typing import Any

from rpcservice.errors import ConnectionLost

_log = logging.getLogger(__name__)


class KombuWire:
    """A connection that is open from the start.

    Args:
        connection: The ``kombu.Connection`` that says where to and how; it is not connected itself.

    Raises:
        ConnectionLost: The broker cannot be reached, refuses the login or the virtual host.
    """

    def __init__(self, connection: Any) -> None:
        # The transport knows its connection only weakly, and asks it for host and login.
        self._connection = connection
        self._transport = connection.transport
        self.errors = (*connection.connection_errors, OSError)
        self.refusals = connection.channel_errors
        self.is_amqp = self._transport.driver_type == "amqp"
        try:
            self.raw = self._transport.establish_connection()
        except (*self.errors, *self.refusals) as exc:
            raise ConnectionLost(f"cannot connect to {connection.as_uri()}: {exc}") from exc
        # Asked for it later, py-amqp would connect again if it has lost it.
        self._sock = self.raw.transport.sock if self.is_amqp else None

    @property
    def heartbeat(self) -> float:
        """Seconds from one heartbeat to the next, as agreed with the broker; 0 for none."""
        return float(self._transport.get_heartbeat_interval(self.raw) or 0)

    def channel(self) -> Any:
        """Open a channel."""
        return self._transport.create_channel(self.raw)

    def drain(self, seconds: float) -> None:
        """Take in what the broker sends, at most for that long."""
        try:
            self._transport.drain_events(self.raw, timeout=seconds)
        except TimeoutError:
            return

    def check_heartbeat(self) -> None:
        """Send a heartbeat when one is due; raises when the broker's have stayed away."""
        self._transport.heartbeat_check(self.raw)

    def disconnect(self, politely: bool, patience: float) -> None:
        """Close the connection; a broker that has gone silent is waited for so many seconds."""
        if self._sock is not None:
            self._sock.settimeout(patience)
        if self.is_amqp and not politely:
            self.raw.collect()
        else:
            self._transport.close_connection(self.raw)

    def shut(self) -> None:
        """Wake whoever waits for the broker on this connection."""
        if self._sock is None:
            return
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            _log.debug("socket was shut already: %s", exc)

    def let_go(self) -> None:
        """Close the socket without a word, in a process that has it from its parent."""
        if self._sock is not None:
            # As in FrameLink: the descriptor alone, for py-amqp would say goodbye.
            os.close(self._sock.detach())
