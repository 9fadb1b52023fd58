"""Services written for nameko whose methods are made idempotent: what they keep is committed before it is answered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from kombu import Queue
from sqlalchemy import text
from waiting import wait_until

from rpcservice import Database
from rpcservice.compat.nameko.events import event_handler
from rpcservice.compat.nameko.extensions import DependencyProvider
from rpcservice.compat.nameko.messaging import consume
from rpcservice.compat.nameko.rpc import rpc
from rpcservice.compat.nameko.runners import ServiceRunner

Serve = Callable[..., ServiceRunner]
JSON = {"content_type": "application/json", "content_encoding": "utf-8"}
REQUEST = b'{"args": ["tea"], "kwargs": {}}'


class Journal(DependencyProvider):
    """Notes the hooks of nameko; the first ``failures`` results are refused."""

    failures = 0
    seen: list[Any] = []

    def worker_setup(self, worker_ctx: Any) -> None:
        self.seen.append("setup")

    def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
        self.seen.append(("result", result, exc_info and exc_info[0].__name__))
        if Journal.failures:
            Journal.failures -= 1
            raise RuntimeError("cannot be committed")

    def worker_teardown(self, worker_ctx: Any) -> None:
        self.seen.append("teardown")


class Shop:
    name = "shop"
    a_journal = Journal()
    database = Database()
    runs: list[Any] = []

    @rpc(idempotent=True)
    def buy(self, what: Any) -> Any:
        self.runs.append(what)
        self.database.execute(text("INSERT INTO sales VALUES (:what)"), {"what": what})
        return {"run": len(self.runs)}

    @event_handler("orders", "placed", idempotent=True)
    def bill(self, what: Any) -> None:
        self.runs.append(what)

    @consume(Queue("parcels"), idempotent=True)
    def pack(self, what: Any) -> None:
        self.runs.append(what)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The database of the services, and its store."""
    Shop.runs, Journal.seen, Journal.failures = [], [], 0
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE sales (what TEXT)"))
    engine.dispose()
    return url


@pytest.fixture
def shop(serve: Serve, url: str) -> ServiceRunner:
    return serve(Shop, rpcservice={"sql_databases": {"default": url}, "idempotency_store": url})


def buy(wire: Any) -> Any:
    return json.loads(wire.request("shop.buy", REQUEST, message_id="m-1").body)


def sales(url: str) -> int:
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        count: int = connection.execute(text("SELECT count(*) FROM sales")).scalar_one()
    engine.dispose()
    return count


def test_a_request_is_run_once_and_answered_again(shop: ServiceRunner, wire: Any, url: str) -> None:
    assert [buy(wire) for _ in range(3)] == [{"result": {"run": 1}, "error": None}] * 3
    assert sales(url) == 1
    assert Journal.seen == ["setup", ("result", {"run": 1}, None), "teardown"]


def test_a_commit_that_fails_is_the_answer_and_leaves_no_outcome(shop: ServiceRunner, wire: Any, url: str) -> None:
    Journal.failures = 1
    assert buy(wire)["error"]["exc_type"] == "RuntimeError"
    assert sales(url) == 0
    assert buy(wire) == {"result": {"run": 2}, "error": None}
    assert sales(url) == 1


@pytest.mark.parametrize(("exchange", "key"), [("orders.events", "placed"), ("", "parcels")])
def test_messages_are_handled_once(shop: ServiceRunner, wire: Any, exchange: str, key: str) -> None:
    for message_id in ("m-1", "m-1", "m-2"):
        wire.publish(exchange, key, json.dumps(message_id).encode(), message_id=message_id, **JSON)
    wait_until(lambda: "m-2" in Shop.runs)
    assert Shop.runs == ["m-1", "m-2"]


def test_a_request_without_a_key_is_refused(shop: ServiceRunner, wire: Any) -> None:
    assert json.loads(wire.request("shop.buy", REQUEST).body)["error"]["exc_type"] == "MissingKey"
    assert Shop.runs == []


def test_a_late_request_is_answered_and_not_run(shop: ServiceRunner, wire: Any) -> None:
    """As one that is not idempotent is."""
    reply = wire.request("shop.buy", REQUEST, message_id="m-1", headers={"rpcservice-deadline": 1000})
    assert json.loads(reply.body)["error"]["exc_type"] == "DeadlineExceeded"
    assert Shop.runs == []
