"""SqlStore, which keeps the outcomes of idempotent calls in PostgreSQL or SQLite."""

from collections.abc import Callable, Iterable
from time import time
from typing import Any, TypeVar

from rpcservice.core.idempotency import Holding, State
from rpcservice.core.resource import Resources
from rpcservice.errors import StoreUnavailable
from rpcservice.reliability.engines import Engine, full_url, identity
from rpcservice.reliability.sql import SQLAlchemyError, postgresql, sqlite
from rpcservice.reliability.sql import sqlalchemy as sa

T = TypeVar("T")

# Two tables, for claims are renewed while the transaction runs in which the outcome is written, and a row that
# somebody else has changed cannot be written by a transaction that is isolated from it.
_METADATA = sa.MetaData()
CLAIMS = sa.Table(
    "rpcservice_claims",
    _METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
)
OUTCOMES = sa.Table(
    "rpcservice_outcomes",
    _METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("outcome", sa.LargeBinary, nullable=False),
    sa.Column("expires", sa.Double, nullable=False, index=True),
)


class _Statements:
    """The statements, built once: that costs more than to execute one.

    Args:
        dialect: The module of SQLAlchemy's dialect.
        now: The time in seconds since 1970.
    """

    def __init__(self, dialect: Any, now: Any) -> None:
        key, owner, outcome = _parameter("_key"), _parameter("_owner"), _parameter("_outcome")
        until = now + sa.bindparam("_seconds", type_=sa.Double)
        own = (CLAIMS.c.key == key, CLAIMS.c.owner == owner)
        self.claim = _insert_or_replace(dialect, CLAIMS, now, {"key": key, "owner": owner, "expires": until})
        self.renew = sa.update(CLAIMS).where(*own).values(expires=until)
        self.release = sa.delete(CLAIMS).where(*own)
        self.find = sa.select(OUTCOMES.c.outcome).where(OUTCOMES.c.key == key, OUTCOMES.c.expires > now)
        # The key is unique: of two that have run the method, the second one waits for the first, and learns of it here.
        self.keep = _insert_or_replace(dialect, OUTCOMES, now, {"key": key, "outcome": outcome, "expires": until})
        self.remove = [
            sa.delete(table).where(
                table.c.key.in_(sa.select(table.c.key).where(table.c.expires < now).limit(sa.bindparam("_limit")))
            )
            for table in (OUTCOMES, CLAIMS)
        ]


def _parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name)


def _insert_or_replace(dialect: Any, table: sa.Table, now: Any, values: dict[str, Any]) -> Any:
    """Give a statement that writes a row unless there is one that has not expired, and gives its key if it did."""
    insert = dialect.insert(table).values(values)
    replaced = {name: insert.excluded[name] for name in values if name != "key"}
    return insert.on_conflict_do_update(
        index_elements=[table.c.key], set_=replaced, where=table.c.expires < now
    ).returning(table.c.key)


class SqlStore:
    """Keeps outcomes in the tables ``rpcservice_claims`` and ``rpcservice_outcomes``, which it makes.

    Args:
        url: The database, as a URL of SQLAlchemy.
        resources: Those of the process.

    Raises:
        ConfigError: It is no such URL.
    """

    def __init__(self, url: str, resources: Resources) -> None:
        self._url = full_url(url, "idempotency_store")
        self._engine = resources.get(Engine, self._url).engine
        if self._engine.dialect.name == "sqlite":
            self._own = self._engine
            self._statements = _Statements(sqlite, sa.bindparam("_now", callable_=time, type_=sa.Double))
        else:
            # Each statement stands for itself, and without transactions there are fewer answers to wait for.
            self._own = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            # The server's time, for the clocks of hosts differ.
            now = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)
            self._statements = _Statements(postgresql, now)

    def start(self) -> None:
        """Make the tables where they are missing."""
        try:
            self._create()
        except StoreUnavailable as exc:
            # Two processes that make the same table at once: one of them is told so.
            if not isinstance(exc.__cause__, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.OperationalError):
                raise
            self._create()

    def _create(self) -> None:
        self._run(lambda connection: _METADATA.create_all(connection, checkfirst=True))

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        """Do something with a connection of its own."""
        try:
            with self._own.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, OSError) as exc:
            raise _unavailable(exc) from exc

    def claim(self, holding: Holding, seconds: float) -> bytes | State:
        """Claim a key; gives its outcome where there is one."""
        return self._run(lambda connection: self._claim(connection, holding, seconds))

    def _claim(self, connection: sa.Connection, holding: Holding, seconds: float) -> bytes | State:
        values = {**_values(holding), "_seconds": seconds}
        taken = connection.execute(self._statements.claim, values).first()
        # After the claim, for whoever had it before may have finished until then.
        known = connection.execute(self._statements.find, {"_key": holding.key}).first()
        if known is None:
            return State.RUNNING if taken is None else State.CLAIMED
        if taken is not None:
            connection.execute(self._statements.release, _values(holding))
        return bytes(known.outcome)

    def renew(self, holdings: Iterable[Holding], seconds: float) -> None:
        """Have claims last longer."""
        values = [{**_values(holding), "_seconds": seconds} for holding in holdings]
        self._run(lambda connection: [connection.execute(self._statements.renew, one) for one in values])

    def finish(self, holding: Holding, outcome: bytes, seconds: float, connection: Any = None) -> bool:
        """Keep an outcome, in a transaction of its own or in that of a connection."""
        values = {"_key": holding.key, "_outcome": outcome, "_seconds": seconds}
        if connection is not None:
            return connection.execute(self._statements.keep, values).first() is not None

        def finish(own: sa.Connection) -> bool:
            is_first = own.execute(self._statements.keep, values).first() is not None
            own.execute(self._statements.release, _values(holding))
            return is_first

        return self._run(finish)

    def release(self, holding: Holding) -> None:
        """Give a claim up."""
        self._run(lambda connection: connection.execute(self._statements.release, _values(holding)))

    def remove_expired(self, limit: int) -> int:
        """Remove outcomes, and claims of the dead, at most so many of each."""
        return self._run(
            lambda connection: max(
                connection.execute(remove, {"_limit": limit}).rowcount for remove in self._statements.remove
            )
        )

    def is_in(self, url: str) -> bool:
        """Say whether the tables are in the database with that URL."""
        return identity(url) == identity(self._url)


def _values(holding: Holding) -> dict[str, str]:
    return {"_key": holding.key, "_owner": holding.owner}


def _unavailable(error: Exception) -> StoreUnavailable:
    cause = getattr(error, "orig", None) or error
    return StoreUnavailable(f"the store of idempotent calls: {type(cause).__name__}: {str(cause).strip()}")
