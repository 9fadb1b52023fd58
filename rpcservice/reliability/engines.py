"""Engine, one pool of connections for each database of a process, made with SQLAlchemy; and SQLite without lockouts."""

import logging
import os
import sqlite3
from collections import deque
from time import monotonic
from typing import Any

from rpcservice.concurrency import Backend, Event
from rpcservice.core.resource import Resource
from rpcservice.errors import ConfigError, MissingExtra
from rpcservice.reliability.sql import Session, event, make_url, sqlalchemy

SQLITE_TIMEOUT = 30.0
"""Seconds that a transaction waits for the one that another worker or another process has in a SQLite database."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05
_TURN = "rpcservice_turn"
_BEGIN = "BEGIN IMMEDIATE"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}

_log = logging.getLogger(__name__)


def full_url(url: str, what: str) -> str:
    """Give the URL of a database with all its parts in their usual order, the password too.

    Args:
        url: As it was written.
        what: The setting, for the message.

    Raises:
        ConfigError: It is none.
    """
    try:
        made = make_url(url)
        made.get_dialect()
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ValueError) as exc:
        # Without the cause, which shows the URL.
        raise ConfigError(f"{what} is no URL of a database that SQLAlchemy knows: {type(exc).__name__}") from None
    if made.get_backend_name() == "sqlite":
        if made.database in (None, "", ":memory:"):
            raise ConfigError(f"{what}: a SQLite database in memory belongs to one connection; give sqlite:///path")
        if not made.database.startswith("file:"):
            made = made.set(database=os.path.abspath(made.database))
    return made.render_as_string(hide_password=False)


def identity(url: str) -> tuple[str, str, int | None, str | None]:
    """Give what two URLs of the same database have in common, whatever their drivers and users are."""
    made = make_url(url)
    backend = made.get_backend_name()
    return backend, made.host or "", made.port or _PORTS.get(backend), made.database


class Engine(Resource):
    """An engine of SQLAlchemy; its key is the database's full URL.

    Attributes:
        engine: The engine itself. Its transactions in SQLite come one at a time, and wait without blocking the others.
    """

    key: str

    def setup(self) -> None:
        """Make the engine, which does not connect yet."""
        url = make_url(self.key)
        try:
            # Each worker has at most one connection, and so has the store; none ever waits for another.
            self.engine = sqlalchemy.create_engine(
                url,
                pool_size=self.config.max_workers,
                max_overflow=-1,
                pool_pre_ping=url.get_backend_name() != "sqlite",
                # Errors go into logs and to callers, and values may be secret.
                hide_parameters=True,
            )
        except ImportError as exc:
            raise MissingExtra(
                f"the database {url.render_as_string()} needs the package {exc.name}; install it with pip"
            ) from exc
        if self.engine.dialect.name == "sqlite":
            prepare_sqlite(self.engine, self.backend)

    def session(self, **options: Any) -> Session:
        """Make a session, which takes a connection when it is first used."""
        return Session(self.engine, **options)

    def start(self) -> None:
        """Say so where the driver does not do what services need."""
        if self.engine.dialect.driver == "psycopg" and self.backend.name == "eventlet":
            _log.warning("psycopg blocks all workers while one waits for its database; use postgresql+psycopg2://")

    def stop(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()

    kill = stop


class Turns:
    """One at a time, in order. A turn may be given back by another greenlet than the one that took it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._is_taken = False
        self._waiting: deque[Event] = deque()

    def take(self, seconds: float) -> bool:
        """Wait for a turn; False when there was none within so many seconds."""
        if not self._is_taken:
            self._is_taken = True
            return True
        granted = self._backend.event()
        self._waiting.append(granted)
        try:
            if granted.wait(seconds):
                return True
        except BaseException:
            if granted.is_set():
                self.give_back()
            raise
        finally:
            if granted in self._waiting:
                self._waiting.remove(granted)
        return granted.is_set()

    def give_back(self) -> None:
        """End a turn; the next one is that of whoever has waited longest."""
        if self._waiting:
            self._waiting.popleft().set()
        else:
            self._is_taken = False


def prepare_sqlite(engine: Any, backend: Backend) -> None:
    """Have transactions of a SQLite database come one after the other.

    SQLite lets one connection write at a time. Whoever finds another one writing waits within the library, where no
    greenlet can run, so that the other one never ends; and one that has read before it writes may not wait at all.
    """
    turns = Turns(backend)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, and not by the driver
        connection.execute("PRAGMA busy_timeout = 0")
        _execute(connection, "PRAGMA journal_mode = WAL", backend, monotonic() + SQLITE_TIMEOUT)

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        deadline = monotonic() + SQLITE_TIMEOUT
        if not turns.take(SQLITE_TIMEOUT):
            raise _error(
                _BEGIN,
                sqlite3.OperationalError(
                    f"another worker has had a transaction in this SQLite database for {SQLITE_TIMEOUT:g} s; "
                    "does it wait for this one, or for something slow?"
                ),
            )
        connection.info[_TURN] = True
        _execute(connection.connection.dbapi_connection, _BEGIN, backend, deadline)

    @event.listens_for(engine, "checkin")
    def checkin(connection: Any, record: Any) -> None:
        if connection is not None and connection.in_transaction:
            # SQLite goes on with a transaction whose commit has failed, and SQLAlchemy takes it for ended.
            connection.rollback()
        if record.info.pop(_TURN, False):
            turns.give_back()


def _execute(connection: Any, statement: str, backend: Backend, deadline: float) -> None:
    """Execute a statement, again and again while another process has the database."""
    pause = _FIRST_PAUSE
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as exc:
            is_busy = exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not is_busy or monotonic() > deadline:
                raise _error(statement, exc) from exc
        backend.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _error(statement: str, cause: Exception) -> Exception:
    """Give the error of SQLAlchemy for one of SQLite."""
    error: Exception = sqlalchemy.exc.OperationalError(statement, None, cause)
    return error
