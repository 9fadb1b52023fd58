"""Storage, the DependencyProvider that gives the shop's services their tables in an SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from rpcservice import DependencyProvider, Resource, WorkerContext

DEFAULT_PATH = "shop.sqlite3"
_STARTUP_TIMEOUT = 5.0
_BUSY_TIMEOUT = 0.2


class Database(Resource):
    """One SQLite file, open once in a process however many services use it; its key is the path."""

    def setup(self) -> None:
        """Open the file, with one connection that reads and one that writes."""
        self._reader = _connect(str(self.key))
        self._writer = _connect(str(self.key))
        self._writing = self.backend.lock()

    def start(self) -> None:
        """Wait only shortly for writers of other processes from now on, for nothing else runs meanwhile."""
        self._writer.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT * 1000:.0f}")

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Give the rows that a query finds."""
        return [dict(row) for row in self._reader.execute(query, values)]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give a connection to write with; all is written at the end of the block, or nothing when it raises."""
        # SQLite has one writer at a time, and one that waits for it blocks the whole process: writers queue here.
        with self._writing:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
            except BaseException:
                self._writer.rollback()
                raise
            self._writer.commit()

    def stop(self) -> None:
        """Close the file."""
        self._reader.close()
        self._writer.close()

    kill = stop


class Storage(DependencyProvider):
    """Injects the :class:`Database`, whose path is the configuration's ``shop_database``.

    Args:
        schema: SQL that makes the service's tables where they are missing.
    """

    def __init__(self, schema: str) -> None:
        self._schema = schema

    def setup(self) -> None:
        """Ask for the database and make the tables."""
        path = self.host.config.raw.get("shop_database") or DEFAULT_PATH
        self._database = self.host.resource(Database, path)
        with self._database.transaction() as connection:
            for statement in self._schema.split(";"):
                connection.execute(statement)

    def get_dependency(self, ctx: WorkerContext) -> Database:
        """Give the worker the database."""
        return self._database


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_STARTUP_TIMEOUT, isolation_level=None)
    connection.row_factory = sqlite3.Row
    _use_write_ahead_log(connection)
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Let readers and the writer go on beside each other; kept in the file, so only the first one has to switch."""
    deadline = monotonic() + _STARTUP_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            # SQLite does not wait here by itself when several processes make the file together.
            if monotonic() > deadline:
                raise
            sleep(0.01)
