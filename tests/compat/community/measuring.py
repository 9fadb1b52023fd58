"""A service with nameko-prometheus, on entrypoints of every kind."""

from kombu import Exchange, Queue
from nameko.events import EventDispatcher, event_handler
from nameko.messaging import Publisher, consume
from nameko.rpc import rpc
from nameko.timer import timer
from nameko.web.handlers import http
from nameko_prometheus import PrometheusMetrics

QUEUE = Queue("measured", Exchange("measured", type="direct"), routing_key="measured")


class MeasuringService:
    name = "measuring"

    metrics = PrometheusMetrics()
    dispatch = EventDispatcher()
    send = Publisher(QUEUE.exchange)

    @rpc
    def work(self):
        self.dispatch("worked", {})
        self.send({}, routing_key="measured")

    @event_handler("measuring", "worked")
    def on_worked(self, payload):
        """Only measured."""

    @consume(QUEUE)
    def on_message(self, payload):
        """Only measured."""

    @timer(0.2, eager=True)
    def tick(self):
        """Only measured."""

    @http("GET", "/metrics")
    def expose_metrics(self, request):
        return self.metrics.expose_metrics(request)
