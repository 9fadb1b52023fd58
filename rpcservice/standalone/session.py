"""What standalone clients stand on: settings, a session in each process, and when it begins and ends."""

import atexit
import copy
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from rpcservice.amqp.connection import AmqpConnection
from rpcservice.concurrency import Backend, Lock, Task, for_clients, threads
from rpcservice.config import Settings, make_settings
from rpcservice.core.resource import Resource, Resources
from rpcservice.errors import ConfigError, ConnectionLost

R = TypeVar("R", bound=Resource)
P = TypeVar("P")

CLIENT_NAME = "standalone_rpc_client"
"""With what the call ids of clients begin."""
BROKER_WAIT = 10.0
"""Seconds that a client waits for the broker when it starts, unless the configuration says otherwise."""

EXIT_PATIENCE = 2.0
"""Seconds that the end of a program waits for each last answer of the broker."""

GivenConfig = Mapping[str, Any] | Settings | None


def client_settings(
    config: GivenConfig,
    uri: str | None = None,
    ssl: bool | Mapping[str, Any] | None = None,
    login_method: str | None = None,
) -> Settings:
    """Give the settings of a client.

    Args:
        config: Settings, or a mapping with their keys; None for the defaults.
        uri: Another broker than ``AMQP_URI``; then ``AMQP_SSL`` is not for it.
        ssl: As ``AMQP_SSL``.
        login_method: As ``LOGIN_METHOD``.

    Raises:
        ConfigError: One of them is wrong.
    """
    settings = make_settings({} if config is None else config)
    if settings is not config and "startup_timeout" not in settings.raw:
        settings = replace(settings, startup_timeout=BROKER_WAIT)
    changes: dict[str, Any] = {}
    if uri is not None:
        changes = {"AMQP_URI": uri, "AMQP_SSL": None}
    if ssl is not None:
        changes["AMQP_SSL"] = ssl
    if login_method is not None:
        changes["LOGIN_METHOD"] = login_method
    checked = make_settings({"link": settings.link, **changes}, "client")
    return replace(settings, **{name.lower(): getattr(checked, name.lower()) for name in changes})


class Session:
    """What a client has in one process while it is started, and the host that its providers are bound to.

    Attributes:
        pid: The process.
        is_up: It is connected, or connects again by itself.
        has_ended: It was stopped, or could not be started: the next one is another session.
    """

    def __init__(self, config: Settings, service_name: str, backend: Backend) -> None:
        self.config = config
        self.service_name = service_name
        self.backend = backend
        self.resources = Resources(config, self.backend)
        self.pid = os.getpid()
        self.is_up = False
        self.has_ended = False
        self.guard = self.backend.guard()
        self._is_starting = False
        self._waiting = 0
        self._tried = self.backend.event()
        self._error: Exception | None = None
        self._ending: Task | None = None

    def resource(self, cls: type[R], key: Hashable = None) -> R:
        """Give this session's one instance of a resource for that key."""
        return self.resources.get(cls, key)

    def around(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Give the call itself: there are no hooks."""
        return call

    def in_the_name_of(self, service_name: str) -> Any:
        """Give the same host under another service's name."""
        named = copy.copy(self)
        named.service_name = service_name
        return named

    def check_home(self) -> None:
        """Say that greenlets of one thread serve no other.

        Raises:
            ConfigError: The caller is another thread than the one that the client's greenlets run in.
        """
        if not self.backend.is_home():
            raise ConfigError(
                "this client runs on greenlets of another thread, since the process is patched by eventlet or its "
                "broker is embedded; make a client for each such thread"
            )

    def wait_until_up(self, timeout: float | None) -> None:
        """Start, unless that has been done, and wait until it is.

        Args:
            timeout: Seconds to wait; the start goes on after that. None waits for its end.

        Raises:
            BrokerUnavailable: The broker could not be reached within ``startup_timeout``.
            ConnectionLost: It is not up in time; nothing was sent.
        """
        is_first = False
        try:
            with self.guard:
                self._waiting += 1
                is_first, self._is_starting = not self._is_starting, True
            if is_first:
                self._begin()
            was_tried = self._tried.wait(timeout)
        finally:
            with self.guard:
                self._waiting -= 1
        if not was_tried:
            raise ConnectionLost(
                f"nothing was sent: the client is not connected yet, after {timeout:g} s: {self._troubles()}; start "
                "the broker, correct AMQP_URI, or give it more time"
            )
        if self._error is not None:
            raise self._error

    def _troubles(self) -> str:
        connections = [resource for resource in self.resources if isinstance(resource, AmqpConnection)]
        return ", ".join(filter(None, (connection.health() for connection in connections))) or "it is being set up"

    def _begin(self) -> None:
        try:
            self.backend.spawn(self._start)
        except RuntimeError as exc:
            # From Python 3.12 on, an interpreter that ends starts no threads.
            self._cannot_begin(
                f"the client cannot connect, since no thread can be started ({exc}); when a program ends, only a "
                "client that is connected already can be used: start() it before"
            )
        except BaseException as exc:
            # A signal handler's: the thread may run or not.
            self._cannot_begin(f"{type(exc).__name__} came when the client began to connect")
            raise

    def _cannot_begin(self, reason: str) -> None:
        self._error = ConnectionLost(f"nothing was sent: {reason}")
        self.has_ended = True
        self._tried.set()

    def give_up(self) -> None:
        """End a start that somebody does not wait for any more, unless others do; does not wait."""
        with self.guard:
            is_wanted = self.is_up or self._waiting > 1
        if not is_wanted:
            self._end(self.resources.kill)

    def _start(self) -> None:
        try:
            self.resources.start()
            if self.has_ended:
                raise ConnectionLost("nothing was sent: this client has been stopped")
            self.is_up = True
            atexit.register(self._stop_at_exit)
        except Exception as exc:
            self._error = exc
            self.has_ended = True
            self.resources.kill()
        finally:
            self._tried.set()

    def stop(self) -> None:
        """Say goodbye to the broker; calls under way fail."""
        self._end(self.resources.stop if self.is_up else self.resources.kill)

    def _stop_at_exit(self) -> None:
        if self.pid != os.getpid():
            return
        if self._ending is not None:
            # No new thread can do it now.
            self._ending.wait(2 * EXIT_PATIENCE)
            return
        for resource in self.resources:
            if isinstance(resource, AmqpConnection):
                resource.last_patience = EXIT_PATIENCE
        self.stop()

    def abandon(self) -> None:
        """End without waiting: the client has gone, and nobody has stopped it."""
        if sys.is_finalizing():
            # No thread runs any more, so that nobody could say goodbye; the system closes the socket.
            return
        if self.is_up and not self.has_ended and self.pid == os.getpid():
            warnings.warn("a standalone client was dropped without stop()", ResourceWarning, stacklevel=2)
            self.has_ended, self.is_up = True, False
            # Whoever collects garbage may be the reader itself, for which the end would have to wait.
            try:
                self._ending = self.backend.spawn(self._stop_resources)
            except RuntimeError:
                # As in _begin: the program ends, and its sockets with it.
                self._ending = None

    def _stop_resources(self) -> None:
        self.resources.stop()
        atexit.unregister(self._stop_at_exit)

    def let_go(self) -> None:
        """Close what a fork has brought from the parent, without a word to the broker: the parent goes on."""
        for resource in self.resources:
            if isinstance(resource, AmqpConnection):
                resource.let_go()

    def _end(self, end: Callable[[], None]) -> None:
        self.has_ended = True
        self.is_up = False
        if self.pid == os.getpid():
            atexit.unregister(self._stop_at_exit)
            end()


class Standalone(Generic[P]):
    """What standalone clients have in common: they connect when they are first used, or started.

    ``start`` and ``stop``, or a ``with`` block; blocks may be nested and may overlap, in threads, and the end of the
    last one stops, unless ``start`` has been called. After a fork each process connects for itself.
    """

    def __init__(self, config: Settings, service_name: str) -> None:
        self._config = config
        self._name = service_name
        self._bound: tuple[Session, P] | None = None
        # One a process: in a forked one, nobody would give back what another thread held at the fork.
        self._guards: dict[int, Lock] = {}
        self._blocks = 0
        self._is_kept = False
        self._is_stopped = False

    def _bind(self, session: Session) -> P:
        """Give what uses a session; nothing is connected yet."""
        raise NotImplementedError

    def _make_backend(self) -> Backend:
        """Give what the connection of a session is to run on."""
        return for_clients(is_embedded=self._config.amqp_uri.startswith("memory:"))

    @property
    def _guard(self) -> Lock:
        pid = os.getpid()
        return self._guards.get(pid) or self._guards.setdefault(pid, threads().guard())

    def _use(self) -> tuple[Session, P]:
        """Give the session of this process, which may have to be started, and what uses it."""
        bound = self._bound
        if bound is None or bound[0].has_ended or bound[0].pid != os.getpid():
            bound = self._renew()
        bound[0].check_home()
        return bound

    def _renew(self) -> tuple[Session, P]:
        with self._guard:
            bound = self._bound
            if bound is not None and bound[0].pid != os.getpid():
                bound[0].let_go()
            elif bound is not None and not bound[0].has_ended:
                return bound
            if self._is_stopped:
                raise ConnectionLost("nothing was sent: this client has been stopped; start() it again")
            session = Session(self._config, self._name, self._make_backend())
            self._bound = bound = session, self._bind(session)
            weakref.finalize(self, session.abandon).atexit = False
            return bound

    def _connect(self) -> None:
        self._is_stopped = False
        self._use()[0].wait_until_up(None)

    def _keep(self) -> None:
        self._is_kept = True
        try:
            self._connect()
        except BaseException:
            self._is_kept = False
            raise

    def _enter(self) -> None:
        with self._guard:
            self._blocks += 1
        try:
            self._connect()
        except BaseException:
            self._leave()
            raise

    def _leave(self) -> None:
        with self._guard:
            self._blocks -= 1
            is_last = self._blocks <= 0 and not self._is_kept
            session = self._detach() if is_last else None
        if session is not None:
            session.stop()

    def _give_up(self) -> None:
        """End a start under way that nobody waits for any more; does not wait."""
        bound = self._bound
        if bound is not None:
            bound[0].give_up()

    def _detach(self) -> Session | None:
        """Give the session, which is the client's no more."""
        with self._guard:
            bound, self._bound = self._bound, None
            self._is_stopped, self._is_kept, self._blocks = True, False, 0
        return None if bound is None else bound[0]

    def stop(self) -> None:
        """Disconnect; calls under way fail with ConnectionLost. The client may be started again."""
        session = self._detach()
        if session is not None:
            session.stop()
