"""The service behind the websites: it takes orders, and counts the pages that were looked at."""

from collections import Counter
from typing import Any

from rpcservice import event_handler, rpc

PRICES = {"cup": 690, "pot": 2900, "tea": 450}


class Orders:
    """Takes orders."""

    name = "orders"

    views: Counter[str] = Counter()

    @rpc
    def place(self, sku: str, quantity: int) -> dict[str, Any]:
        return {"sku": sku, "quantity": quantity, "cents": PRICES[sku] * quantity}

    @event_handler("website", "page_viewed")
    def count_view(self, payload: dict[str, str]) -> None:
        self.views[payload["page"]] += 1

    @rpc
    def page_views(self) -> dict[str, int]:
        return dict(self.views)
