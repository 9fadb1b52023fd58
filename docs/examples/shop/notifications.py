"""The service ``notifications``: hears of every order that is placed, and tells the customer."""

import logging
from typing import Any

from werkzeug import Request

from rpcservice import event_handler, http

from .storage import Storage

SCHEMA = """
CREATE TABLE IF NOT EXISTS notifications (number INTEGER PRIMARY KEY, order_id TEXT UNIQUE, text TEXT NOT NULL)
"""

_log = logging.getLogger(__name__)


class Notifications:
    """Writes to customers."""

    name = "notifications"

    database = Storage(SCHEMA)

    @event_handler("orders", "order_placed")
    def thank(self, order: dict[str, Any]) -> None:
        """Thank the customer once, even if the event comes twice."""
        text = f"Thank you for ordering {order['quantity']} of {order['sku']!r}"
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO notifications (order_id, text) VALUES (?, ?)", (order["id"], text)
            )
        _log.info("order %s: %s", order["id"], text)

    @http("GET", "/notifications")
    def index(self, request: Request) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = self.database.rows("SELECT order_id, text FROM notifications ORDER BY number")
        return sent
