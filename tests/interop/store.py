"""An ordinary service of nameko, for its version 2 and its version 3, that knows nothing of rpcservice."""

from kombu import Exchange, Queue
from nameko.dependency_providers import Config
from nameko.events import BROADCAST, SINGLETON, EventDispatcher, event_handler
from nameko.exceptions import MethodNotFound, RemoteError, deserialize_to_instance
from nameko.extensions import DependencyProvider, Entrypoint, SharedExtension
from nameko.messaging import Publisher, consume
from nameko.rpc import RpcProxy, rpc
from nameko.timer import timer
from nameko.web.handlers import http
from shop_errors import OutOfStock

SEEN = []
deserialize_to_instance(OutOfStock)
deliveries = Exchange("deliveries", type="topic", durable=True)


class Context(DependencyProvider):
    def get_dependency(self, worker_ctx):
        return worker_ctx.context_data


class Journal(DependencyProvider):
    """Notes which hooks have run for which method."""

    def setup(self):
        SEEN.append(["setup", self.attr_name])

    def start(self):
        SEEN.append(["start", self.container.service_name])

    def worker_setup(self, worker_ctx):
        if worker_ctx.entrypoint.method_name == "context_by_rpc":
            worker_ctx.data["noted"] = "by the journal"

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        outcome = result if exc_info is None else exc_info[0].__name__
        if worker_ctx.entrypoint.method_name in ("price", "sell_out"):
            SEEN.append(["result", worker_ctx.entrypoint.method_name, outcome])

    def get_dependency(self, worker_ctx):
        return lambda *entry: SEEN.append(list(entry))


class Bell(SharedExtension):
    """Rung by one method, heard by the entrypoints that share it."""

    def __init__(self):
        self.listeners = []
        super().__init__()


class OnBell(Entrypoint):
    bell = Bell()

    def setup(self):
        self.bell.listeners.append(self)

    def ring(self, times):
        self.container.spawn_worker(self, (times,), {}, context_data={"language": "bell"})


class Ringer(DependencyProvider):
    bell = Bell()

    def get_dependency(self, worker_ctx):
        return lambda times: [listener.ring(times) for listener in self.bell.listeners]


on_bell = OnBell.decorator


class Store:
    name = "store"
    config = Config()
    context = Context()
    note = Journal()
    ring = Ringer()
    itself = RpcProxy("store")
    peer = RpcProxy("peer")
    dispatch = EventDispatcher()
    deliver = Publisher(exchange=deliveries)

    @rpc
    def price(self, sku, quantity=1):
        return {"sku": sku, "total": 3 * quantity}

    @rpc(expected_exceptions=OutOfStock)
    def sell_out(self):
        raise OutOfStock("lamp", 7)

    @rpc(sensitive_arguments="password")
    def log_in(self, password):
        return len(password)

    @rpc
    def setting(self, key):
        return self.config[key]

    @rpc
    def see_context(self):
        return dict(self.context)

    @rpc
    def context_by_rpc(self):
        return self.itself.see_context()

    @rpc
    def price_by_rpc(self, sku):
        return self.itself.price(sku, quantity=2)

    @rpc
    def prices_at_once(self, count):
        calls = [self.itself.price.call_async("tea", number) for number in range(count)]
        return [call.result()["total"] for call in calls]

    @rpc
    def errors_by_rpc(self):
        caught = []
        for call in (self.itself.sell_out, self.itself.nothing, self.peer.fail):
            try:
                call()
            except OutOfStock as exc:
                caught.append(["OutOfStock", list(exc.args)])
            except MethodNotFound as exc:
                caught.append(["MethodNotFound", list(exc.args)])
            except RemoteError as exc:
                caught.append(["RemoteError", exc.exc_type, exc.value, str(exc)])
        return caught

    @rpc
    def sell(self, sku):
        self.dispatch("sold", {"sku": sku})
        self.deliver({"sku": sku}, routing_key="express", headers={"fragile": "yes"})
        return "sold"

    @rpc
    def ring_bell(self, times):
        self.ring(times)

    @rpc
    def seen(self):
        return SEEN

    @event_handler("store", "sold")
    def on_sold(self, payload):
        self.note("sold", payload)

    @event_handler("peer", "opened", handler_type=SINGLETON)
    def on_opened(self, payload):
        self.note("opened", payload, self.context.get("language"))

    @event_handler("peer", "closed", handler_type=BROADCAST, reliable_delivery=False)
    def on_closed(self, payload):
        self.note("closed", payload)

    @event_handler("peer", "broken", requeue_on_error=True)
    def on_broken(self, payload):
        self.note("broken", payload)
        if SEEN.count(["broken", payload]) == 1:
            raise ValueError("not yet")

    @consume(Queue("express-deliveries", deliveries, routing_key="express"))
    def on_delivery(self, payload):
        self.note("delivery", payload, self.context.get("fragile"))

    @on_bell
    def on_bell(self, times):
        self.note("bell", times, self.context["language"])

    @timer(interval=600, eager=True)
    def tick(self):
        self.note("tick")

    @http("GET", "/prices/<sku>")
    def get_price(self, request, sku):
        quantity = int(request.args.get("quantity", 1))
        return 200, {"X-Store": "ours"}, str(3 * quantity)

    @http("POST", "/broken")
    def post_broken(self, request):
        raise ValueError("broken")
