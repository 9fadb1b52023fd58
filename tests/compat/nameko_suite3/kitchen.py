"""Services of a kitchen, as nameko 3 has them written."""

from nameko import config
from nameko.events import BROADCAST, EventDispatcher, event_handler
from nameko.messaging import Publisher
from nameko.rpc import ClusterRpc, ServiceRpc, rpc
from nameko.web.handlers import http

GREETING = config.get("GREETING", "welcome")


class Pantry:
    name = "pantry"

    @rpc
    def count(self, sku):
        return config["STOCK"].get(sku, 0)


class Kitchen:
    name = "kitchen"

    pantry = ServiceRpc("pantry")
    cluster = ClusterRpc()
    dispatch = EventDispatcher()

    @rpc
    def cook(self, sku):
        left = self.pantry.count(sku)
        self.dispatch("cooked", {"sku": sku, "left": left})
        return left == self.cluster["pantry"]["count"](sku) == self.cluster.pantry.count.call_async(sku).result()


class Table:
    name = "table"

    publish = Publisher()

    @event_handler("kitchen", "cooked", handler_type=BROADCAST, reliable_delivery=False)
    def serve(self, payload):
        self.publish(payload["sku"], routing_key="served")
        return payload["left"]

    @http("GET", "/menu")
    def menu(self, request):
        return GREETING
