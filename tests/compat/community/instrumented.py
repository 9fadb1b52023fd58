"""Services with opentelemetry-instrumentation-nameko, which wraps methods of nameko's."""

from nameko.events import EventDispatcher, event_handler
from nameko.rpc import RpcProxy, rpc
from nameko_opentelemetry import NamekoInstrumentor
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

_spans = InMemorySpanExporter()


def _instrument():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_spans))
    trace.set_tracer_provider(provider)
    NamekoInstrumentor().instrument(skip_dep_check=True)


_instrument()


class CalledService:
    name = "called"

    @rpc
    def double(self, number):
        return number * 2

    @event_handler("calling", "doubled")
    def on_doubled(self, payload):
        """Only traced."""


class CallingService:
    name = "calling"

    called = RpcProxy("called")
    dispatch = EventDispatcher()

    @rpc
    def work(self):
        number = self.called.double(2)
        self.dispatch("doubled", number)
        return number

    @rpc
    def spans(self):
        return [[span.name, span.kind.name, str(span.context.trace_id)] for span in _spans.get_finished_spans()]
