"""Database, the dependency that gives each worker a session of SQLAlchemy in a transaction of its own."""

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from rpcservice.core.context import WorkerContext
from rpcservice.core.dependency import DependencyProvider
from rpcservice.errors import ConfigError

if TYPE_CHECKING:
    from rpcservice.reliability.sql import Session

DEFAULT = "default"


class Database(DependencyProvider):
    """Injects a session of SQLAlchemy, whose transaction is committed when the worker has succeeded.

    It begins when it is first used. It is rolled back when the method, or a provider before it by name, has
    failed, and a commit that fails is the outcome of the call. Where the database is that of ``idempotency_store``, the
    outcome of an idempotent call is committed with it. Needs ``pip install "rpcservice[sql]"``.

    Args:
        name: The database's name under ``sql_databases`` in the configuration.
        url: A URL of SQLAlchemy instead, such as ``postgresql+psycopg2://user:password@host/database``.
        session_options: Options of the session, such as ``expire_on_commit=False``.
    """

    def __init__(self, name: str = DEFAULT, *, url: str | None = None, **session_options: Any) -> None:
        self._name = name
        self._url = url
        self._session_options = session_options

    def setup(self) -> None:
        """Find the database; nothing connects yet.

        Raises:
            ConfigError: There is none of that name.
            MissingExtra: SQLAlchemy, or the driver, is not installed.
        """
        # Not before a service uses it: the package may be imported without the extra.
        from rpcservice.reliability.engines import Engine, full_url

        host = self.bound_to
        url = self._url if self._url is not None else host.config.sql_databases.get(self._name)
        if url is None:
            raise ConfigError(
                f"{host.service_name}.{self.attr_name} is the database {self._name!r}, and sql_databases has none of "
                f"that name; set sql_databases: {{{self._name}: postgresql+psycopg2://user:password@host/database}}"
            )
        self.database_url = full_url(url, f"sql_databases.{self._name}" if self._url is None else "Database(url=...)")
        self._engine = host.resource(Engine, self.database_url)
        self._sessions: WeakKeyDictionary[WorkerContext, Session] = WeakKeyDictionary()

    def get_dependency(self, ctx: WorkerContext) -> "Session":
        """Give the worker its session."""
        session = self._sessions[ctx] = self._engine.session(**self._session_options)
        return session

    def connection(self, ctx: WorkerContext) -> Any:
        """Give the connection of a worker's session, in its transaction."""
        return self._sessions[ctx].connection()

    def worker_result(self, ctx: WorkerContext, result: Any = None, error: BaseException | None = None) -> None:
        """Commit, or roll back what a failed call has done."""
        session = self._sessions.get(ctx)
        if session is None:
            return  # another provider has failed before this one had its turn
        if error is None:
            session.commit()
        else:
            session.rollback()

    def worker_teardown(self, ctx: WorkerContext) -> None:
        """Give the connection back."""
        session = self._sessions.pop(ctx, None)
        if session is not None:
            session.close()
