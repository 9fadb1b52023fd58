"""A service, running, for clients with policies; and databases, each empty, for idempotent calls."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from payments import Payments
from servers import postgresql_server, redis_server

from rpcservice import ServiceContainer
from rpcservice.concurrency import green


@pytest.fixture
def payments(container_factory: Callable[..., ServiceContainer]) -> Iterator[type[Payments]]:
    """The service, running; its gate opens at the end."""
    Payments.seen, Payments.gate, Payments.first_gate = [], green().event(), green().event()
    container_factory(Payments, config={"max_workers": 300}).start()
    yield Payments
    Payments.gate.set()
    Payments.first_gate.set()


@pytest.fixture(scope="session")
def _redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture
def redis_url(_redis: str) -> str:
    """The URL of an empty Redis database."""
    from redis import Redis

    with Redis.from_url(_redis) as client:
        client.flushall()
    return _redis


@pytest.fixture(scope="session")
def _postgresql() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


@pytest.fixture
def postgresql_url(_postgresql: str) -> str:
    """The URL of an empty PostgreSQL database."""
    engine = sqlalchemy.create_engine(_postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()
    return _postgresql


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["memory", "sqlite", "redis", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store of each kind."""
    if request.param == "memory":
        return "memory:"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url
