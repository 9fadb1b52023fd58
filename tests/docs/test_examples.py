"""The examples in docs/examples do what the guide says they do."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from documents import ROOT

from rpcservice.concurrency import green

EXAMPLES = ROOT / "docs" / "examples"
UUID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the examples importable, for one test: others have modules of the same names."""
    monkeypatch.syspath_prepend(EXAMPLES)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


@pytest.fixture
def shop(running: Callable[..., Any], tmp_path: Path) -> Callable[[], Any]:
    """Open the shop for the time of a block; its data is there again the next time."""
    services = [
        getattr(import_module(f"shop.{name}"), name.capitalize()) for name in ("orders", "products", "notifications")
    ]
    return lambda: running(*services, shop_database=str(tmp_path / "shop.sqlite3"))


@pytest.fixture
def site(shop: Callable[[], Any]) -> Iterator[Any]:
    with shop() as site:
        yield site


@pytest.fixture
def database(site: Any, tmp_path: Path) -> Any:
    """The database of the open shop."""
    from shop.storage import Database

    return site.runner.resources.get(Database, str(tmp_path / "shop.sqlite3"))


def test_hello_is_answered_by_another_service(running: Callable[..., Any]) -> None:
    hello = import_module("hello")
    with running(hello.Greeter, hello.Web) as site:
        assert site.http("GET", "/hello/world").text == "Hello, world!"


def test_an_order_is_answered_with_its_place(site: Any) -> None:
    answer = site.http("POST", "/orders", {"sku": "tea", "quantity": 2})
    assert answer.status == 201
    assert answer.headers["Location"] == f"/orders/{answer.json['id']}"
    assert answer.json == {"id": answer.json["id"], "sku": "tea", "quantity": 2, "cents": 900}


def test_an_order_can_be_looked_at(site: Any) -> None:
    placed = site.http("POST", "/orders", {"sku": "tea", "quantity": 2})
    assert site.http("GET", placed.headers["Location"]).json == placed.json


def test_orders_are_listed_in_their_order(site: Any) -> None:
    placed = [site.http("POST", "/orders", {"sku": sku, "quantity": 1}).json for sku in ("tea", "pot", "cup")]
    assert site.http("GET", "/orders").json == placed


def test_an_order_takes_from_the_stock(site: Any) -> None:
    site.http("POST", "/orders", {"sku": "pot", "quantity": 5})
    stock = {product["sku"]: product["stock"] for product in site.http("GET", "/products").json}
    assert stock == {"cup": 3, "pot": 20, "tea": 1000}


def test_more_than_there_is_is_a_conflict(site: Any) -> None:
    """The error is raised in another service, and reaches the client with its own status and text."""
    answer = site.http("POST", "/orders", {"sku": "cup", "quantity": 4}, Accept="application/json")
    assert answer.status == 409
    assert answer.json["detail"] == "4 of 'cup' were ordered, 3 are left"


def test_a_refused_order_leaves_nothing_behind(site: Any) -> None:
    site.http("POST", "/orders", {"sku": "cup", "quantity": 4})
    assert site.http("GET", "/orders").json == []
    assert site.http("POST", "/orders", {"sku": "cup", "quantity": 3}).status == 201


@pytest.mark.parametrize("path", ["/orders/1", f"/orders/{UUID}"])
def test_an_unknown_order_is_not_found(site: Any, path: str) -> None:
    answer = site.http("GET", path)
    assert answer.status == 404
    assert "there is no order" in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        [],
        {},
        {"sku": "tea"},
        {"sku": 1, "quantity": 1},
        {"sku": "tea", "quantity": 0},
        {"sku": "tea", "quantity": True},
        {"sku": "tea", "quantity": "2"},
        {"sku": "tea", "quantity": 1001},
        {"sku": "coffee", "quantity": 1},
    ],
    ids=repr,
)
def test_bad_input_is_refused(site: Any, body: object) -> None:
    assert site.http("POST", "/orders", body).status == 400


def test_the_customer_is_thanked(site: Any) -> None:
    from rpcservice.testing import entrypoint_waiter

    with entrypoint_waiter(site.runner.containers["notifications"], "thank", timeout=10):
        order = site.http("POST", "/orders", {"sku": "tea", "quantity": 2}).json
    assert site.http("GET", "/notifications").json == [
        {"order_id": order["id"], "text": "Thank you for ordering 2 of 'tea'"}
    ]


def test_a_repeated_event_thanks_once(site: Any) -> None:
    from rpcservice.testing import entrypoint_hook

    with entrypoint_hook(site.runner.containers["notifications"], "thank") as thank:
        for _ in range(2):
            thank({"id": UUID, "sku": "tea", "quantity": 1})
    assert len(site.http("GET", "/notifications").json) == 1


def test_a_repeated_reservation_reserves_once(site: Any) -> None:
    from rpcservice.testing import entrypoint_hook

    with entrypoint_hook(site.runner.containers["products"], "reserve") as reserve:
        assert [reserve(UUID, "cup", 2), reserve(UUID, "cup", 2)] == [1380, 1380]
    assert site.http("GET", "/products").json[0]["stock"] == 1


@pytest.mark.parametrize(("method", "expected"), [("price", 690), ("stock", 3)])
def test_products_tell_price_and_stock(site: Any, method: str, expected: int) -> None:
    from rpcservice.testing import entrypoint_hook

    with entrypoint_hook(site.runner.containers["products"], method) as ask:
        assert ask("cup") == expected


def test_the_report_gives_totals(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    from rpcservice.testing import entrypoint_hook

    caplog.set_level("INFO", "shop.orders")
    site.http("POST", "/orders", {"sku": "tea", "quantity": 2})
    site.http("POST", "/orders", {"sku": "pot", "quantity": 1})
    with entrypoint_hook(site.runner.containers["orders"], "report") as report:
        report()
    assert "2 orders so far, worth 38.00" in caplog.messages


def test_orders_survive_a_restart(shop: Callable[[], Any]) -> None:
    with shop() as site:
        placed = site.http("POST", "/orders", {"sku": "tea", "quantity": 2})
    with shop() as site:
        assert site.http("GET", placed.headers["Location"]).json == placed.json
        assert site.http("GET", "/products").json[2]["stock"] == 998


def test_a_worker_that_waits_in_a_transaction_stops_no_one(database: Any) -> None:
    """A second writer waits for its turn in its greenlet; SQLite's own wait would stop the whole process."""
    backend = green()
    wrote = backend.event()

    def write() -> None:
        with database.transaction() as connection:
            connection.execute("UPDATE products SET stock = stock - 1")
        wrote.set()

    with database.transaction() as connection:
        connection.execute("UPDATE products SET stock = stock - 1")
        backend.spawn(write)
        assert not wrote.wait(0.05)
        assert database.rows("SELECT stock FROM products WHERE sku = 'cup'") == [{"stock": 3}]
    assert wrote.wait(5)
    assert database.rows("SELECT stock FROM products WHERE sku = 'cup'") == [{"stock": 1}]


def test_a_failed_transaction_writes_nothing(database: Any) -> None:
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:
        connection.execute("UPDATE products SET stock = 0")
        connection.execute("INSERT INTO products SELECT * FROM products")
    assert database.rows("SELECT sum(stock) AS stock FROM products") == [{"stock": 1028}]


def test_processes_that_start_together_wait_for_each_other() -> None:
    """SQLite itself gives up at once while another process switches the file to its write-ahead log."""
    from shop import storage

    class Connection:
        attempts = 0

        def execute(self, statement: str) -> None:
            self.attempts += 1
            if self.attempts == 1:
                raise sqlite3.OperationalError("database is locked")

    connection: Any = Connection()
    storage._use_write_ahead_log(connection)
    assert connection.attempts == 2


def test_the_chat_serves_its_page(running: Callable[..., Any]) -> None:
    """What the page does is tested in a browser, by tests/web/test_browser.py."""
    with running(import_module("chat").Chat) as site:
        page = site.http("GET", "/?name=ann")
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "new WebSocket" in page.text


def test_the_chat_tells_those_in_a_room(running: Callable[..., Any]) -> None:
    from rpcservice.testing import VirtualSocket

    with running(import_module("chat").Chat) as site, VirtualSocket(*site.address, "/ws?name=ann") as ann:
        assert ann.rpc("join", room="lobby") == ["lobby"]
        with VirtualSocket(*site.address, "/ws?name=bob") as bob:
            bob.rpc("join", room="lobby")
            bob.rpc("say", room="lobby", text="hello")
        assert ann.wait_for_event("said") == ("said", {"room": "lobby", "text": "hello"})
        assert ann.wait_for_event("left") == ("left", {"room": "lobby"})
