"""The embedded broker itself: brokers by host, their links, their clock.

Nothing here waits. What belongs to a broker is guarded by its lock, which links and channels take.
"""

import sys
import threading
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

from rpcservice.amqp.memory_queue import Queue
from rpcservice.amqp.memory_vhost import VirtualHost
from rpcservice.errors import ConnectionLost

if TYPE_CHECKING:
    from rpcservice.amqp.memory import MemoryLink

_brokers: dict[str, "MemoryBroker"] = {}
"""By host: whoever names the same host in this process meets the same broker."""


def broker_at(host: str) -> "MemoryBroker":
    """Give the embedded broker of that name; the first who asks makes it."""
    # setdefault: two threads that ask at once get the same one.
    return _brokers.get(host) or _brokers.setdefault(host, MemoryBroker(host))


def forget_broker(host: str) -> None:
    """Drop an embedded broker with all it holds; its connections are lost."""
    broker = _brokers.pop(host, None)
    if broker is not None:
        broker.close_connections("the embedded broker was dropped")


def _real_lock() -> Any:
    """Make a lock for operating system threads, which eventlet's patching has not replaced.

    Links of different hubs and threads share it; nobody switches greenlets while holding it.
    """
    # Not loaded, or half loaded by another thread: then nothing is patched yet.
    original = getattr(sys.modules.get("eventlet.patcher"), "original", None)
    module = threading if original is None else original("threading")
    return module.Lock()


class MemoryBroker:
    """One broker: its virtual hosts, its links and its clock."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.lock = _real_lock()
        self._vhosts: dict[str, VirtualHost] = {}
        self._links: dict[MemoryLink, None] = {}
        self._due: list[tuple[float, int, Queue]] = []
        self._tie = count()
        self._armed_at: float | None = None
        self._clock: MemoryLink | None = None

    def vhost(self, name: str) -> VirtualHost:
        """Give a virtual host; the first who asks makes it."""
        vhost = self._vhosts.get(name)
        if vhost is None:
            vhost = self._vhosts[name] = VirtualHost(self, name)
        return vhost

    def add_link(self, link: "MemoryLink") -> None:
        """Have a link as a connection."""
        self._links[link] = None
        # A thread's clock runs whatever a hub is doing.
        if self._clock is None or (link.is_threaded and not self._clock.is_threaded):
            self._clock = link
            self._set_alarm()

    def remove_link(self, link: "MemoryLink") -> None:
        """Forget a link; its exclusive queues go."""
        self._links.pop(link, None)
        for vhost in self._vhosts.values():
            for queue in [queue for queue in vhost.queues.values() if queue.owner is link]:
                vhost.drop_queue(queue, tell=False)
        if self._clock is link:
            self._clock = None
            self._set_alarm()

    def close_connections(self, reason: str) -> None:
        """Break every connection, as a broker that is stopped does."""
        for link in list(self._links):
            link.lose(ConnectionLost(f"the broker closed the connection: 320 CONNECTION_FORCED - {reason}"))

    # Time: one heap of queues, one timer in the backend of one of the links.

    def arm(self, queue: Queue, deadline: float) -> None:
        """Have ``queue.on_time`` called then; an earlier call asked for before stays."""
        if queue.timer_at is not None and queue.timer_at <= deadline:
            return
        queue.timer_at = deadline
        heappush(self._due, (deadline, next(self._tie), queue))
        if self._armed_at is None or deadline < self._armed_at:
            self._set_alarm()

    def _set_alarm(self) -> None:
        self._armed_at = None
        if not self._due or not self._links:
            return
        if self._clock is None:
            self._clock = next((link for link in self._links if link.is_threaded), next(iter(self._links)))
        self._armed_at = self._due[0][0]
        self._clock.set_alarm(self._armed_at)

    def on_alarm(self) -> None:
        """Do what is due."""
        with self.lock:
            now = monotonic()
            while self._due and self._due[0][0] <= now:
                deadline, _, queue = heappop(self._due)
                if queue.timer_at == deadline:
                    queue.timer_at = None
                    queue.on_time()
            self._set_alarm()
