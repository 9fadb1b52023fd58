"""AmqpConnection: the process's connection to a broker, over a Link; connects, reconnects, rebuilds channels."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from kombu.utils.url import sanitize_url

from rpcservice.amqp.link import Link
from rpcservice.amqp.managedchannel import ManagedChannel
from rpcservice.amqp.tls import warn_when_unverified
from rpcservice.concurrency import Backend, Task
from rpcservice.config import Settings, hide_password
from rpcservice.core.resource import Resource
from rpcservice.errors import BrokerUnavailable, ChannelClosed, ConfigError, ConnectionLost, NameTooLong
from rpcservice.kinds import URI

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds between attempts to connect: they grow from the first to the longest."""
LAST_PATIENCE = 10.0
"""Seconds that a stop waits for each answer of the broker before it gives the connection up."""
NOT_FOUND, RESOURCE_LOCKED = 404, 405

_log = logging.getLogger(__name__)


class ConnectionKey(NamedTuple):
    """What tells one connection of a process from another."""

    uri: str
    ssl: tuple[tuple[str, Any], ...] | bool | None
    login_method: str | None
    role: str = "shared"

    def __repr__(self) -> str:
        """Show it with its passwords hidden."""
        return f"ConnectionKey({hide_password(self.uri)}, ssl={self.ssl!r}, {self.login_method}, {self.role})"


def connection_key(
    config: Settings,
    *,
    uri: str | None = None,
    ssl: bool | Mapping[str, Any] | None = None,
    login_method: str | None = None,
    publishes: bool = False,
) -> ConnectionKey:
    """Give the key of the connection to use; what is not said comes from the configuration.

    Args:
        config: The settings.
        uri: Another broker than ``AMQP_URI``.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.
        publishes: It is for publishing, which has a connection of its own where the configuration says so.

    Raises:
        ConfigError: The URI is none.
    """
    if uri is not None:
        _check_uri(uri)
    tls = ssl if ssl is not None else (config.amqp_ssl if uri is None else None)
    key = ConnectionKey(
        uri or config.amqp_uri,
        tuple(sorted(tls.items())) if isinstance(tls, Mapping) else tls,
        login_method or config.login_method,
    )
    return publishing_key(key, config) if publishes else key


def _check_uri(uri: str) -> None:
    try:
        URI.check(uri)
    except ValueError:
        # From nothing: its text may hold a part of the password.
        raise ConfigError(f"uri is {hide_password(repr(uri))}; give {URI.allowed}") from None


def publishing_key(key: ConnectionKey, config: Settings) -> ConnectionKey:
    """Give the key of the connection that publishes beside this one; the same where nothing else is configured.

    A broker with an alarm takes nothing more from connections that publish, acknowledgements included.
    """
    return key._replace(role="publish") if config.publish_connection == "dedicated" else key


def make_link(key: ConnectionKey, uri: str, config: Settings, backend: Backend) -> Link:
    """Give the kind of link that reaches this broker.

    Raises:
        ConfigError: Services in this process cannot use sockets, since it is not monkey-patched.
    """
    if uri.startswith("memory:"):
        from rpcservice.amqp.memory import MemoryLink

        return MemoryLink(uri, backend)
    if not backend.can_use_sockets():
        raise ConfigError(
            f"services on {sanitize_url(uri)} need eventlet's patched sockets: start them with `rpcservice run`, "
            "or call eventlet.monkey_patch() before anything else; in tests, `pytest -p rpcservice.testing.patch`"
        )
    options: dict[str, Any] = {
        "ssl": dict(key.ssl) if isinstance(key.ssl, tuple) else key.ssl,
        "login_method": key.login_method,
        "heartbeat": config.heartbeat,
    }
    if config.link == "channel" or not uri.startswith(("amqp:", "amqps:", "pyamqp:")):
        from rpcservice.amqp.channellink import ChannelLink

        return ChannelLink(uri, backend, **options)
    from rpcservice.amqp.framelink import FrameLink

    return FrameLink(uri, backend, **options)


def pauses() -> Iterator[float]:
    """Give growing pauses, in seconds, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)


class AmqpConnection(Resource):
    """One connection to one broker for all services of a process; its key is a :class:`ConnectionKey`."""

    key: ConnectionKey

    def setup(self) -> None:
        """Prepare; nothing is connected before the start."""
        self.link: Link | None = None
        self.is_stopping = False
        self.last_patience = LAST_PATIENCE
        self._uris = self.key.uri.split(";")
        self._channels: list[ManagedChannel] = []
        self._guard = self.backend.guard()
        self._attention = self.backend.event()
        self._awaiting = 0
        self._started = self.backend.event()
        self._ended = self.backend.event()
        self._startup_error: Exception | None = None
        self._reason: str | None = "not connected yet"
        self._blocked: str | None = None
        self._was_connected = False
        warn_when_unverified(dict(self.key.ssl) if isinstance(self.key.ssl, tuple) else self.key.ssl, self.key.uri)

    @property
    def name(self) -> str:
        """The broker's URI, its password hidden."""
        return str(sanitize_url(self._uris[0]))

    def add_channel(self, channel: ManagedChannel) -> ManagedChannel:
        """Have a channel opened with the connection, and after those that were added before."""
        self._channels.append(channel)
        self.call_attention()
        return channel

    def call_attention(self) -> None:
        """Have the connection look for what is to be opened."""
        self._attention.set()

    def start(self) -> None:
        """Connect; waits for the broker at most ``startup_timeout`` seconds.

        Raises:
            BrokerUnavailable: It could not be reached in time.
            ChannelClosed: It refused what the services declare.
            ConnectionLost: It was stopped or killed meanwhile.
        """
        self.backend.spawn(self._run)
        is_up = self._started.wait(self.config.startup_timeout)
        if self._startup_error is not None:
            raise self._startup_error
        if self.is_stopping:
            raise ConnectionLost(f"the connection to the broker at {self.name} was given up while it was set up")
        if not is_up:
            reason = self._reason
            self.kill()
            raise BrokerUnavailable(
                f"no connection to the broker at {self.name} within {self.config.startup_timeout:g} s: {reason}; "
                "start it, correct AMQP_URI, or raise startup_timeout"
            )

    def _run(self) -> None:
        pausing, failed = pauses(), 0
        while not self.is_stopping:
            name = self.name
            try:
                self._bring_up()
            except Exception as exc:
                # Whatever it is: a connection that silently gave up would leave every service waiting.
                if not isinstance(exc, ConnectionLost | ChannelClosed | ConfigError | NameTooLong):
                    _log.exception("connecting to the broker at %s failed unexpectedly", name)
                if self._gives_up(exc):
                    return
                self._reason = f"{exc}"
                if self.link is None:
                    failed += 1
                    self._uris.append(self._uris.pop(0))
                    if failed % len(self._uris):
                        _log.warning("broker at %s: %s; trying the next", name, exc)
                        continue
                pause = next(pausing)
                _log.warning("broker at %s: %s; trying again in %g s", name, exc, pause)
                self._pause(pause)
                continue
            pausing, failed = pauses(), 0
            self._attention.wait()
            self._attention.clear()
        self._ended.set()

    def _gives_up(self, exc: Exception) -> bool:
        """Say whether a failure at the start is one that does not go away by itself."""
        may_pass = isinstance(exc, ConnectionLost) or (isinstance(exc, ChannelClosed) and exc.code == RESOURCE_LOCKED)
        if self._was_connected or may_pass:
            return False
        self._startup_error = exc
        self._ended.set()
        self._started.set()
        return True

    def _pause(self, seconds: float) -> None:
        began = monotonic()
        while not self.is_stopping:
            # Not more often than that, however many wait.
            pause = min(seconds, FIRST_PAUSE) if self._awaiting and self.link is None else seconds
            if not self._attention.wait(max(0, began + pause - monotonic())):
                return
            # Channels that call for attention meanwhile are looked at with the next attempt.
            self._attention.clear()
            if self.link is not None:
                return

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Have attempts to connect made about once a second while somebody waits, however long it has been away."""
        with self._guard:
            self._awaiting += 1
        try:
            if self.link is None:
                self._attention.set()
            yield
        finally:
            with self._guard:
                self._awaiting -= 1

    def _bring_up(self) -> None:
        """Connect if need be, and open every channel that is not open."""
        link = self.link or self._connect()
        if self.is_stopping:
            link.close()
            return
        self._open_channels(link)
        with self._guard:
            is_new, self._reason = self._reason is not None, None if self.link is link else self._reason
        if is_new:
            _log.info("connected to the broker at %s%s", self.name, " again" if self._was_connected else "")
        self._was_connected = True
        self._started.set()

    def _connect(self) -> Link:
        link = make_link(self.key, self._uris[0], self.config, self.backend)
        link.on_lost = partial(self._lose_link, link)
        link.on_blocked = self._set_blocked
        link.connect()
        self.link = link
        if link.failure is not None:
            # On threads it may have been lost before it was ours.
            self.link = None
            raise link.failure
        return link

    def _open_channels(self, link: Link) -> None:
        """Open what is not open; what the broker refuses to one channel must not keep the others closed."""
        refusals = []
        for channel in list(self._channels):
            if channel.is_wanted:
                try:
                    channel.open(link)
                except ChannelClosed as exc:
                    refusals.append(exc)
        if refusals:
            raise refusals[0]

    def _lose_link(self, link: Link, failure: Exception) -> None:
        with self._guard:
            if link is not self.link:
                return
            self.link = None
            self._blocked = None
            self._reason = f"{failure}"
        if not self.is_stopping:
            _log.error("broker at %s: %s; connecting again", self.name, failure)
        self.call_attention()

    def _set_blocked(self, reason: str | None) -> None:
        self._blocked = reason
        if reason is None:
            _log.warning("the broker at %s takes messages again", self.name)
        else:
            _log.error("the broker at %s takes no messages: %s; what is published waits", self.name, reason)

    def health(self) -> str | None:
        """Say why the broker cannot be used, or None."""
        if self._reason is not None:
            return f"broker at {self.name}: {self._reason}"
        if self._blocked is not None:
            return f"broker at {self.name} takes no messages: {self._blocked}"
        return None

    def ask_last(self, question: Callable[[], object]) -> None:
        """Have the broker asked for something at the stop; one that does not answer in time is taken for lost.

        Its heartbeats would show that too, but only after two of them.
        """
        errors: list[Exception] = []
        self.wait_last(self.backend.spawn(_collecting(question, errors)))
        if errors:
            raise errors[0]

    def wait_last(self, asking: Task) -> None:
        """Wait for a task that asks the broker something at the stop, as :meth:`ask_last` does."""
        link = self.link
        if not asking.wait(self.last_patience) and link is not None and link is self.link:
            self._lose_link(link, ConnectionLost(f"no answer within {self.last_patience:g} s while services stop"))
            link.close()
            asking.wait()

    def stop(self) -> None:
        """Say goodbye to the broker."""
        self._end()
        if self.link is not None:
            self.link.close()

    def kill(self) -> None:
        """Disconnect without waiting."""
        self._end()
        if self.link is not None:
            self.backend.spawn(self.link.close)

    def let_go(self) -> None:
        """Close this process's copy of a connection that its parent has made, and goes on using."""
        link, self.link = self.link, None
        if link is not None:
            link.let_go()

    def _end(self) -> None:
        self.is_stopping = True
        self._reason = "this process is stopping"
        for channel in self._channels:
            channel.stop_waiting()
        self._attention.set()
        self._started.set()


def _collecting(question: Callable[[], object], errors: list[Exception]) -> Callable[[], None]:
    def ask() -> None:
        try:
            question()
        except Exception as exc:
            errors.append(exc)

    return ask
