"""The service ``products``: what there is, what it costs, and how many are left."""

from typing import Any

from werkzeug import Request

from rpcservice import http, rpc

from .errors import OutOfStock, UnknownProduct
from .storage import Storage

SCHEMA = """
CREATE TABLE IF NOT EXISTS products
    (sku TEXT PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL, stock INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS reservations
    (order_id TEXT PRIMARY KEY, sku TEXT NOT NULL, quantity INTEGER NOT NULL);
INSERT OR IGNORE INTO products VALUES
    ('cup', 'Cup', 690, 3), ('pot', 'Teapot', 2900, 25), ('tea', 'Green tea, 100 g', 450, 1000)
"""


class Products:
    """Keeps prices and stock."""

    name = "products"

    database = Storage(SCHEMA)

    @rpc(expected_exceptions=UnknownProduct)
    def price(self, sku: str) -> int:
        """Give the price of one piece, in cents."""
        cents: int = self._product(sku)["cents"]
        return cents

    @rpc(expected_exceptions=UnknownProduct)
    def stock(self, sku: str) -> int:
        """Give how many pieces are left."""
        left: int = self._product(sku)["stock"]
        return left

    @rpc(expected_exceptions=(OutOfStock, UnknownProduct))
    def reserve(self, order_id: str, sku: str, quantity: int) -> int:
        """Take pieces out of the stock for an order; gives what they cost, in cents.

        A call may come twice when a connection breaks at the wrong moment, so the same order reserves only once.
        """
        product = self._product(sku)
        with self.database.transaction() as connection:
            reserved = connection.execute(
                "INSERT OR IGNORE INTO reservations VALUES (?, ?, ?)", (order_id, sku, quantity)
            )
            if reserved.rowcount:
                taken = connection.execute(
                    "UPDATE products SET stock = stock - ? WHERE sku = ? AND stock >= ?", (quantity, sku, quantity)
                )
                if not taken.rowcount:
                    raise OutOfStock(f"{quantity} of {sku!r} were ordered, {product['stock']} are left")
        total: int = product["cents"] * quantity
        return total

    @http("GET", "/products")
    def index(self, request: Request) -> list[dict[str, Any]]:
        products: list[dict[str, Any]] = self.database.rows("SELECT * FROM products ORDER BY sku")
        return products

    def _product(self, sku: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.database.rows("SELECT * FROM products WHERE sku = ?", sku)
        if not found:
            raise UnknownProduct(f"there is no product {sku!r}")
        return found[0]
