"""One connection of an HTTP client: requests are read from it one after the other, and answered in that order."""

import logging
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from time import monotonic, time
from typing import Any, Protocol

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from rpcservice.config import Settings
from rpcservice.web.answer import Answer, Parts, answer_from_error
from rpcservice.web.parser import ChunkedBody, Head, find_head_end, parse_head
from rpcservice.web.request import WebRequest
from rpcservice.web.stream import Stream

_log = logging.getLogger(__name__)
_access_log = logging.getLogger("rpcservice.web.access")

NEVER = float("inf")
_LINGER = 2.0
FAREWELL = 0.5
"""Seconds in which a client that is about to go on may learn from an answer that its connection ends."""
RESTED = 1.0
"""Seconds of idleness after which a client is not about to go on."""
_PIECE = 64 * 1024

Responder = Callable[[WebRequest], Answer]


class ClientGone(Exception):
    """Raised when the client does not take its answer any more; no OSError, for a streaming method may raise that."""


class Site(Protocol):
    """What a connection needs of the server."""

    config: Settings

    def find(self, head: Head, connection: "Connection") -> tuple[Responder, dict[str, Any]]:
        """Give who answers a request, and what the URL says; raises HTTPException where nobody does."""
        ...

    def became_idle(self, connection: "Connection") -> None:
        """Note that the connection waits for its client's next request."""
        ...

    def became_busy(self, connection: "Connection") -> None:
        """Note that a request has begun to come."""
        ...


class Connection:
    """Reads requests and sends answers until either side ends the connection.

    The server looks at ``deadline`` from time to time and calls :meth:`expire` when it has passed: one look at
    all connections costs less than a timer for each read, and a client that drips bytes does not pass it.

    Args:
        stream: The socket.
        site: The server.
        is_spare: Whether it came when all slots were taken, so that only the state of health is answered.
    """

    def __init__(self, stream: Stream, site: Site, *, is_spare: bool = False) -> None:
        self.stream = stream
        self.deadline = monotonic() + site.config.http_header_timeout
        self.idle_since = monotonic()
        self.is_spare = is_spare
        self.is_idle = True
        self.is_answering = False
        self.is_closing = is_spare
        self._is_expired = False
        self._is_kept = False
        self._is_answered = False
        self._closes_next = False
        self._unsent: list[memoryview] = []
        self._site = site
        self._config = site.config
        self._buffer = bytearray()
        self._head: Head | None = None

    def run(self) -> None:
        """Serve the connection to its end."""
        try:
            while self._serve_request() and self._rest():
                continue
        except OSError as exc:
            _log.debug("the client %s went away: %s", self.stream.peer, exc)
        except Exception:
            _log.exception("the connection of %s broke down", self.stream.peer)
        finally:
            self.stream.close()

    def expire(self) -> None:
        """End the wait that has passed its deadline; the greenlet that waits finds out why."""
        self.deadline = NEVER
        self._is_expired = True
        if self.is_answering:
            self.stream.abort()
        else:
            self.stream.interrupt()

    def finish(self) -> None:
        """End the connection with the answer that is under way, or to the request that is.

        Where there is none, it ends at once, or after a moment when the client is about to send one: a client that
        sends it while the connection is being closed cannot know whether it was carried out.
        """
        if self._is_answered and not self.is_closing:
            # This answer has not said that it is the last one; the next one will.
            self._closes_next = True
            return
        self.is_closing = True
        if self.is_idle and monotonic() - self.idle_since >= RESTED:
            self.expire()
        elif self.is_idle:
            self._part()

    def _part(self) -> None:
        """Wait for a last request, for a moment."""
        self.deadline = min(self.deadline, monotonic() + FAREWELL)

    @property
    def awaits_request(self) -> bool:
        """Whether a request may still come, or is being read, when the connection has been told to finish."""
        if self.is_idle or (self._closes_next and not self.is_closing):
            return True
        return self.deadline != NEVER and not self.is_answering

    def _rest(self) -> bool:
        """Get ready for the next request; False when the server has stopped meanwhile."""
        self.stream.give_turn()
        self._head = None
        self._is_answered = False
        self._is_kept = True
        self._skip_empty_lines()
        if not self._buffer:
            self.is_idle = True
            self.idle_since = monotonic()
            self.deadline = self.idle_since + self._config.http_keep_alive
            self._site.became_idle(self)
        goes_on = not self.is_closing
        if self._closes_next:
            self.is_closing = True
            self._part()
        return goes_on

    def _recv(self) -> bytes:
        """Read on; gives nothing at the client's end of the connection."""
        data = self.stream.recv()
        if self._is_expired:
            raise RequestTimeout("The request did not come in time.")
        return data

    def _serve_request(self) -> bool:
        """Read one request and answer it; False when it was the last one."""
        try:
            head = self._head = self._read_head()
        except HTTPException as exc:
            return self._refuse(exc)
        if head is None:
            return False
        try:
            respond, path_values = self._site.find(head, self)
            body = self._read_body(head) if head.content_length != 0 else b""
        except HTTPException as exc:
            return self._refuse(exc)
        self.deadline = NEVER
        stream = self.stream
        request = WebRequest(head, path_values, body, peer=stream.peer, local=stream.local, exchange=self)
        self.send(respond(request))
        return not self.is_closing

    def _refuse(self, error: HTTPException) -> bool:
        """Answer a request that no method gets; True when the connection can go on."""
        head = self._head
        # Where the next request begins is only known when this one was understood and has no body.
        is_understood = head is not None and head.content_length == 0
        self.is_closing = self.is_closing or not is_understood
        self.send(answer_from_error(error, accept=head.headers.get("accept", "") if head is not None else ""))
        if not is_understood:
            self._linger()
        return not self.is_closing

    def _read_head(self) -> Head | None:
        buffer, limit, searched = self._buffer, self._config.http_max_header_size, 0
        if self.is_idle:
            data = self.stream.recv()
            if self._is_expired:
                # It came in the last moment, and is the last one.
                data, self.is_closing = data or self.stream.take(), True
            if not data:
                return None
            buffer += data
            self.is_idle = False
            self._site.became_busy(self)
        if self._is_kept or self._is_expired:
            self._is_expired = False
            self.deadline = monotonic() + self._config.http_header_timeout
        while True:
            self._skip_empty_lines()
            end = find_head_end(buffer, searched, limit)
            if end >= 0:
                head = parse_head(bytes(buffer[:end]))
                del buffer[: end + 4]
                return head
            searched = len(buffer)
            data = self._recv()
            if not data:
                return None
            buffer += data

    def _skip_empty_lines(self) -> None:
        # Some clients end a body with a line end that its length does not count (RFC 9112 section 2.2).
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]

    def _read_body(self, head: Head) -> bytes:
        """Read the whole body before a worker is spent on it: a slow client holds a connection, not a worker."""
        limit = self._config.http_max_body_size
        length = head.content_length
        if length is not None and length > limit:
            raise RequestEntityTooLarge(f"The body has more than {limit} bytes.")
        self.deadline = monotonic() + self._config.http_body_timeout
        if head.expects_continue and not self._buffer:
            self.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        buffer = self._buffer
        if length is None:
            chunked = ChunkedBody(limit, self._config.http_max_header_size)
            while not chunked.feed(buffer):
                buffer += self._recv_more()
            return bytes(chunked.body)
        while len(buffer) < length:
            buffer += self._recv_more()
        body = bytes(buffer[:length])
        del buffer[:length]
        return body

    def _recv_more(self) -> bytes:
        data = self._recv()
        if not data:
            raise ConnectionResetError("the request ended in the middle of its body")
        return data

    def send(self, answer: Answer) -> None:
        """Answer the request at hand, or send the rest of what :meth:`begin` began; waits while the client is slow.

        A client that went away is no error.
        """
        try:
            if not self._is_answered and answer.parts is not None:
                self._open(answer)
                self._send_parts(answer, answer.parts)
            self.begin(answer)
            while self._unsent:
                data = self._unsent.pop(0)
                for start in range(0, len(data), _PIECE):
                    self._send_piece(data[start : start + _PIECE])
        except ClientGone as exc:
            self._lose(exc)

    def begin(self, answer: Answer) -> None:
        """Send what of a whole answer can be sent without waiting, unless an answer has begun to go out already."""
        if self._is_answered:
            return
        self._open(answer)
        body = answer.body
        head = self._render_head(answer, f"Content-Length: {len(body)}\r\n" if answer.has_body else "")
        if not body or self._is_bodyless(answer):
            body = b""
        parts = [memoryview(head + body)] if len(body) <= _PIECE else [memoryview(head), memoryview(body)]
        try:
            while parts:
                sent = self.stream.try_send(parts[0])
                if sent < len(parts[0]):
                    parts[0] = parts[0][sent:]
                    break
                del parts[0]
        except OSError as exc:
            self._lose(exc)
        else:
            self._unsent = parts

    def _open(self, answer: Answer) -> None:
        self._is_answered = True
        if self._head is None or not self._head.keep_alive or not self._config.http_keep_alive:
            self.is_closing = True
        if _access_log.isEnabledFor(logging.INFO):
            self._note_access(answer)

    def _lose(self, error: Exception) -> None:
        self.is_closing = True
        self._unsent = []
        _log.debug("the client %s did not wait for its answer: %s", self.stream.peer, error)

    def _is_bodyless(self, answer: Answer) -> bool:
        return not answer.has_body or (self._head is not None and self._head.method == "HEAD")

    def _send_parts(self, answer: Answer, parts: Parts) -> None:
        is_chunked = answer.has_body and self._head is not None and self._head.is_http_11
        self.is_closing = self.is_closing or (answer.has_body and not is_chunked)
        try:
            self._send_piece(self._render_head(answer, "Transfer-Encoding: chunked\r\n" if is_chunked else ""))
            if self._is_bodyless(answer):
                return
            for part in parts:
                if part:
                    self._send_piece(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
            if is_chunked:
                self._send_piece(b"0\r\n\r\n")
        except BaseException:
            # The client must not take what it has for the whole: the last chunk is missing.
            self.is_closing = True
            raise
        finally:
            parts.close()

    def _send_piece(self, data: bytes | memoryview) -> None:
        self.is_answering = True
        self.deadline = monotonic() + self._config.http_body_timeout
        try:
            self.stream.send(data)
        except OSError as exc:
            raise ClientGone(str(exc)) from exc
        finally:
            self.is_answering = False
        self.deadline = NEVER

    def _render_head(self, answer: Answer, framing: str) -> bytes:
        head = self._head
        request_id = answer.call_id or (None if head is None else head.request_id)
        if request_id:
            framing = f"{framing}X-Request-ID: {request_id}\r\n"
        if self.is_closing:
            framing = f"{framing}Connection: close\r\n"
        elif head is not None and not head.is_http_11:
            framing = f"{framing}Connection: keep-alive\r\n"
        return b"%bDate: %b\r\n%b\r\n" % (answer.head(), _date(int(time())), framing.encode("latin-1"))

    def reject(self, answer: Answer) -> None:
        """Answer as far as that needs no waiting, and end the connection; for a worker that is killed."""
        self.is_closing = True
        self.begin(answer)

    def switch_protocols(self, answer: Answer) -> tuple[Stream, bytes]:
        """Answer the request at hand with 101, and give the socket and what has come on it since to another protocol.

        Call it within the responder; the connection ends when that gives its answer, which nobody gets.

        Raises:
            OSError: The client is gone.
        """
        self._open(answer)
        self.is_closing = True
        self.stream.send(b"%bDate: %b\r\n\r\n" % (answer.head(), _date(int(time()))))
        rest, self._buffer = bytes(self._buffer), bytearray()
        return self.stream, rest

    def _linger(self) -> None:
        """Let the client read the answer: closed with bytes unread, the connection would be reset under it."""
        self.stream.end_writing()
        self._is_expired = False
        self.deadline = monotonic() + _LINGER
        while self.stream.recv() and not self._is_expired:
            continue

    def _note_access(self, answer: Answer) -> None:
        head = self._head
        request_line = f"{head.method} {head.raw_path}" if head is not None else "-"
        _access_log.info('%s "%s" %d %s', self.stream.peer[0], request_line, answer.status, answer.call_id or "-")


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
