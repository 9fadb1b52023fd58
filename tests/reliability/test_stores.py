"""Stores of idempotent calls: each kind keeps the same promises."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from waiting import wait_until

from rpcservice.concurrency import green
from rpcservice.config import make_settings
from rpcservice.core.idempotency import Holding, IdempotencyStore, State
from rpcservice.core.resource import Resources
from rpcservice.errors import ConfigError, StoreUnavailable
from rpcservice.reliability.stores import open_store

ONE, OTHER = Holding("shop:buy:7", "one"), Holding("shop:buy:7", "other")
LONG = 60.0
SHORT = 0.05

Opened = Callable[[str], IdempotencyStore]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open stores, as processes of their own would."""
    opened: list[Resources] = []

    def make(url: str) -> IdempotencyStore:
        resources = Resources(make_settings({"idempotency_store": url}), green())
        opened.append(resources)
        store = open_store(url, resources)
        store.start()
        return store

    yield make
    for resources in opened:
        resources.stop()


@pytest.fixture
def store(opened: Opened, store_url: str) -> IdempotencyStore:
    return opened(store_url)


def test_a_key_is_claimed_by_the_first_alone(store: IdempotencyStore) -> None:
    assert store.claim(ONE, LONG) is State.CLAIMED
    assert store.claim(OTHER, LONG) is State.RUNNING
    assert store.claim(Holding("shop:buy:8", "other"), LONG) is State.CLAIMED


def test_an_outcome_is_given_to_all_who_claim_its_key(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    assert store.finish(ONE, b"\x00outcome\n\xff", LONG)
    assert store.claim(OTHER, LONG) == b"\x00outcome\n\xff"
    assert store.claim(ONE, LONG) == b"\x00outcome\n\xff"


def test_an_outcome_may_be_empty(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    store.finish(ONE, b"", LONG)
    assert store.claim(OTHER, LONG) == b""


def test_a_released_key_is_free(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    store.release(ONE)
    assert store.claim(OTHER, LONG) is State.CLAIMED


def test_nobody_releases_the_claim_of_another(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    store.release(OTHER)
    assert store.claim(OTHER, LONG) is State.RUNNING


def test_releasing_does_not_forget_an_outcome(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    store.finish(ONE, b"outcome", LONG)
    store.release(ONE)
    assert store.claim(OTHER, LONG) == b"outcome"


def test_a_claim_lapses(store: IdempotencyStore) -> None:
    store.claim(ONE, SHORT)
    wait_until(lambda: store.claim(OTHER, LONG) is State.CLAIMED)


def test_a_renewed_claim_does_not_lapse(store: IdempotencyStore) -> None:
    store.claim(ONE, SHORT)
    store.renew([ONE], LONG)
    green().sleep(2 * SHORT)
    assert store.claim(OTHER, LONG) is State.RUNNING


def test_nobody_renews_the_claim_of_another(store: IdempotencyStore) -> None:
    store.claim(ONE, SHORT)
    store.renew([OTHER], LONG)
    wait_until(lambda: store.claim(Holding(ONE.key, "third"), LONG) is State.CLAIMED)


def test_the_first_outcome_stays(store: IdempotencyStore) -> None:
    """Of two that have run the method, since the claim of the first had lapsed."""
    store.claim(ONE, SHORT)
    wait_until(lambda: store.claim(OTHER, LONG) is State.CLAIMED)
    assert store.finish(OTHER, b"other", LONG)
    assert not store.finish(ONE, b"one", LONG)
    assert store.claim(Holding(ONE.key, "third"), LONG) == b"other"


def test_who_is_late_keeps_its_outcome_where_nobody_else_has_one(store: IdempotencyStore) -> None:
    store.claim(ONE, SHORT)
    green().sleep(2 * SHORT)
    assert store.finish(ONE, b"one", LONG)
    assert store.claim(OTHER, LONG) == b"one"


def test_an_outcome_is_forgotten_when_it_has_been_kept_long_enough(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    store.finish(ONE, b"outcome", SHORT)
    wait_until(lambda: store.claim(OTHER, LONG) is State.CLAIMED)
    assert store.finish(OTHER, b"again", LONG)
    assert store.claim(ONE, LONG) == b"again"


def test_removing_leaves_what_is_still_of_use(store: IdempotencyStore) -> None:
    store.claim(ONE, LONG)
    store.finish(ONE, b"outcome", LONG)
    running = Holding("shop:buy:8", "one")
    store.claim(running, LONG)
    assert store.remove_expired(10) == 0
    assert store.claim(OTHER, LONG) == b"outcome"
    assert store.claim(Holding(running.key, "other"), LONG) is State.RUNNING


def test_expired_outcomes_are_removed_in_batches(opened: Opened, database_url: str) -> None:
    store: Any = opened(database_url)
    for number in range(5):
        holding = Holding(f"shop:buy:{number}", "one")
        store.claim(holding, LONG)
        store.finish(holding, b"outcome", SHORT)
    green().sleep(2 * SHORT)
    assert [store.remove_expired(2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"])
def test_processes_share_a_store(opened: Opened, request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    first, second = opened(url), opened(url)
    first.claim(ONE, LONG)
    assert second.claim(OTHER, LONG) is State.RUNNING
    first.finish(ONE, b"outcome", LONG)
    assert second.claim(OTHER, LONG) == b"outcome"


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgresql"])
def test_of_many_who_claim_at_once_one_gets_it(opened: Opened, request: pytest.FixtureRequest, kind: str) -> None:
    url = request.getfixturevalue(f"{kind}_url")
    stores = [opened(url) for _ in range(4)]
    found: list[Any] = []

    def claim(number: int) -> None:
        found.append(stores[number % len(stores)].claim(Holding("shop:buy:7", f"owner {number}"), LONG))

    for number in range(40):
        green().spawn(claim, number)
    wait_until(lambda: len(found) == 40)
    assert found.count(State.CLAIMED) == 1
    assert found.count(State.RUNNING) == 39


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:1/0", "postgresql+psycopg2://me:canary@127.0.0.1:1/x", "sqlite:////nowhere/at/all.db"]
)
def test_a_store_that_is_not_there_is_named_without_its_password(opened: Opened, url: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        opened(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_sqlite_database_in_memory_is_refused(opened: Opened, url: str) -> None:
    with pytest.raises(ConfigError, match="give sqlite:///path"):
        opened(url)


def test_what_is_no_url_of_redis_is_refused_without_the_password(opened: Opened) -> None:
    with pytest.raises(ConfigError, match="idempotency_store is no URL of Redis") as caught:
        opened("redis://me:canary/more@host:6379/0")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql+nodriver://me:canary@host/x", "postgresql://me:canary@host:many/x"])
def test_what_sqlalchemy_does_not_know_is_refused_without_the_password(opened: Opened, url: str) -> None:
    with pytest.raises(ConfigError, match="idempotency_store") as caught:
        opened(url)
    assert "canary" not in str(caught.value)


def test_an_outcome_is_written_by_a_transaction_that_is_isolated(opened: Opened, postgresql_url: str) -> None:
    """Though the claim has been renewed since it began."""
    store: Any = opened(postgresql_url)
    store.claim(ONE, LONG)
    with store._engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        connection.execute(sqlalchemy.text("SELECT * FROM rpcservice_claims"))
        store.renew([ONE], LONG)
        assert store.finish(ONE, b"outcome", LONG, connection)
        connection.commit()
    assert store.claim(OTHER, LONG) == b"outcome"


def test_an_outcome_is_gone_with_its_transaction(opened: Opened, database_url: str) -> None:
    store: Any = opened(database_url)
    store.claim(ONE, SHORT)
    with store._engine.connect() as connection:
        assert store.finish(ONE, b"outcome", LONG, connection)
        connection.rollback()
    wait_until(lambda: store.claim(OTHER, LONG) is State.CLAIMED)


def test_of_two_transactions_the_second_one_learns_of_the_first(opened: Opened, postgresql_url: str) -> None:
    """It waits for the first one's end, and others run meanwhile."""
    first, second = opened(postgresql_url), opened(postgresql_url)
    told: list[bool] = []

    def finish(store: Any) -> None:
        with store._engine.begin() as connection:
            told.append(store.finish(OTHER, b"other", LONG, connection))

    with first._engine.begin() as connection:  # type: ignore[attr-defined]  # of a SqlStore
        assert first.finish(ONE, b"one", LONG, connection)
        green().spawn(finish, second)
        green().sleep(0.1)
        assert told == []
    wait_until(lambda: told)
    assert told == [False]
    assert second.claim(OTHER, LONG) == b"one"
