"""Services of a shop, as nameko 2 has them written."""

from nameko.events import EventDispatcher, event_handler
from nameko.extensions import DependencyProvider
from nameko.messaging import Publisher
from nameko.rpc import RpcProxy, rpc
from nameko.testing.services import once
from nameko.timer import timer
from nameko.web.handlers import http
from nameko.web.websocket import WebSocketHubProvider
from nameko.web.websocket import rpc as websocket_rpc


class NotInStock(Exception):
    pass


class Settings(DependencyProvider):
    """Injects one value of the configuration."""

    def __init__(self, key):
        self.key = key

    def setup(self):
        self.value = self.container.config.get(self.key, "unset")

    def get_dependency(self, worker_ctx):
        return self.value


class ProductsService:
    name = "products"

    prices = {"tea": 450, "coffee": 600}

    @rpc(expected_exceptions=NotInStock)
    def price(self, sku):
        if sku not in self.prices:
            raise NotInStock(sku)
        return self.prices[sku]

    @rpc
    def list_skus(self):
        return sorted(self.prices)


class OrdersService:
    name = "orders"

    products = RpcProxy("products")
    dispatch = EventDispatcher()
    setting = Settings("SETTING")

    @rpc
    def place(self, sku, count=1):
        total = self.products.price(sku) * count
        self.dispatch("order_placed", {"sku": sku, "total": total})
        return total

    @rpc
    def place_both(self, first, second):
        calls = [self.products.price.call_async(first), self.products.price.call_async(second)]
        return sum(call.result() for call in calls)

    @rpc
    def read_setting(self):
        return self.setting


class DiaryService:
    name = "diary"

    notes = []
    publish = Publisher()

    @event_handler("orders", "order_placed")
    def note(self, payload):
        self.notes.append(payload["sku"])
        return payload["total"]

    @once("opened")
    def begin(self, word):
        self.publish({"note": word}, routing_key="notes")

    @timer(interval=3600, eager=True)
    def tick(self):
        self.notes.append("tick")


class WebService:
    name = "web"

    hub = WebSocketHubProvider()

    @http("GET", "/products/<string:sku>", expected_exceptions=NotInStock)
    def get_product(self, request, sku):
        if sku not in ProductsService.prices:
            raise NotInStock(sku)
        return "{} {}".format(sku, request.args.get("size", "small"))

    @http("GET,POST", "/echo")
    def echo(self, request):
        return 201, {"X-Method": request.method}, request.get_data(as_text=True)

    @websocket_rpc
    def watch(self, socket_id, sku):
        self.hub.subscribe(socket_id, sku)
        return self.hub.get_subscriptions(socket_id)

    @http("POST", "/products/<string:sku>/sold")
    def sold(self, request, sku):
        self.hub.broadcast(sku, "sold", {"sku": sku})
        return ""
