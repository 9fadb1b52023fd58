"""ChannelLink: a Link on kombu's own channels, for brokers other than RabbitMQ and for comparison.

Simple rather than fast. kombu and py-amqp allow one reader on a connection, so there are two: one consumes and
declares, and only this link's task touches it; the other publishes under a lock and waits for each confirm.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any

import kombu

from rpcservice.amqp.framesocket import socket_settings
from rpcservice.amqp.kombuchannel import KombuChannel
from rpcservice.amqp.kombuwire import KombuWire
from rpcservice.amqp.link import LinkChannel, has_quorum_queues
from rpcservice.amqp.tls import check_login_method, tls_options
from rpcservice.concurrency import Backend
from rpcservice.config import hide_password
from rpcservice.errors import ChannelClosed, ConnectionLost

PAUSE = 0.02
"""Seconds for which the task listens to the broker before it looks after what it was asked to do."""
IDLE_PAUSE = 0.1
"""Seconds from one look at the broker to the next while nothing is consumed."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a polite goodbye may take."""

_log = logging.getLogger(__name__)


class Call:
    """Something that the link's task was asked to do, and what came of it."""

    def __init__(self, function: Callable[[], Any], done: Any) -> None:
        self.function = function
        self.done = done
        self.result: Any = None
        self.error: Exception | None = None


class ChannelLink:
    """A connection to a broker, by way of any transport of kombu's.

    Args:
        uri: The broker, such as ``redis://localhost:6379/0``.
        backend: Where the task runs.
        ssl: As ``AMQP_SSL``.
        login_method: SASL mechanism; None is PLAIN.
        heartbeat: Seconds from one heartbeat to the next; 0 turns them off.
        connect_timeout: Seconds that connecting may take.
        transport_options: What the transport makes of it; see kombu.
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
        transport_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.uri = uri
        self.backend = backend
        self.on_lost: Callable[[Exception], None] | None = None
        self.on_blocked: Callable[[str | None], None] | None = None
        name = hide_password(uri)
        self.failure: ConnectionLost | None = ConnectionLost(f"not connected to {name}; call connect() first")
        self.has_quorum_queues = False
        self.publishing_lock = backend.lock()
        self._ssl = ssl
        self._login_method = login_method
        self._heartbeat = heartbeat
        self._connect_timeout = connect_timeout
        self._transport_options = {"polling_interval": PAUSE, **(transport_options or {})}
        self._channels: list[KombuChannel] = []
        self._todo: deque[Callable[[], object]] = deque()
        self._wanted = backend.event()
        self._ended = backend.event()
        self._is_closing = False
        self._busy_since: float | None = None
        self._consuming: KombuWire
        self._publishing: KombuWire

    def connect(self) -> None:
        """Connect and log in.

        Raises:
            ConnectionLost: The broker cannot be reached, refuses the login or the virtual host.
            ConfigError: There is no such login method, or the TLS options are wrong.
        """
        check_login_method(self._login_method, "GSSAPI")
        self._consuming = self._open()
        self._publishing = self._open(confirm_publish=True)
        self.failure = None
        if self._publishing.is_amqp:
            self.has_quorum_queues = has_quorum_queues(self._publishing.raw.server_properties)
            self._publishing.raw.on_blocked = partial(self.later, self._tell_blocked)
            self._publishing.raw.on_unblocked = partial(self.later, self._tell_blocked, None)
        self.backend.spawn(self._run)
        interval = self._consuming.heartbeat
        if interval:
            self.backend.spawn(self._beat, interval, self._check_consuming)
            # Beside the other, for a publisher may hold its connection for long.
            self.backend.spawn(self._beat, interval, self._check_publishing)

    def _open(self, **options: Any) -> KombuWire:
        connection = kombu.Connection(
            self.uri,
            login_method=self._login_method,
            heartbeat=self._heartbeat,
            connect_timeout=self._connect_timeout,
            transport_options={
                "socket_settings": socket_settings(self._heartbeat),
                **self._transport_options,
                **options,
            },
        )
        uses_tls = self._ssl if self._ssl is not None else self.uri.startswith("amqps:")
        connection.ssl = tls_options(uses_tls, connection.hostname) or False
        return KombuWire(connection)

    def channel(self, *, confirms: bool = False) -> LinkChannel:
        """Open a channel; ``confirms`` has the broker confirm each message published on it."""
        with self.publishing_lock:
            if self.failure is not None:
                raise self.failure
            publishing = self.guard(self._publishing.channel)
        channel: KombuChannel = self.call(None, partial(self._do_open, publishing, confirms))
        return channel

    def _do_open(self, publishing: Any, confirms: bool) -> KombuChannel:
        channel = KombuChannel(self, self._consuming.channel(), publishing, confirms=confirms)
        self._channels.append(channel)
        return channel

    # What the task is asked to do

    def later(self, function: Callable[..., object], *args: Any) -> None:
        """Have the task call a function, soon."""
        self._todo.append(partial(function, *args))
        self._wanted.set()

    def call(self, channel: KombuChannel | None, function: Callable[[], Any]) -> Any:
        """Have the task call a function, and wait for what it gives.

        Raises:
            ChannelClosed: The broker refused it.
            ConnectionLost: The connection is gone, or broke meanwhile.
        """
        call = Call(function, self.backend.event())
        self.later(self._answer, channel, call)
        if self._ended.is_set():
            # The task may have gone before it saw this.
            self._answer(channel, call)
        call.done.wait()
        if call.error is not None:
            raise call.error
        return call.result

    def _answer(self, channel: KombuChannel | None, call: Call) -> None:
        failure = self.failure or (channel.failure if channel is not None else None)
        try:
            if failure is not None:
                raise failure
            call.result = self.guard(call.function)
        except ChannelClosed as exc:
            if channel is not None:
                channel.fail(exc)
            call.error = exc
        except Exception as exc:
            call.error = exc
        finally:
            call.done.set()

    def guard(self, function: Callable[[], Any]) -> Any:
        """Call something of kombu's and give its errors our names.

        Raises:
            ChannelClosed: The broker refused it.
            ConnectionLost: The connection broke; the link ends.
        """
        try:
            return function()
        except (ChannelClosed, ConnectionLost):
            raise
        except self._consuming.refusals as exc:
            raise ChannelClosed(getattr(exc, "reply_code", 0) or 0, getattr(exc, "reply_text", "") or str(exc)) from exc
        except self._consuming.errors as exc:
            failure = self.failure or ConnectionLost(f"connection lost: {exc}")
            self.later(self.lose, failure)
            raise failure from exc

    # The task

    def _run(self) -> None:
        try:
            while self.failure is None:
                while self._todo:
                    self._busy_since = monotonic()
                    self._todo.popleft()()
                self._busy_since = None
                if self.failure is None:
                    self._listen()
        except Exception as exc:
            _log.debug("the task of %s ends", hide_password(self.uri), exc_info=True)
            self.lose(exc if isinstance(exc, ConnectionLost) else ConnectionLost(f"connection lost: {exc}"))
        finally:
            self._ended.set()
            while self._todo:
                self._todo.popleft()()

    def _listen(self) -> None:
        is_consuming = any(channel.consumers for channel in self._channels)
        if not is_consuming:
            self._wanted.wait(IDLE_PAUSE)
        self._wanted.clear()
        if self._todo or not (is_consuming or self._consuming.is_amqp):
            return
        try:
            self.guard(partial(self._consuming.drain, PAUSE if is_consuming else 0.001))
        except ChannelClosed as exc:
            # Its channel has been told already.
            _log.debug("a channel was closed: %s", exc)

    def _beat(self, interval: float, check: Callable[[], object]) -> None:
        while not self._ended.wait(interval / 4):
            check()

    def _check_consuming(self) -> None:
        if self._busy_since is None or monotonic() - self._busy_since < 1.5 * self._consuming.heartbeat:
            self.later(self.guard, self._consuming.check_heartbeat)
        else:
            # The task waits for an answer that does not come, and would never look at the heartbeats.
            self._consuming.shut()

    def _check_publishing(self) -> None:
        with self.publishing_lock:
            if self.failure is not None:
                return
            try:
                self.guard(self._keep_publishing_alive)
            except ConnectionLost as exc:
                _log.debug("the publishing connection is lost: %s", exc)

    def _keep_publishing_alive(self) -> None:
        self._publishing.drain(0.001)
        self._publishing.check_heartbeat()

    def _tell_blocked(self, reason: str | None) -> None:
        if self.on_blocked is not None:
            self.on_blocked(reason)

    # Ends

    def let_go(self) -> None:
        """Close the sockets without a word, in a process that has them from its parent, which goes on using them."""
        self._consuming.let_go()
        self._publishing.let_go()

    def forget(self, channel: KombuChannel) -> None:
        """Have nothing more to do with a channel that is closed."""
        if channel in self._channels:
            self._channels.remove(channel)

    def close_quietly(self, close: Callable[[], object]) -> None:
        """Close something of kombu's that may be closed already, or whose connection may be gone."""
        try:
            close()
        except (*self._consuming.errors, *self._consuming.refusals, ChannelClosed, AttributeError) as exc:
            _log.debug("closing failed: %s", exc)

    def lose(self, failure: ConnectionLost) -> None:
        """End because of a failure, once, in the task: everybody who waits learns of it."""
        if self.failure is not None:
            return
        self.failure = failure
        if not self._is_closing:
            self._publishing.shut()
        for channel in list(self._channels):
            channel.fail(failure)
        self.close_quietly(partial(self._consuming.disconnect, self._is_closing, CLOSE_TIMEOUT / 2))
        with self.publishing_lock:
            # Only now that nobody reads from it: its number may be another socket's as soon as it is closed.
            self.close_quietly(partial(self._publishing.disconnect, self._is_closing, CLOSE_TIMEOUT / 2))
        if self.on_lost is not None and not self._is_closing:
            self.on_lost(failure)

    def close(self) -> None:
        """Say goodbye and disconnect; what was published is with the broker."""
        if self.failure is not None:
            return
        self._is_closing = True
        self.later(self.lose, ConnectionLost("the connection was closed by this process"))
        if not self._ended.wait(CLOSE_TIMEOUT):
            # The task waits for an answer that does not come.
            self._consuming.shut()
            self._publishing.shut()
            self._ended.wait(CLOSE_TIMEOUT)
