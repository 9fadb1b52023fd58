"""Keys of idempotent calls, and the claims that a process has on them."""

import logging
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from waiting import wait_until

from rpcservice import MissingKey, StoreUnavailable, WorkerContext
from rpcservice.core.idempotency import BATCH, Claim, Claims, Holding, State, check_idempotent, make_key
from rpcservice.testing import FakeHost


class Store:
    """Gives what a test has put into it, and notes what it is asked."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.renewed: list[Holding] = []
        self.finished: list[tuple[Holding, bytes]] = []
        self.released: list[Holding] = []
        self.expired = 0
        self.batches: list[int] = []
        self.error: Exception | None = None
        self.is_first = True

    def _ask(self) -> None:
        if self.error is not None:
            raise self.error

    def start(self) -> None:
        self._ask()

    def claim(self, holding: Holding, seconds: float) -> bytes | State:
        self._ask()
        return self.found.pop(0) if self.found else State.CLAIMED

    def renew(self, holdings: Iterable[Holding], seconds: float) -> None:
        self._ask()
        self.renewed.extend(holdings)

    def finish(self, holding: Holding, outcome: bytes, seconds: float, connection: Any = None) -> bool:
        self._ask()
        self.finished.append((holding, outcome))
        return self.is_first

    def release(self, holding: Holding) -> None:
        self._ask()
        self.released.append(holding)

    def remove_expired(self, limit: int) -> int:
        removed = min(limit, self.expired)
        self.expired -= removed
        self.batches.append(removed)
        return removed


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr("rpcservice.reliability.stores.open_store", lambda url, resources: store)
    return store


@pytest.fixture
def claiming() -> FakeHost:
    """A host whose claims lapse soon."""
    host = FakeHost(config={"idempotency_store": "memory:", "idempotency_lease": 0.1})
    host.is_stopping = False  # type: ignore[attr-defined]  # which a container has
    return host


@pytest.fixture
def claims(store: Store, claiming: FakeHost) -> Iterator[Claims]:
    claims = claiming.resource(Claims)
    claims.start()
    yield claims
    claims.stop()


@pytest.fixture
def ctx(claiming: FakeHost) -> WorkerContext:
    return claiming.context(None, ("tea", 3), message=SimpleNamespace(properties={"message_id": "m-1"}))


def claimed(claims: Claims, ctx: WorkerContext, key: str = "key") -> Claim:
    claim = claims.claim(ctx, key)
    assert isinstance(claim, Claim)
    return claim


# Keys


def test_a_key_is_of_service_method_and_message(ctx: WorkerContext) -> None:
    assert make_key(ctx, True) == "service:method:m-1"


def test_a_function_gets_the_arguments(ctx: WorkerContext) -> None:
    assert make_key(ctx, lambda what, count: f"{what} {count}") == "service:method:tea 3"


@pytest.mark.parametrize(
    ("given", "key"), [(7, "7"), (0, "0"), (UUID(int=7), str(UUID(int=7))), ("a:b/ä%", "a%3Ab/%C3%A4%25")]
)
def test_texts_numbers_and_ids_are_keys(ctx: WorkerContext, given: Any, key: str) -> None:
    assert make_key(ctx, lambda *args: given) == f"service:method:{key}"


@pytest.mark.parametrize("given", [None, "", False, 1.0, b"bytes", ("a", 1)])
def test_anything_else_is_none(ctx: WorkerContext, given: Any) -> None:
    with pytest.raises(MissingKey, match="it has to be a text, a whole number or a UUID"):
        make_key(ctx, lambda *args: given)


@pytest.mark.parametrize("properties", [{}, {"message_id": ""}, {"message_id": None}])
def test_a_message_without_an_id_has_no_key(ctx: WorkerContext, properties: dict[str, Any]) -> None:
    ctx.message.properties = properties
    with pytest.raises(MissingKey, match="this message has none"):
        make_key(ctx, True)


def test_a_long_key_is_kept_as_its_hash(ctx: WorkerContext) -> None:
    keys = {make_key(ctx, lambda *args, end=end: "x" * 1000 + end) for end in "ab"}
    assert len(keys) == 2
    assert all(key.startswith("sha256:") and len(key) == 71 for key in keys)


def test_a_text_that_is_no_unicode_is_a_key(ctx: WorkerContext) -> None:
    assert make_key(ctx, lambda *args: "\ud800") == "service:method:%ED%A0%80"


def test_parts_of_keys_are_not_mixed_up(ctx: WorkerContext) -> None:
    ctx.container.service_name = "service:method"
    one = make_key(ctx, lambda *args: "id")
    ctx.container.service_name = "service"
    assert make_key(ctx, lambda *args: "method:id") != one


@pytest.mark.parametrize("given", [None, False])
def test_nothing_is_not_idempotent(given: Any) -> None:
    assert check_idempotent(given) is None


# Claims


def test_an_outcome_is_given_at_once(claims: Claims, store: Store, ctx: WorkerContext) -> None:
    store.found = [b"outcome"]
    assert claims.claim(ctx, "key") == b"outcome"


def test_the_store_is_asked_until_it_knows(claims: Claims, store: Store, ctx: WorkerContext) -> None:
    store.found = [State.RUNNING, State.RUNNING, b"outcome"]
    assert claims.claim(ctx, "key") == b"outcome"
    assert store.found == []


def test_who_waits_in_the_same_process_gets_the_outcome_without_the_store(
    claims: Claims, store: Store, ctx: WorkerContext
) -> None:
    claim = claimed(claims, ctx)
    waiting: list[Any] = []
    claims.backend.spawn(lambda: waiting.append(claims.claim(ctx, "key")))
    claims.backend.sleep(0.01)
    claims.finish(claim, b"outcome")
    store.error = StoreUnavailable("it is not to be asked")
    wait_until(lambda: waiting)
    assert waiting == [b"outcome"]


def test_a_released_claim_is_that_of_the_next_who_waits(claims: Claims, store: Store, ctx: WorkerContext) -> None:
    claim = claimed(claims, ctx)
    waiting: list[Any] = []
    for _ in range(3):
        claims.backend.spawn(lambda: waiting.append(claims.claim(ctx, "key")))
    claims.backend.sleep(0.01)
    claims.release(claim)
    wait_until(lambda: waiting)
    assert store.released == [claim.holding]
    assert len(waiting) == 1
    claims.finish(waiting[0], b"outcome")
    wait_until(lambda: len(waiting) == 3)
    assert waiting[1:] == [b"outcome"] * 2


def test_a_store_that_cannot_be_asked_leaves_nothing_claimed(claims: Claims, store: Store, ctx: WorkerContext) -> None:
    store.error = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        claims.claim(ctx, "key")
    store.error = None
    claimed(claims, ctx)


def test_what_is_held_is_renewed_and_nothing_else(claims: Claims, store: Store, ctx: WorkerContext) -> None:
    done, held = claimed(claims, ctx, "done"), claimed(claims, ctx, "held")
    claims.finish(done, b"")
    wait_until(lambda: len(store.renewed) >= 2)
    assert set(store.renewed) == {held.holding}
    claims.release(held)


def test_renewing_goes_on_after_an_outage(
    claims: Claims, store: Store, ctx: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    claim = claimed(claims, ctx)
    store.error = StoreUnavailable("away")
    wait_until(lambda: "the claims on idempotent calls cannot be renewed: away" in caplog.text)
    store.error = None
    wait_until(lambda: store.renewed)
    claims.release(claim)


def test_the_health_of_the_process_says_that_the_store_is_away(
    claims: Claims, store: Store, ctx: WorkerContext
) -> None:
    assert claims.health() is None
    store.error = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        claims.claim(ctx, "key")
    assert claims.health() == "away"
    store.error = None
    wait_until(lambda: claims.health() is None)


def test_expired_outcomes_are_removed_in_batches(claims: Claims, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpcservice.core.idempotency.CLEANING", 0)
    store.expired = 2 * BATCH + 1
    wait_until(lambda: len(store.batches) == 4)
    assert store.batches[:4] == [BATCH, BATCH, 1, 0]


def test_a_release_that_fails_lets_the_claim_lapse(
    claims: Claims, store: Store, ctx: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    claim = claimed(claims, ctx)
    store.error = StoreUnavailable("away")
    claims.release(claim)
    assert "its claim lapses in 0.1 s: away" in caplog.text
    store.error = None
    claimed(claims, ctx)


def test_a_method_that_has_run_twice_is_an_error_in_the_log(
    claims: Claims, store: Store, ctx: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_first = False
    claims.finish(claimed(claims, ctx), b"outcome")
    assert "its claim had lapsed, and another worker has run it too" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR
