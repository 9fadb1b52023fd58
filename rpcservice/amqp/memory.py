"""``memory://``, the embedded broker: a Link without a socket, for one process.

``memory://host/vhost``: the host tells brokers apart, the path virtual hosts, as with AMQP. Event-driven: what is
published wakes its consumer, nothing polls. Links on greenlets and on threads may share a broker. Messages live as
long as the process.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

from rpcservice.amqp.link import LinkChannel
from rpcservice.amqp.memory_broker import broker_at
from rpcservice.amqp.memory_channel import MemoryChannel
from rpcservice.amqp.memory_consumer import Outbox
from rpcservice.concurrency import Backend, Timer
from rpcservice.errors import ConnectionLost

BATCH = 100
"""So many callbacks run in a row before others get their turn."""
CLOSE_TIMEOUT = 2.0
"""Seconds that closing waits for callbacks that are still to be called."""

_log = logging.getLogger(__name__)


class MemoryLink:
    """A connection to the embedded broker.

    Args:
        uri: ``memory://`` for the broker that the process shares, ``memory://name/`` for one of one's own.
        backend: Where callbacks run.
        options: What other links take (TLS, heartbeat, ...), for which there is no use here.
    """

    def __init__(self, uri: str, backend: Backend, **options: Any) -> None:
        parts = urlsplit(uri)
        self.uri = uri
        self.backend = backend
        self.on_lost: Callable[[Exception], None] | None = None
        self.on_blocked: Callable[[str | None], None] | None = None
        self.failure: ConnectionLost | None = ConnectionLost(f"not connected to {uri}; call connect() first")
        self.has_quorum_queues = False
        self.is_threaded = backend.name == "threads"
        self.broker = broker_at(parts.netloc.rpartition("@")[2])
        with self.broker.lock:
            self.vhost = self.broker.vhost(unquote(parts.path[1:]) or "/")
        self._channels: dict[MemoryChannel, None] = {}
        self._is_closing = False
        self._ended = False
        self._is_deaf = False
        self._alarm_at: float | None = None
        self._timer: Timer | None = None
        if self.is_threaded:
            self._work = backend.event()
            self.outbox = Outbox(self._work.set)
        else:
            self.outbox = Outbox(self._wake)

    def connect(self) -> None:
        """Connect; it always works."""
        with self.broker.lock:
            if self.failure is None:
                return
            self.failure = None
            self._is_closing = self._ended = self._is_deaf = False
            self.broker.add_link(self)
        if self.is_threaded:
            self.backend.spawn(self._serve)

    def channel(self, *, confirms: bool = False) -> LinkChannel:
        """Open a channel; ``confirms`` has the broker confirm each message published on it."""
        with self.broker.lock:
            if self.failure is not None:
                raise self.failure
            channel = MemoryChannel(self, confirms=confirms)
            self._channels[channel] = None
            return channel

    def close(self) -> None:
        """Disconnect, when what waits to be told has been told; unacknowledged messages go back."""
        if self.failure is not None:
            return
        self._is_closing = True
        self.lose(ConnectionLost("the connection was closed by this process"))
        self.wait_until_told()

    def lose(self, failure: ConnectionLost) -> None:
        """End because of a failure, once: everybody who waits learns of it."""
        with self.broker.lock:
            self.end(failure)

    # Called with the broker's lock held

    def end(self, failure: ConnectionLost) -> None:
        """See :meth:`lose`."""
        if self.failure is not None:
            return
        self.failure = failure
        for channel in list(self._channels):
            channel.shut(failure)
        self.broker.remove_link(self)
        self.outbox.add(self._tell_lost, failure)

    def let_go(self) -> None:
        """Do nothing: there is no socket."""

    def forget(self, channel: MemoryChannel) -> None:
        """Have nothing more to do with a channel that is closed."""
        self._channels.pop(channel, None)

    def set_alarm(self, deadline: float) -> None:
        """Have :meth:`MemoryBroker.on_alarm` called then, instead of at any time wished for before."""
        self._alarm_at = deadline
        if self.is_threaded:
            # To start a thread means to wait for it, and nobody waits while holding the lock.
            self._work.set()
        else:
            self.backend.post(self._start_timer)

    def _start_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._alarm_at is not None:
            self._timer = self.backend.call_later(max(self._alarm_at - monotonic(), 0), self.broker.on_alarm)

    # Callbacks

    def _tell_lost(self, failure: ConnectionLost) -> None:
        self._ended = True
        self._alarm_at = None
        if self._timer is not None:
            self._timer.cancel()
        if self.on_lost is not None and not self._is_closing:
            self.on_lost(failure)

    def wait_until_told(self) -> None:
        """Wait until all callbacks that wait now have run."""
        told = self.backend.event()
        with self.broker.lock:
            if self._is_deaf:
                return
            self.outbox.add(lambda _: told.set(), None)
        told.wait(CLOSE_TIMEOUT)

    def _wake(self) -> None:
        self.backend.post(self._take_turn)

    def _take_turn(self) -> None:
        if self._run_batch():
            self._wake()

    def _serve(self) -> None:
        """Be the thread of this link: run callbacks, and be the broker's clock when it is asked to."""
        while not self._ended:
            alarm_at = self._alarm_at
            self._work.wait(None if alarm_at is None else max(alarm_at - monotonic(), 0))
            self._work.clear()
            while self._run_batch():
                continue
            if self._alarm_at is not None and self._alarm_at <= monotonic():
                self._alarm_at = None
                self.broker.on_alarm()
        with self.broker.lock:
            self._is_deaf = True
        while self._run_batch():
            continue

    def _run_batch(self) -> bool:
        """Run callbacks in their order, a bounded number; False when none is left."""
        lock, outbox = self.broker.lock, self.outbox
        for _ in range(BATCH):
            with lock:
                if outbox.stuck and len(outbox.items) < BATCH:
                    outbox.refill()
                if not outbox.items:
                    outbox.is_awake = False
                    return False
                function, argument, stored = outbox.items.popleft()
            try:
                function(argument)
            except Exception:
                what = "a callback failed" if stored is None else "a message could not be taken in"
                _log.critical("%s; a message that was to be acknowledged stays unacknowledged", what, exc_info=True)
        return True
