"""The service ``orders``: takes orders over HTTP, has the products reserved, and tells the world."""

import logging
from dataclasses import asdict, dataclass
from typing import Any, Self
from uuid import uuid4

from werkzeug import Request
from werkzeug.exceptions import NotFound

from rpcservice import EventDispatcher, ServiceRpc, http, timer

from .errors import InvalidOrder
from .storage import Storage

SCHEMA = """
CREATE TABLE IF NOT EXISTS orders
    (number INTEGER PRIMARY KEY, id TEXT UNIQUE, sku TEXT NOT NULL, quantity INTEGER NOT NULL, cents INTEGER NOT NULL)
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What a customer wants: so many pieces of one product."""

    id: str
    sku: str
    quantity: int

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Give a new order from what a client sent.

        Raises:
            InvalidOrder: It is no order.
        """
        match data:
            case {"sku": str(sku), "quantity": int(quantity)} if 1 <= quantity <= 1000 and quantity is not True:
                return cls(str(uuid4()), sku, quantity)
        raise InvalidOrder('an order is {"sku": text, "quantity": number from 1 to 1000}')


class Orders:
    """Takes orders."""

    name = "orders"

    products = ServiceRpc("products", timeout=5)
    dispatch = EventDispatcher()
    database = Storage(SCHEMA)

    @http("POST", "/orders")
    def place(self, request: Request) -> tuple[int, dict[str, str], dict[str, Any]]:
        order = Order.from_json(request.get_json(force=True))
        # Not enough in stock: OutOfStock comes back from the other service, and passes on to the client as a 409.
        cents = self.products.reserve(order.id, order.sku, order.quantity)
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO orders (id, sku, quantity, cents) VALUES (?, ?, ?, ?)",
                (order.id, order.sku, order.quantity, cents),
            )
        placed = asdict(order) | {"cents": cents}
        self.dispatch("order_placed", placed)
        return 201, {"Location": f"/orders/{order.id}"}, placed

    @http("GET", "/orders/<order_id>")
    def show(self, request: Request, order_id: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.database.rows(
            "SELECT id, sku, quantity, cents FROM orders WHERE id = ?", order_id
        )
        if not found:
            raise NotFound(f"there is no order {order_id!r}")
        return found[0]

    @http("GET", "/orders")
    def index(self, request: Request) -> list[dict[str, Any]]:
        orders: list[dict[str, Any]] = self.database.rows("SELECT id, sku, quantity, cents FROM orders ORDER BY number")
        return orders

    @timer(interval=60)
    def report(self) -> None:
        """Log how the business goes."""
        (totals,) = self.database.rows("SELECT count(*) AS orders, coalesce(sum(cents), 0) AS cents FROM orders")
        _log.info("%d orders so far, worth %.2f", totals["orders"], totals["cents"] / 100)
