"""WebServer, the listening socket and the routes that all web entrypoints of a process share."""

import errno
import logging
import socket as socket_types
from time import monotonic
from typing import Any

from eventlet import hubs

from rpcservice.concurrency import Task
from rpcservice.core.process import Process
from rpcservice.core.resource import Resource
from rpcservice.web.answer import JSON, Answer, encode_json
from rpcservice.web.connection import RESTED, Connection, Responder
from rpcservice.web.listening import listen
from rpcservice.web.parser import Head
from rpcservice.web.routes import Route, Routes, unavailable
from rpcservice.web.stream import GreenStream

_log = logging.getLogger(__name__)

_SPARE = 100
_LOOK = 0.02
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class WebServer(Resource):
    """Serves the web entrypoints of all services of a process, and ``GET /health``.

    It listens before anything else starts; until every service is up only ``/health`` is answered, with 503 and
    the reasons.
    """

    starts_early = True
    address_key = "WEB_SERVER_ADDRESS"

    def setup(self) -> None:
        """Prepare an empty table of routes."""
        self.routes = Routes()
        self.look_up = self.routes.find
        """Gives who answers a request; an extension may put something about it, until the server starts."""
        self.address: tuple[str, int] = ("", 0)
        self._process = self.resources.get(Process)
        self._listener: socket_types.socket | None = None
        self._is_shared = False
        self._acceptor: Task | None = None
        self._connections: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        self._spare: dict[Connection, None] = {}
        self._sweep: Any = None
        self._all_closed = self.backend.event()
        self._all_closed.set()
        self._is_serving = False
        self._is_stopping = False
        self._stop_began = 0.0
        config = self.config
        timeouts = (config.http_header_timeout, config.http_body_timeout, config.http_keep_alive)
        self._sweep_interval = max(0.02, min(1.0, *(timeout / 4 for timeout in timeouts if timeout)))

    @property
    def url(self) -> str:
        """The URL that the server is reached at from this machine."""
        host, port = self.address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def add_route(self, route: Route) -> None:
        """Have a web entrypoint answer its URL.

        Raises:
            DeclarationError: Another one answers it already.
        """
        self.routes.add(route)

    def withdraw(self, route: Route) -> None:
        """Take no more requests for a route; with the last one the server stops to accept connections."""
        if self.routes.withdraw(route):
            self.stop_accepting()

    def start(self) -> None:
        """Listen and answer ``/health``.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        address = getattr(self.config, self.address_key.lower())
        shared = self._process.listener(self.address_key, address)
        self._is_shared = shared is not None
        self._listener = listener = listen(address, self.address_key) if shared is None else shared
        self.address = listener.getsockname()[:2]
        if not self._is_shared:
            self._acceptor = self.backend.spawn(self._accept_all, listener)
        _log.info("listening on %s", self.url)

    def serve(self) -> None:
        """Answer everything from now on."""
        self._is_serving = True
        # What comes to several processes is for those that are up; while none is, it waits.
        if self._is_shared and self._listener is not None:
            self._acceptor = self.backend.spawn(self._accept_all, self._listener)

    def health(self) -> str | None:
        """Say when the server has stopped to listen, and nobody else goes on."""
        is_served = self._listener is not None or (self._is_stopping and self._process.others_serve_on)
        return None if is_served else f"the web server does not listen on {self.address_key}"

    def health_answer(self) -> Answer:
        """Give the answer to ``GET /health``: 200, or 503 with one line for each thing that is not well."""
        reasons = self.resources.health()
        if self._is_stopping and not self._process.others_serve_on:
            reasons = ["the services are stopping"]
        elif not self._is_serving and not reasons:
            reasons = ["the services are starting"]
        state = {"status": "unavailable", "reasons": reasons} if reasons else {"status": "ok"}
        fields = [("Content-Type", JSON), ("Cache-Control", "no-store")]
        return Answer(503 if reasons else 200, fields, encode_json(state))

    def find(self, head: Head, connection: Connection) -> tuple[Responder, dict[str, Any]]:
        """Give who answers a request, and what its URL says; raises HTTPException where nobody does."""
        if head.raw_path == "/health" and head.method in ("GET", "HEAD"):
            if not self._is_serving or not self.routes.has_health:
                return self._respond_health, {}
        elif connection.is_spare:
            raise unavailable("All connections are taken.")
        if not self._is_serving:
            raise unavailable("The services are starting.")
        return self.look_up(head)

    def _respond_health(self, request: object) -> Answer:
        return self.health_answer()

    def _accept_all(self, listener: socket_types.socket) -> None:
        fileno = listener.fileno()
        while True:
            try:
                if not self._accept(listener):
                    hubs.trampoline(fileno, read=True)
                elif self._is_shared:
                    # One at a time: who takes all that wait has them all to serve, while the others idle.
                    self.backend.sleep(0)
            except OSError as exc:
                if exc.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                _log.warning("cannot accept a connection: %s; raise the limit of open files", exc)
                self._close_oldest(self._idle)
                self.backend.sleep(0.1)

    def _accept(self, listener: socket_types.socket) -> bool:
        """Accept a connection; False where none waits for that."""
        try:
            sock, peer = listener.accept()
        except BlockingIOError:
            return False
        except ConnectionError:
            return True  # the client was gone before its turn
        self._open(sock, peer)
        return True

    def _accept_waiting(self, listener: socket_types.socket) -> None:
        """Accept what the system has let in already, and would reset with the listener."""
        try:
            while self._accept(listener):
                continue
        except OSError as exc:
            _log.warning("connections that were waiting for their turn are reset: %s", exc)

    def _open(self, sock: socket_types.socket, peer: tuple[Any, ...]) -> None:
        sock.setblocking(False)
        is_spare = False
        if len(self._connections) >= self.config.http_max_connections and not self._make_room():
            is_spare = True
            if len(self._spare) >= _SPARE:
                self._close_oldest(self._spare)
        watch = self.backend.watch(sock.fileno())
        assert watch is not None, "HTTP is served by greenlets"
        connection = Connection(GreenStream(sock, watch, peer, self.address), self, is_spare=is_spare)
        (self._spare if is_spare else self._connections)[connection] = None
        self._all_closed = self.backend.event() if self._all_closed.is_set() else self._all_closed
        if self._sweep is None:
            self._sweep = self.backend.call_later(self._sweep_interval, self._expire)
        self.backend.start(self._run, connection)

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            for known in (self._connections, self._spare, self._idle):
                known.pop(connection, None)
            if not self._connections and not self._spare:
                self._all_closed.set()

    def _make_room(self) -> bool:
        """Close the connection that has idled longest, unless its client is likely to go on in a moment."""
        oldest = next(iter(self._idle), None)
        if oldest is None or monotonic() - oldest.idle_since < RESTED:
            return False
        return self._close_oldest(self._idle)

    @staticmethod
    def _close_oldest(connections: dict[Connection, None]) -> bool:
        oldest = next(iter(connections), None)
        if oldest is None:
            return False
        del connections[oldest]
        oldest.expire()
        return True

    def _end_overdue(self) -> None:
        now = monotonic()
        for connection in [*self._connections, *self._spare]:
            if connection.deadline <= now:
                connection.expire()

    def _expire(self) -> None:
        self._end_overdue()
        self._sweep = None
        if self._connections or self._spare:
            self._sweep = self.backend.call_later(self._sweep_interval, self._expire)

    def became_idle(self, connection: Connection) -> None:
        """Note that a connection waits for its client's next request."""
        self._idle[connection] = None

    def became_busy(self, connection: Connection) -> None:
        """Note that a request has begun to come."""
        self._idle.pop(connection, None)

    def stop_accepting(self) -> None:
        """Accept no more connections, close those that idle; what runs, or is about to come, is answered."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._stop_began = monotonic()
        if self._acceptor is not None:
            self._acceptor.kill()
        if self._listener is not None:
            if not self._process.others_serve_on:
                self._accept_waiting(self._listener)
            self._listener.close()
        self._listener = None
        for connection in [*self._connections, *self._spare]:
            connection.finish()

    def drain(self, deadline: float) -> None:
        """Take requests that may be on their way, for a moment, and those that are being read.

        For these there is half of the time; the other half is for answering them.
        """
        self.stop_accepting()
        now = monotonic()
        latest = now + (deadline - now) / 2
        while any(connection.awaits_request for connection in [*self._connections, *self._spare]):
            if monotonic() >= latest:
                return
            self.backend.sleep(_LOOK)
            self._end_overdue()

    def stop(self) -> None:
        """Let answers that are under way reach their clients, for what is left of ``shutdown_timeout``."""
        self.stop_accepting()
        left = self._stop_began + self.config.shutdown_timeout - monotonic()
        if not self._all_closed.wait(max(0.1, left)):
            self.kill()

    def kill(self) -> None:
        """Break all connections."""
        self.stop_accepting()
        for connection in [*self._connections, *self._spare]:
            connection.stream.abort()
        if self._sweep is not None:
            self._sweep.cancel()


class HealthServer(WebServer):
    """Answers ``GET /health`` on an address of its own, ``health_address``, with or without web entrypoints."""

    address_key = "health_address"

    def drain(self, deadline: float) -> None:
        """Go on: whoever asks for the health is told that the services stop, unless other processes go on."""
        if self._process.others_serve_on:
            super().drain(deadline)
