"""Database: a session for each worker, whose transaction ends as the call does."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text
from waiting import wait_until

from rpcservice import ConfigError, ContainerBeingKilled, Database, DependencyProvider, ServiceContainer, WorkerContext
from rpcservice.concurrency import green
from rpcservice.reliability.engines import Engine, Turns, full_url, identity
from rpcservice.testing import dummy, entrypoint_hook

Run = Callable[..., Any]


class Breaks(DependencyProvider):
    """Fails when it is handed a result."""

    def worker_result(self, *args: Any) -> None:
        raise RuntimeError("cannot be committed")


class Shop:
    name = "shop"
    database = Database()

    @dummy
    def run(self, function: Callable[[Any], Any]) -> Any:
        return function(self.database)


class Unready(DependencyProvider):
    """Fails before the database has its turn."""

    def get_dependency(self, ctx: WorkerContext) -> None:
        raise RuntimeError("not ready")


class Unlucky(Shop):
    a_provider = Unready()
    database = Database()


class Broken(Shop):
    breaks = Breaks()
    database = Database()


@pytest.fixture
def make(container_factory: Callable[..., ServiceContainer], database_url: str) -> Callable[..., Run]:
    """Start a service with a table ``sales``; gives what runs a function with a session in a worker."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE sales (id INTEGER PRIMARY KEY, what TEXT)"))
    engine.dispose()

    def start(service: type = Shop, **settings: Any) -> Run:
        container = container_factory(service, {"sql_databases": {"default": database_url}, **settings})
        container.start()

        def run(function: Callable[[Any], Any]) -> Any:
            with entrypoint_hook(container, "run") as hook:
                return hook(function)

        run.container = container  # type: ignore[attr-defined]  # for tests that look into it
        return run

    return start


def sell(number: int) -> Callable[[Any], None]:
    def function(session: Any) -> None:
        session.execute(text("INSERT INTO sales VALUES (:id, 'tea')"), {"id": number})

    return function


def count(session: Any) -> int:
    found: int = session.execute(text("SELECT count(*) FROM sales")).scalar_one()
    return found


def test_what_a_method_does_is_committed(make: Callable[..., Run]) -> None:
    run = make()
    run(sell(1))
    assert run(count) == 1


def test_what_a_failed_method_has_done_is_rolled_back(make: Callable[..., Run]) -> None:
    run = make()

    def fail(session: Any) -> None:
        sell(1)(session)
        raise ValueError("no tea")

    with pytest.raises(ValueError, match="no tea"):
        run(fail)
    assert run(count) == 0


def test_a_failed_commit_is_the_outcome(make: Callable[..., Run], database_url: str) -> None:
    """By a constraint that is looked at when the transaction ends."""
    run = make()
    deferred = "CREATE TABLE bills (sale INTEGER REFERENCES sales (id) DEFERRABLE INITIALLY DEFERRED)"
    run(lambda session: session.execute(text(deferred)))

    def bill(session: Any) -> None:
        if "sqlite" in database_url:
            session.execute(text("PRAGMA defer_foreign_keys = ON"))
        session.execute(text("INSERT INTO bills VALUES (7)"))

    if "sqlite" in database_url:
        engine = run.container.resources.get(Engine, full_url(database_url, "")).engine  # type: ignore[attr-defined]
        sqlalchemy.event.listen(engine, "connect", lambda raw, record: raw.execute("PRAGMA foreign_keys = ON"))
        engine.dispose()
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        run(bill)
    assert run(lambda session: session.execute(text("SELECT count(*) FROM bills")).scalar_one()) == 0


def test_a_provider_before_it_that_fails_has_it_rolled_back(make: Callable[..., Run]) -> None:
    """Providers are handed the result in the order of their names."""
    run = make(Broken)
    with pytest.raises(RuntimeError, match="cannot be committed"):
        run(sell(1))
    with pytest.raises(RuntimeError):
        run(lambda session: pytest.fail("there is a sale") if count(session) else None)


def test_a_worker_that_gets_no_session_ends_with_the_error_that_is_why(
    make: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    run = make(Unlucky)
    with pytest.raises(RuntimeError, match="not ready"):
        run(count)
    assert "KeyError" not in caplog.text


def test_workers_have_sessions_of_their_own(make: Callable[..., Run]) -> None:
    run = make()
    sessions: list[Any] = []
    run(sessions.append)
    run(sessions.append)
    assert sessions[0] is not sessions[1]


def test_connections_are_given_back(make: Callable[..., Run]) -> None:
    run = make(max_workers=2)
    for number in range(10):
        run(sell(number))
    pool = run.container.resources.get(Engine, run.container.dependencies[0].database_url).engine.pool  # type: ignore[attr-defined]
    assert pool.checkedout() == 0


def test_fifty_workers_write_at_once(make: Callable[..., Run]) -> None:
    run = make(max_workers=50)
    done: list[int] = []

    def work(number: int) -> None:
        run(lambda session: (count(session), green().sleep(0.002), sell(number)(session)))
        done.append(number)

    for number in range(100):
        green().spawn(work, number)
    wait_until(lambda: len(done) == 100, timeout=30)
    assert run(count) == 100


def test_others_run_while_one_waits_for_the_database(make: Callable[..., Run]) -> None:
    run = make()
    run(sell(1))
    opened, gate = green().event(), green().event()
    done: list[str] = []

    def hold(session: Any) -> None:
        session.execute(text("UPDATE sales SET what = 'coffee'"))
        opened.set()
        gate.wait(20)

    green().spawn(run, hold)
    assert opened.wait(10)
    green().spawn(lambda: done.append(run(lambda session: session.execute(text("UPDATE sales SET what = 'milk'")))))
    # The loop turns, though the second one waits for the row.
    green().sleep(0.2)
    assert done == []
    gate.set()
    wait_until(lambda: done)
    assert run(lambda session: session.execute(text("SELECT what FROM sales")).scalar_one()) == "milk"


def test_a_worker_that_never_uses_it_takes_no_connection(make: Callable[..., Run]) -> None:
    run = make()
    run(lambda session: None)
    pool = run.container.resources.get(Engine, run.container.dependencies[0].database_url).engine.pool  # type: ignore[attr-defined]
    assert pool.checkedin() == pool.checkedout() == 0


def test_a_database_that_is_not_configured_is_named(container_factory: Callable[..., ServiceContainer]) -> None:
    with pytest.raises(ConfigError, match=r"shop\.database is the database 'default', and sql_databases has none"):
        container_factory(Shop, {}).start()


def test_a_url_may_be_given_in_its_place(container_factory: Callable[..., ServiceContainer], sqlite_url: str) -> None:
    class Own:
        name = "own"
        database = Database(url=sqlite_url)

        @dummy
        def run(self) -> Any:
            return self.database.execute(text("SELECT 1")).scalar_one()

    container = container_factory(Own, {})
    container.start()
    with entrypoint_hook(container, "run") as run:
        assert run() == 1


def test_options_are_those_of_a_session(container_factory: Callable[..., ServiceContainer], sqlite_url: str) -> None:
    class Own:
        name = "own"
        database = Database("sales", expire_on_commit=False)

        @dummy
        def run(self) -> Any:
            return self.database.expire_on_commit

    container = container_factory(Own, {"sql_databases": {"sales": sqlite_url}})
    container.start()
    with entrypoint_hook(container, "run") as run:
        assert run() is False


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("postgresql://me:one@db/shop", "postgresql+psycopg2://you:two@db:5432/shop", True),
        ("postgresql://db/shop", "postgresql://db/other", False),
        ("postgresql://db/shop", "postgresql://db:5433/shop", False),
        ("sqlite:///a.db", "sqlite:///./a.db", True),
        ("sqlite:///a.db", "sqlite:///b.db", False),
    ],
)
def test_databases_are_the_same_by_host_port_and_name(one: str, other: str, is_same: bool) -> None:
    assert (identity(full_url(one, "")) == identity(full_url(other, ""))) is is_same


# SQLite, which has one writer at a time


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have transactions wait for another one for a moment only."""
    monkeypatch.setattr("rpcservice.reliability.engines.SQLITE_TIMEOUT", 0.2)


@pytest.fixture
def sqlite_shop(container_factory: Callable[..., ServiceContainer], sqlite_url: str) -> Iterator[Run]:
    container = container_factory(Shop, {"sql_databases": {"default": sqlite_url}})
    container.start()

    def run(function: Callable[[Any], Any]) -> Any:
        with entrypoint_hook(container, "run") as hook:
            return hook(function)

    run(lambda session: session.execute(text("CREATE TABLE sales (id INTEGER PRIMARY KEY, what TEXT)")))
    yield run


def test_values_of_statements_are_not_in_errors(sqlite_shop: Run, caplog: pytest.LogCaptureFixture) -> None:
    """They go into logs, and to callers."""
    card = "-".join(["4242"] * 4)
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        sqlite_shop(lambda session: session.execute(text("INSERT INTO nowhere VALUES (:card)"), {"card": card}))
    assert card not in str(caught.value)
    assert card not in caplog.text


def test_a_worker_that_waits_too_long_for_another_fails(sqlite_shop: Run, short_patience: None) -> None:
    opened, gate = green().event(), green().event()

    def hold(session: Any) -> None:
        sell(1)(session)
        opened.set()
        gate.wait(20)

    holding = green().spawn(sqlite_shop, hold)
    assert opened.wait(10)
    with pytest.raises(sqlalchemy.exc.OperationalError, match="another worker has had a transaction"):
        sqlite_shop(sell(2))
    gate.set()
    assert holding.wait(10)
    sqlite_shop(sell(3))
    assert sqlite_shop(count) == 2


def test_a_worker_waits_for_another_process(sqlite_shop: Run, sqlite_url: str) -> None:
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done: list[Any] = []
    green().spawn(lambda: done.append(sqlite_shop(sell(1))))
    green().sleep(0.2)
    assert done == []
    other.execute("COMMIT")
    wait_until(lambda: done)
    other.close()


def test_a_worker_that_waits_too_long_for_another_process_fails(
    sqlite_shop: Run, sqlite_url: str, short_patience: None
) -> None:
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="database is locked"):
        sqlite_shop(sell(1))
    other.execute("COMMIT")
    sqlite_shop(sell(1))
    assert sqlite_shop(count) == 1
    other.close()


def test_a_killed_worker_leaves_the_database_to_others(
    container_factory: Callable[..., ServiceContainer], sqlite_url: str, sqlite_shop: Run
) -> None:
    container = container_factory(Shop, {"sql_databases": {"default": sqlite_url}})
    container.start()
    opened = green().event()

    def hold(session: Any) -> None:
        sell(1)(session)
        opened.set()
        green().event().wait(20)

    with entrypoint_hook(container, "run") as hook:
        green().spawn(_quietly, hook, hold)
        assert opened.wait(10)
        container.kill()
    sqlite_shop(sell(1))
    assert sqlite_shop(count) == 1


def _quietly(call: Callable[..., Any], *args: Any) -> None:
    with suppress(ContainerBeingKilled):
        call(*args)


def test_turns_are_taken_in_order_and_none_is_lost() -> None:
    turns, backend = Turns(green()), green()
    order: list[int] = []
    assert turns.take(1)

    def work(number: int) -> None:
        if turns.take(0.05 if number == 1 else 10):
            order.append(number)
            backend.sleep(0.01)
            turns.give_back()

    tasks = [backend.spawn(work, number) for number in range(4)]
    backend.sleep(0.1)
    killed = backend.spawn(work, 9)
    backend.sleep(0.01)
    killed.kill()
    turns.give_back()
    assert all(task.wait(10) for task in tasks)
    assert order == [0, 2, 3]
    assert turns.take(0)
