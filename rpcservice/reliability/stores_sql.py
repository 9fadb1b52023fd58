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
        dialect = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        self._insert: Callable[..., Any] = dialect.insert

    def _now(self) -> Any:
        """Give the time in seconds since 1970: that of the server, for the clocks of hosts differ."""
        if self._engine.dialect.name == "sqlite":
            return sa.literal(time(), sa.Double)
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)

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
        """Do something in a transaction of its own."""
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, OSError) as exc:
            raise _unavailable(exc) from exc

    def claim(self, holding: Holding, seconds: float) -> bytes | State:
        """Claim a key; gives its outcome where there is one."""
        return self._run(lambda connection: self._claim(connection, holding, seconds))

    def _claim(self, connection: sa.Connection, holding: Holding, seconds: float) -> bytes | State:
        now = self._now()
        expires = now + seconds
        insert = self._insert(CLAIMS).values(key=holding.key, owner=holding.owner, expires=expires)
        taken = connection.execute(
            insert.on_conflict_do_update(
                index_elements=[CLAIMS.c.key],
                set_={"owner": holding.owner, "expires": expires},
                where=CLAIMS.c.expires < now,
            ).returning(CLAIMS.c.key)
        ).first()
        # After the claim, for whoever had it before may have finished until then.
        known = connection.execute(
            sa.select(OUTCOMES.c.outcome).where(OUTCOMES.c.key == holding.key, OUTCOMES.c.expires > now)
        ).first()
        if known is None:
            return State.RUNNING if taken is None else State.CLAIMED
        if taken is not None:
            connection.execute(_own(sa.delete(CLAIMS), holding))
        return bytes(known.outcome)

    def renew(self, holdings: Iterable[Holding], seconds: float) -> None:
        """Have claims last longer."""
        renewal = sa.update(CLAIMS).values(expires=self._now() + seconds)
        self._run(lambda connection: [connection.execute(_own(renewal, holding)) for holding in holdings])

    def finish(self, holding: Holding, outcome: bytes, seconds: float, connection: Any = None) -> bool:
        """Keep an outcome, in a transaction of its own or in that of a connection."""
        if connection is not None:
            return self._finish(connection, holding, outcome, seconds)

        def finish(own: sa.Connection) -> bool:
            is_first = self._finish(own, holding, outcome, seconds)
            own.execute(_own(sa.delete(CLAIMS), holding))
            return is_first

        return self._run(finish)

    def _finish(self, connection: Any, holding: Holding, outcome: bytes, seconds: float) -> bool:
        # The key is unique: of two that have run the method, the second one waits for the first, and learns of it here.
        now = self._now()
        values = {"outcome": outcome, "expires": now + seconds}
        insert = self._insert(OUTCOMES).values(key=holding.key, **values)
        statement = insert.on_conflict_do_update(
            index_elements=[OUTCOMES.c.key], set_=values, where=OUTCOMES.c.expires < now
        ).returning(OUTCOMES.c.key)
        return connection.execute(statement).first() is not None

    def release(self, holding: Holding) -> None:
        """Give a claim up."""
        self._run(lambda connection: connection.execute(_own(sa.delete(CLAIMS), holding)))

    def remove_expired(self, limit: int) -> int:
        """Remove outcomes, and claims of the dead, at most so many of each."""
        now = self._now()

        def remove(connection: sa.Connection) -> int:
            removed = []
            for table in (OUTCOMES, CLAIMS):
                old = sa.select(table.c.key).where(table.c.expires < now).limit(limit)
                removed.append(connection.execute(sa.delete(table).where(table.c.key.in_(old))).rowcount)
            return max(removed)

        return self._run(remove)

    def is_in(self, url: str) -> bool:
        """Say whether the tables are in the database with that URL."""
        return identity(url) == identity(self._url)


def _own(statement: Any, holding: Holding) -> Any:
    return statement.where(CLAIMS.c.key == holding.key, CLAIMS.c.owner == holding.owner)


def _unavailable(error: Exception) -> StoreUnavailable:
    cause = getattr(error, "orig", None) or error
    return StoreUnavailable(f"the store of idempotent calls: {type(cause).__name__}: {str(cause).strip()}")
