"""ManagedChannel: a channel that comes back with its connection."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from rpcservice.amqp.link import Link, LinkChannel
from rpcservice.errors import BrokerError, ChannelClosed, ConnectionLost

if TYPE_CHECKING:
    from rpcservice.amqp.connection import AmqpConnection

_log = logging.getLogger(__name__)


class ManagedChannel:
    """A channel that is opened again whenever it or its connection is lost.

    Args:
        connection: Whose channel it is.
        name: For the log.
        on_open: Declares and consumes on a channel that has just been opened; may wait.
        on_ready: Called after that, when the channel is in use; must not wait.
        on_lost: Called once each time the channel is lost; must not wait.
        confirms: The broker is to confirm what is published on it.
    """

    def __init__(
        self,
        connection: "AmqpConnection",
        name: str,
        *,
        on_open: Callable[[LinkChannel], None],
        on_ready: Callable[[LinkChannel], None] | None = None,
        on_lost: Callable[[Exception], None] | None = None,
        confirms: bool = False,
    ) -> None:
        self.name = name
        self.current: LinkChannel | None = None
        self._connection = connection
        self._on_open = on_open
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._confirms = confirms
        self._ready = connection.backend.event()
        self._guard = connection.backend.guard()
        self._is_settling = False

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be opened: not while somebody still hears that the one before is lost."""
        return self.current is None and not self._is_settling

    def open(self, link: Link) -> None:
        """Open and set up; carried out by the connection."""
        channel = link.channel(confirms=self._confirms)
        channel.on_closed = lambda failure: self._lose(channel, failure)
        try:
            self._on_open(channel)
        except BaseException:
            # The next attempt opens another one.
            if channel.is_open:
                channel.close()
            raise
        with self._guard:
            self.current = channel
            self._ready.set()
        if not channel.is_open:
            # On threads it may have ended while it was nobody's.
            self._lose(channel, ConnectionLost(f"the channel for {self.name} was lost when it was set up"))
        elif self._on_ready is not None:
            self._on_ready(channel)

    def _lose(self, channel: LinkChannel, failure: Exception) -> None:
        with self._guard:
            if channel is not self.current:
                return
            self.current = None
            self._is_settling = True
            self._ready.clear()
            if self._connection.is_stopping:
                # It does not come back, and who has just begun to wait must not wait for that.
                self._ready.set()
        if isinstance(failure, ChannelClosed):
            _log.error("channel for %s: %s; it is opened again", self.name, failure)
        try:
            if self._on_lost is not None:
                self._on_lost(failure)
        finally:
            self._is_settling = False
            self._connection.call_attention()

    def reopen(self) -> None:
        """Close the channel, and have it opened and set up anew; does not wait."""
        channel = self.current
        if channel is not None:
            self._lose(channel, ConnectionLost(f"the channel for {self.name} is set up anew"))
            self._connection.backend.spawn(self._close, channel)

    def _close(self, channel: LinkChannel) -> None:
        try:
            channel.leave()
        except BrokerError as exc:
            _log.debug("the old channel for %s ended by itself: %s", self.name, exc)

    def wait(self, deadline: float | None) -> LinkChannel:
        """Give the channel, waiting for it until ``deadline`` on the monotonic clock (None: for ever).

        Raises:
            ConnectionLost: It did not come back in time; nothing was sent.
        """
        channel = self.current
        if channel is not None:
            return channel
        with self._connection.awaited():
            return self._await(deadline)

    def _await(self, deadline: float | None) -> LinkChannel:
        while (channel := self.current) is None:
            # Before the wait too: what is lost after the stop wakes nobody any more.
            if self._connection.is_stopping:
                raise ConnectionLost("nothing was sent: this process is stopping", maybe_executed=False)
            remaining = None if deadline is None else deadline - monotonic()
            if (remaining is not None and remaining <= 0) or not self._ready.wait(remaining):
                reason = self._connection.health() or "the connection is being set up again"
                raise ConnectionLost(f"nothing was sent: {reason}", maybe_executed=False)
        return channel

    def stop_waiting(self) -> None:
        """Wake who waits: it will not come back."""
        self._ready.set()
