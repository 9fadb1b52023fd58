"""The services of the shop."""

import json

from bookshop.errors import SoldOut
from bookshop.stock import Stock
from rpcservice import EventDispatcher, event_handler, http, rpc
from rpcservice import ServiceRpc as RpcProxy


class Catalogue:
    """Knows how many copies of each book there are."""

    name = "catalogue"
    stock = Stock()

    @rpc(expected_exceptions=SoldOut)
    def reserve(self, title):
        """Set one copy aside."""
        self.stock.take(title)

    @rpc
    def copies(self):
        """Give the number of copies of each book."""
        return self.stock.copies


class Orders:
    """Takes orders in."""

    name = "orders"
    catalogue = RpcProxy("catalogue")
    dispatch = EventDispatcher()

    @rpc(expected_exceptions=SoldOut, sensitive_arguments="customer.email")
    def place(self, title, customer):
        """Order a book."""
        self.catalogue.reserve(title)
        self.dispatch("placed", {"title": title, "customer": customer["name"]})
        return f"{title} is on its way to {customer['name']}"


class Journal:
    """Notes what was ordered."""

    name = "journal"
    lines = []

    @event_handler("orders", "placed")
    def note(self, order):
        """Note one order."""
        self.lines.append(f"{order['customer']}: {order['title']}")

    @rpc
    def read(self):
        """Give all notes."""
        return self.lines


class Gateway:
    """What the browser talks to."""

    name = "gateway"
    orders = RpcProxy("orders")

    @http("POST", "/orders")
    def order(self, request):
        """Order a book, which the body names."""
        wanted = json.loads(request.get_data(as_text=True))
        try:
            return 201, json.dumps({"message": self.orders.place(wanted["title"], wanted["customer"])})
        except SoldOut as exc:
            return 409, json.dumps({"message": f"{exc} is sold out"})
