"""Idempotent calls with each kind of store: many at once, and a store that goes away."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from servers import redis_server
from waiting import wait_until

from rpcservice import RemoteError, ServiceContainer, WorkerContext, event_handler
from rpcservice import rpc as rpc_method
from rpcservice.concurrency import green


class Shop:
    name = "shop"
    runs: list[Any] = []
    gate = green().event()

    @event_handler("orders", "placed", idempotent=lambda order: order["id"])
    def bill(self, order: Any) -> None:
        self.runs.append(order["id"])
        green().sleep(0.01)

    @rpc_method(idempotent=lambda what: what)
    def buy(self, what: str) -> Any:
        self.runs.append(what)
        self.gate.wait(20)
        return [what, len(self.runs)]


class Counting:
    """Counts the calls that are done with."""

    def __init__(self) -> None:
        self.done = 0

    def around_worker(self, ctx: WorkerContext, call_next: Callable[[Any], Any]) -> Any:
        try:
            return call_next(ctx)
        finally:
            self.done += ctx.entrypoint.method_name == "bill"


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    Shop.runs, Shop.gate = [], green().event()
    Shop.gate.set()
    yield
    Shop.gate.set()


@pytest.fixture
def start(container_factory: Callable[..., ServiceContainer]) -> Callable[..., ServiceContainer]:
    def make(url: str, **settings: Any) -> ServiceContainer:
        container = container_factory(Shop, {"idempotency_store": url, **settings})
        container.start()
        return container

    return make


def test_a_thousand_duplicates_under_fifty_workers(
    start: Callable[..., ServiceContainer], store_url: str, dispatch: Any
) -> None:
    container = start(store_url, max_workers=50)
    counting = Counting()
    container.hooks.append(counting)
    for number in range(1000):
        dispatch("orders", "placed", {"id": number % 50})
    wait_until(lambda: counting.done == 1000, timeout=60)
    assert sorted(Shop.runs) == list(range(50))


def test_results_are_given_again_after_a_restart(
    start: Callable[..., ServiceContainer], store_url: str, rpc: Any
) -> None:
    first = start(store_url)
    assert rpc.shop.buy("tea") == ["tea", 1]
    assert rpc.shop.buy("tea") == ["tea", 1]
    first.stop()
    start(store_url)
    again = 2 if store_url == "memory:" else 1
    assert rpc.shop.buy("tea") == ["tea", again]


@pytest.fixture
def redis_to_stop() -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL of a Redis server, and what ends it."""
    with ExitStack() as stack:
        url = stack.enter_context(redis_server())
        yield url, stack.close


def test_nothing_is_run_while_the_store_is_away(
    start: Callable[..., ServiceContainer], redis_to_stop: Any, rpc: Any
) -> None:
    url, stop = redis_to_stop
    start(url)
    stop()
    with pytest.raises(RemoteError, match="StoreUnavailable the store of idempotent calls: ConnectionError"):
        rpc.shop.buy("tea")
    assert Shop.runs == []


def test_what_has_run_is_answered_though_its_outcome_cannot_be_kept(
    start: Callable[..., ServiceContainer], redis_to_stop: Any, rpc: Any, caplog: pytest.LogCaptureFixture
) -> None:
    url, stop = redis_to_stop
    start(url)
    Shop.gate.clear()
    call = rpc.shop.buy.call_async("tea")
    wait_until(lambda: Shop.runs)
    stop()
    Shop.gate.set()
    assert call.result() == ["tea", 1]
    assert "its outcome is not kept, so that a duplicate would be run again" in caplog.text
