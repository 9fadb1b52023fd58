"""WebSocket, one client's websocket: reads requests, has them handled one after another, sends what it is given."""

import logging
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol

from werkzeug import Request

from rpcservice.concurrency import Backend, Timer
from rpcservice.config import Settings
from rpcservice.web.stream import Stream
from rpcservice.web.websocket_protocol import (
    ABNORMAL,
    GOING_AWAY,
    TRY_LATER,
    Broken,
    Closed,
    Message,
    Reply,
    Text,
    Wire,
)

_log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 5.0
"""Seconds that a client has to answer a close, or to read what is left for it, before its connection is broken."""
_MOST_WAITING = 64


class Site(Protocol):
    """What a websocket needs of the server."""

    config: Settings
    backend: Backend

    def handle(self, socket: "WebSocket", text: str) -> None:
        """Carry out a request and answer it; may wait."""
        ...

    def has_parted(self, socket: "WebSocket") -> None:
        """Note that a socket's connection has ended; a call of it may still run."""
        ...


class WebSocket:
    """A client, from before its handshake is answered until it is gone.

    Its connection's greenlet reads. Requests are handled by another, which exists while there are any, so that
    pings are answered meanwhile. Whoever sends writes what can be written without waiting; a greenlet that exists
    while the client is slow writes the rest.

    Attributes:
        socket_id: What hubs and service methods know it by.
        request: The request that opened it.
        context_data: What each of its calls starts with; the next one finds what a call has added.
        close_code: Why it was closed; 0 while it is open.
    """

    def __init__(self, socket_id: str, request: Request, context_data: dict[str, Any], site: Site, wire: Wire) -> None:
        self.socket_id = socket_id
        self.request = request
        self.context_data = context_data
        self.close_code = 0
        self._site = site
        self._config = site.config
        self._backend = site.backend
        self._wire = wire
        self._stream: Stream | None = None
        self._inbox: deque[Text] = deque()
        self._waiting_size = 0
        self._outbox: deque[bytes] = deque()
        self._unsent = 0
        self._is_handling = self._is_writing = self._is_paused = False
        self._is_finishing = self._is_over = self._is_broken = self._is_pinged = False
        self._last_heard = monotonic()
        self._changed = site.backend.event()
        self._close_timer: Timer | None = None

    @property
    def is_open(self) -> bool:
        """Whether the client gets what is sent from now on."""
        return not self.close_code

    @property
    def awaits_call(self) -> bool:
        """Whether the client is gone and only a call that it made is still running."""
        return self._stream is None and self._is_handling

    def run(self, stream: Stream, rest: bytes) -> None:
        """Serve the client to its end; what was sent before goes out first.

        Args:
            stream: The socket, whose handshake has been answered.
            rest: What has come on it since.
        """
        self._stream = stream
        if not self.is_open:
            self._limit_close()
        self._last_heard = monotonic()
        try:
            self._flush()
            self._take(rest)
            while not (self._is_over or self._is_broken) and (data := stream.recv()):
                self._take(data)
            if self._is_broken:
                self._linger(stream)
        except OSError as exc:
            _log.debug("websocket %s went away: %s", self.socket_id, exc)
        finally:
            self._end()

    def _take(self, data: bytes) -> None:
        self._last_heard = monotonic()
        self._is_pinged = False
        for incoming in self._wire.feed(data):
            if isinstance(incoming, Text):
                self._enqueue(incoming)
            elif isinstance(incoming, Reply):
                self._offer(incoming.frame)
            elif isinstance(incoming, Closed):
                self._is_over = True
                self.close(incoming.code)
            elif isinstance(incoming, Broken):
                self._is_broken = True
                _log.info("websocket %s is closed with code %d: %s", self.socket_id, incoming.code, incoming.reason)
                self.close(incoming.code, incoming.reason)

    def _enqueue(self, message: Text) -> None:
        """Have a request handled; nothing more is read from a client that sends faster than that."""
        self._is_paused = True
        self._wait_until(lambda: not self.is_open or self._has_room_for(message))
        self._is_paused = False
        if not self.is_open or self._is_finishing:
            return
        self._inbox.append(message)
        self._waiting_size += message.size
        if not self._is_handling:
            self._is_handling = True
            self._backend.start(self._handle_all)

    def _has_room_for(self, message: Text) -> bool:
        size = self._waiting_size + message.size
        return not self._inbox or (len(self._inbox) < _MOST_WAITING and size <= self._config.websocket_max_message_size)

    def _handle_all(self) -> None:
        try:
            while self._inbox and self.is_open and not self._is_finishing:
                message = self._inbox.popleft()
                self._waiting_size -= message.size
                self._changed.set()
                self._handle(message.text)
                # A client that asks faster than it reads the answers is slowed down, not closed.
                self._wait_until(lambda: not self.is_open or self._unsent <= self._config.websocket_send_buffer)
        finally:
            self._is_handling = False
            if self._is_finishing:
                self.close(GOING_AWAY)
            self._changed.set()

    def _handle(self, text: str) -> None:
        try:
            self._site.handle(self, text)
        except Exception:
            # The requests behind it must not wait for ever.
            _log.exception("websocket %s: a request could not be answered", self.socket_id)

    def _wait_until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            self._changed.wait()

    def send(self, message: Message) -> bool:
        """Send an event; never waits. False when the client will not get it.

        A client for which too much waits already is closed instead.
        """
        return self.is_open and self._offer(message.frame(deflates=self._wire.deflates))

    def answer(self, message: Message) -> None:
        """Send what a client has asked for; never waits, and is without effect on one that is gone."""
        if self.is_open:
            self._push(message.frame(deflates=self._wire.deflates))

    def _offer(self, frame: bytes) -> bool:
        if self._unsent and self._unsent + len(frame) > self._config.websocket_send_buffer:
            _log.warning("websocket %s is closed: it does not read what it is sent", self.socket_id)
            self.drop(TRY_LATER, "too slow")
            return False
        self._push(frame)
        return True

    def _push(self, frame: bytes) -> None:
        self._outbox.append(frame)
        self._unsent += len(frame)
        if self._stream is not None and not self._is_writing:
            self._flush()

    def _flush(self) -> None:
        """Write what can be written without waiting, and have the rest written when the client takes it."""
        assert self._stream is not None
        try:
            while self._outbox:
                frame = self._outbox.popleft()
                sent = self._stream.try_send(frame)
                self._unsent -= sent
                if sent < len(frame):
                    self._is_writing = True
                    self._backend.start(self._write, memoryview(frame)[sent:])
                    return
        except OSError as exc:
            self.lose(f"{exc}")

    def _write(self, rest: bytes | memoryview) -> None:
        assert self._stream is not None
        try:
            while True:
                self._stream.send(rest)
                self._unsent -= len(rest)
                self._changed.set()
                if not self._outbox:
                    return
                rest = self._outbox.popleft()
        except OSError as exc:
            self.lose(f"{exc}")
        finally:
            self._is_writing = False
            self._changed.set()

    def check(self, now: float, interval: float) -> None:
        """Ping a client that has been silent for ``interval`` seconds, give up one for which it was twice that.

        Never waits.
        """
        if self._stream is None or not self.is_open:
            return
        if self._is_paused:
            self._last_heard = now
        silence = now - self._last_heard
        if silence >= 2 * interval:
            self.lose(f"nothing was heard of it for {silence:.3g} s")
        elif silence >= interval and not self._is_pinged:
            self._is_pinged = True
            self._push(self._wire.ping())

    def drop(self, code: int, reason: str = "") -> None:
        """Close, and do not send what waits to be sent."""
        self._unsent -= sum(map(len, self._outbox))
        self._outbox.clear()
        self.close(code, reason)

    def close(self, code: int, reason: str = "") -> None:
        """Close when everything has been sent; never waits. Without effect when it is being closed already."""
        if not self.is_open:
            return
        self.close_code = code
        self._inbox.clear()
        self._push(self._wire.close(code, reason))
        if self._stream is not None:
            self._limit_close()
        self._changed.set()

    def finish(self) -> None:
        """Close because the service stops, once the request that is being handled has been answered."""
        self._is_finishing = True
        if not self._is_handling:
            self.close(GOING_AWAY)

    def _limit_close(self) -> None:
        self._close_timer = self._backend.call_later(CLOSE_TIMEOUT, self.abort)

    def lose(self, why: str) -> None:
        """Have nothing more to do with a client that is gone."""
        _log.debug("websocket %s is lost: %s", self.socket_id, why)
        self.close_code = self.close_code or ABNORMAL
        self._outbox.clear()
        self.abort()
        self._changed.set()

    def abort(self) -> None:
        """Break the connection."""
        if self._stream is not None:
            self._stream.abort()

    def _linger(self, stream: Stream) -> None:
        """Let the client read why it is closed: with bytes of it unread, the connection would be reset."""
        self._wait_until(lambda: not self._is_writing)
        stream.end_writing()
        while stream.recv():
            continue

    def _end(self) -> None:
        """Part from the socket; wait for the request that is being handled, whose answer nobody gets."""
        if self._is_over:
            self._wait_until(lambda: not self._is_writing)
        self.close_code = self.close_code or ABNORMAL
        self._inbox.clear()
        self._changed.set()
        self.abort()
        self._wait_until(lambda: not self._is_writing)
        self._stream = None
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._site.has_parted(self)
        self._wait_until(lambda: not self._is_handling)
