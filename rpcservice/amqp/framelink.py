"""FrameLink: a Link on an AMQP socket, with one reader and one writer.

kombu connects (URL, TLS, SASL, tuning). Then one reader takes the socket: deliveries, returns and confirms of our
channels are decoded by :mod:`frames`, every other frame goes to py-amqp, which keeps the topology methods. Nothing
else ever reads, so declare, qos and consume may be called from any greenlet or thread.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import amqp
import kombu
from amqp.method_framing import frame_writer

from rpcservice.amqp import frames
from rpcservice.amqp.framechannel import FrameChannel
from rpcservice.amqp.frameparser import FrameParser
from rpcservice.amqp.framesocket import READ_SIZE, SocketReader, Writer, make_writer, socket_settings
from rpcservice.amqp.link import LinkChannel, has_quorum_queues
from rpcservice.amqp.tls import check_login_method, tls_options
from rpcservice.amqp.tlssocket import shared
from rpcservice.concurrency import Backend
from rpcservice.config import hide_password
from rpcservice.errors import ChannelClosed, ConnectionLost

LONGEST_TURN = 0.01
"""Seconds after which the reader lets others run, however much there is to read."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a polite goodbye may take."""

_CONNECTION_CLOSE = b"\x00\x0a\x00\x32"
_CONNECTION_CLOSE_OK = b"\x00\x0a\x00\x33"
_CHANNEL_CLASS = b"\x00\x14"
_CHANNEL_CLOSE = b"\x00\x14\x00\x28"
_BASIC_CANCEL = b"\x00\x3c\x00\x1e"
_BLOCKED = b"\x00\x0a\x00\x3c"
_UNBLOCKED = b"\x00\x0a\x00\x3d"

_log = logging.getLogger(__name__)


class _ClosedByBroker(Exception):
    """Raised in the reader when the broker closes the connection; carries its code and its reason."""

    def __str__(self) -> str:
        return "{} {}".format(*self.args)


class FrameLink:
    """A connection to an AMQP 0-9-1 broker.

    Args:
        uri: The broker, such as ``amqp://guest:guest@localhost:5672//``.
        backend: Where the reader and the writer run.
        ssl: As ``AMQP_SSL``.
        login_method: SASL mechanism; None is PLAIN.
        heartbeat: Seconds from one heartbeat to the next; 0 turns them off.
        connect_timeout: Seconds that connecting may take.
    """

    def __init__(
        self,
        uri: str,
        backend: Backend,
        *,
        ssl: bool | Mapping[str, Any] | None = None,
        login_method: str | None = None,
        heartbeat: float = 60,
        connect_timeout: float = 10,
    ) -> None:
        self.uri = uri
        self.backend = backend
        self.on_lost: Callable[[Exception], None] | None = None
        self.on_blocked: Callable[[str | None], None] | None = None
        self.failure: ConnectionLost | None = None
        self._ssl = ssl
        self._login_method = login_method
        self._heartbeat = heartbeat
        self._connect_timeout = connect_timeout
        self._channels: dict[int, FrameChannel] = {}
        self._parser = FrameParser(self.pass_on)
        self._ended = backend.event()
        self._is_closing = False
        self._guard = backend.guard()
        self._sync_lock = backend.lock()
        self._awaited: FrameChannel | None = None
        self._is_calling = False
        self._held: deque[bytes] = deque()
        self._turn = backend.event()
        self._turns = self._turns_seen = 0
        self._bytes_in = 0
        self.writer: Writer | None = None
        self.write: Callable[[bytes], object] = self._refuse
        """Leaves bytes for the writer."""
        self.has_quorum_queues = False
        self._amqp: Any = None
        self._sock: Any = None

    def connect(self) -> None:
        """Connect and log in; gives control back when channels can be opened.

        Raises:
            ConnectionLost: The broker cannot be reached, refuses the login or the virtual host.
            ConfigError: There is no such login method, or the TLS options are wrong.
        """
        check_login_method(self._login_method)
        connection = kombu.Connection(
            self.uri,
            login_method=self._login_method,
            heartbeat=self._heartbeat,
            connect_timeout=self._connect_timeout,
            transport_options={"socket_settings": socket_settings(self._heartbeat)},
        )
        uses_tls = self._ssl if self._ssl is not None else self.uri.startswith("amqps:")
        connection.ssl = tls_options(uses_tls, connection.hostname) or False
        try:
            self._amqp = connection.transport.establish_connection()
        except (OSError, amqp.exceptions.AMQPError) as exc:
            raise ConnectionLost(f"cannot connect to {connection.as_uri()}: {_reason(exc)}") from exc
        self._take_over()

    def _take_over(self) -> None:
        """Put our reader and writer in the place of py-amqp's."""
        transport = self._amqp.transport
        self._sock = shared(transport.sock, self.backend)
        self._sock.settimeout(None)
        self.frame_max = int(self._amqp.frame_max)
        self.has_quorum_queues = has_quorum_queues(self._amqp.server_properties)
        transport.write = self._write_view
        # py-amqp's frame writer has kept the old one: its frames would get between the halves of ours.
        self._amqp.frame_writer = frame_writer(self._amqp, transport)
        self._amqp.drain_events = self._await_turn
        already_read = bytes(transport._read_buffer)
        transport._read_buffer = b""
        self.writer = make_writer(self._sock, self.backend, self._cannot_write)
        self.write = self.writer.write
        self.backend.spawn(self._read, already_read)
        if self._amqp.heartbeat:
            self.backend.spawn(self._beat, float(self._amqp.heartbeat))

    def _say_blocked(self, reason: str | None) -> None:
        if self.on_blocked is not None:
            self.on_blocked(reason)

    # Writing: whoever has a frame leaves it in a queue; the writer sends all that has gathered in one call.

    def _refuse(self, data: bytes) -> None:
        raise ConnectionLost(f"not connected to {hide_password(self.uri)}; call connect() first")

    def _cannot_write(self, exc: Exception) -> None:
        self.lose(ConnectionLost(f"writing to the broker failed: {_reason(exc)}"))

    def _write_view(self, data: Any) -> None:
        """Take frames of py-amqp; within a call they wait until it listens for the answer."""
        if self._is_calling:
            self._held.append(bytes(data))
        else:
            self.write(bytes(data))

    def _release(self) -> None:
        while self._held:
            self.write(self._held.popleft())

    # Reading

    def _read(self, data: bytes) -> None:
        feed, reader = self._parser.feed, SocketReader(self._sock, self.backend)
        turn_began = monotonic()
        try:
            while True:
                if data:
                    feed(data)
                    if monotonic() - turn_began > LONGEST_TURN:
                        # A socket that always has more would never let anybody else run.
                        self.backend.sleep(0)
                        turn_began = monotonic()
                data = reader.recv()
                if not data:
                    raise ConnectionLost("the broker closed the connection")
                self._bytes_in += len(data)
        except _ClosedByBroker as exc:
            self.write(frames.CONNECTION_CLOSE_OK)
            self.lose(ConnectionLost(f"the broker closed the connection: {exc}"), at_once=False)
            reader.close()
            self._await_end()
        except Exception as exc:
            failure = exc if isinstance(exc, ConnectionLost) else ConnectionLost(f"connection lost: {_reason(exc)}")
            failure.__cause__ = None if failure is exc else exc
            self.lose(failure)
        finally:
            reader.close()
            self._sock.close()

    def _await_end(self) -> None:
        """Have the last words sent: the broker closes the socket when it has them."""
        self._sock.settimeout(CLOSE_TIMEOUT)
        try:
            while self._sock.recv(READ_SIZE):
                continue
        except OSError as exc:
            _log.debug("the broker did not close the socket itself: %s", exc)

    def pass_on(self, kind: int, channel_id: int, payload: bytes) -> None:
        """Handle a frame that is not hot: most go to py-amqp."""
        if channel_id == 0 and payload[:4] == _CONNECTION_CLOSE:
            # py-amqp would close the socket before its answer is sent.
            raise _ClosedByBroker(*frames.decode_close(payload))
        if channel_id == 0 and payload[:4] == _CONNECTION_CLOSE_OK:
            # And here it would wait for the end of TLS in the reader, with a second object for the same socket.
            raise ConnectionLost("the connection was closed by this process")
        channel = self._channels.get(channel_id)
        if channel is not None and kind == 1:
            signature = payload[:4]
            if signature == _CHANNEL_CLOSE:
                # py-amqp would open the channel again here, and wait for the answer in the reader.
                self._close_channel(channel, payload)
                return
            if signature == _BASIC_CANCEL:
                channel.cancelled(payload[5 : 5 + payload[4]].decode())
                return
        if channel is None and channel_id and not self._is_of_opening(kind, channel_id, payload):
            # A delivery that was on its way when the broker closed the channel: its writer is behind its reader.
            return
        if channel_id == 0 and payload[:4] == _BLOCKED:
            # py-amqp drops the reason.
            self._say_blocked(payload[5 : 5 + payload[4]].decode("utf-8", "replace"))
        elif channel_id == 0 and payload[:4] == _UNBLOCKED:
            self._say_blocked(None)
        else:
            self._amqp.on_inbound_frame((kind, channel_id, payload))
            self._end_turn()

    def _is_of_opening(self, kind: int, channel_id: int, payload: bytes) -> bool:
        """Say whether a frame of a channel that is not ours is one that py-amqp waits for, to open or to close it."""
        return kind == 1 and payload[:2] == _CHANNEL_CLASS and channel_id in (self._amqp.channels or ())

    def _close_channel(self, channel: FrameChannel, payload: bytes) -> None:
        self.write(frames.channel_close_ok_frame(channel.number))
        if not channel.is_leaving:
            self.forget(channel)
            channel.fail(ChannelClosed(*frames.decode_close(payload)))
        self._end_turn()

    def _end_turn(self) -> None:
        self._turns += 1
        turn, self._turn = self._turn, self.backend.event()
        turn.set()

    def _await_turn(self, timeout: float | None = None) -> None:
        """Stand in for py-amqp's ``drain_events``: wait until the reader has handled another frame."""
        # Only now: on threads the answer could be here before py-amqp, which writes first, listens for it.
        self._release()
        turn = self._turn
        if self._turns == self._turns_seen and self.failure is None and not turn.wait(timeout):
            raise TimeoutError("the broker did not answer in time")
        self._turns_seen = self._turns
        if self.failure is not None:
            raise self.failure
        if self._awaited is not None and self._awaited.failure is not None:
            raise self._awaited.failure

    def call(self, channel: FrameChannel | None, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Carry out a synchronous method of py-amqp; one at a time on a link.

        Raises:
            ChannelClosed: The broker refused it.
            ConnectionLost: The connection is gone, or broke meanwhile.
        """
        with self._sync_lock:
            failure = self.failure or (channel.failure if channel is not None else None)
            if failure is not None:
                raise failure
            self._awaited = channel
            self._is_calling = True
            try:
                return function(*args, **kwargs)
            except (amqp.exceptions.AMQPError, OSError, AttributeError, TypeError) as exc:
                # py-amqp answers with AttributeError and the like when its connection has been collected.
                closing = ConnectionLost("the connection is being closed by this process") if self._is_closing else None
                known = self.failure or (channel.failure if channel is not None else None) or closing
                if known is None and isinstance(exc, OSError):
                    self._break_off(channel, exc)
                raise known or exc from exc
            except ConnectionLost:
                raise
            except BaseException as exc:
                self._break_off(channel, exc)
                raise
            finally:
                self._awaited = None
                self._is_calling = False
                self._release()

    def _break_off(self, channel: FrameChannel | None, exc: BaseException) -> None:
        """Give up a channel whose question a signal handler broke off: the next one would get the late answer."""
        if channel is not None and channel.failure is None and self.failure is None:
            channel.abandon(f"{type(exc).__name__} came while the broker was asked for something")

    # Lifecycle

    def channel(self, *, confirms: bool = False) -> LinkChannel:
        """Open a channel; ``confirms`` has the broker confirm each message published on it."""
        if self._amqp is None:
            raise ConnectionLost(f"not connected to {hide_password(self.uri)}; call connect() first")
        opened = self.call(None, self._amqp.channel)
        channel = FrameChannel(self, opened, confirms=confirms)
        self._channels[channel.number] = channel
        handlers = (channel.delivered, channel.returned, channel.got, channel.confirmed)
        self._parser.add_channel(channel.number, *handlers)
        if self.failure is not None:
            # On threads: it was lost before this channel could be told with the others.
            channel.fail(self.failure)
            raise self.failure
        if confirms:
            self.call(channel, opened.confirm_select)
        return channel

    def forget(self, channel: FrameChannel) -> None:
        """Have nothing more to do with a channel that is closed."""
        self._channels.pop(channel.number, None)
        self._parser.remove_channel(channel.number)
        if self._amqp.channels is not None:
            channel.amqp.collect()

    def _beat(self, interval: float) -> None:
        """Send a heartbeat when nothing else was sent; drop the connection when nothing came for two intervals."""
        assert self.writer is not None
        sent, received, last_heard = -1, -1, monotonic()
        while not self._ended.wait(interval / 2):
            if self.writer.count == sent:
                self.write(frames.HEARTBEAT)
                # The heartbeat itself; on threads it is counted when it has been sent.
                sent += 1
            else:
                sent = self.writer.count
            if self._bytes_in != received:
                received, last_heard = self._bytes_in, monotonic()
            elif monotonic() - last_heard >= 1.5 * interval:
                # What came while somebody kept the hub from running is still unread: the reader goes first.
                self.backend.sleep(0)
                if self._bytes_in == received:
                    self.lose(ConnectionLost(f"the broker sent no heartbeat for {monotonic() - last_heard:.1f} s"))

    def lose(self, failure: ConnectionLost, *, at_once: bool = True) -> None:
        """End because of a failure, once: everybody who waits learns of it.

        Args:
            failure: What everybody is told.
            at_once: Shut the socket; else the reader sees to that.
        """
        was_closing = self._is_closing
        if was_closing:
            failure = ConnectionLost("the connection was closed by this process")
        with self._guard:
            if self.failure is not None:
                return
            self.failure = failure
        self._ended.set()
        if self.writer is not None:
            self.writer.end()
        if at_once:
            self._shut_socket()
        self._end_turn()
        for channel in list(self._channels.values()):
            channel.fail(failure)
        self._channels.clear()
        if self.on_lost is not None and not was_closing:
            self.on_lost(failure)

    def _shut_socket(self) -> None:
        try:
            # The reader closes it, for it may be waiting on it; this only wakes it.
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError as exc:
            _log.debug("socket was shut already: %s", exc)

    def close(self) -> None:
        """Send what waits to be sent, say goodbye and disconnect."""
        if self.writer is None or self.failure is not None:
            return
        self._is_closing = True
        # After what is still to be acknowledged.
        self.writer.leave(lambda: self.write(frames.CONNECTION_CLOSE))
        self._ended.wait(CLOSE_TIMEOUT)
        self.lose(ConnectionLost("the broker did not say goodbye"))

    def let_go(self) -> None:
        """Close the socket without a word, in a process that has it from its parent, which goes on using it."""
        if self._sock is not None:
            # Not close(), which leaves the descriptor to whoever still holds the object; nor anything of TLS.
            os.close(self._sock.detach())


def _reason(exc: BaseException) -> str:
    return f"{exc}" if f"{exc}" else type(exc).__name__
