"""What services, extensions and tests on nameko do, each of which has been seen somewhere."""

import logging
import pickle
from unittest import mock

import eventlet
import kombu
import pytest
from eventlet.event import Event
from nameko.containers import ServiceContainer, WorkerContext
from nameko.events import BROADCAST, SERVICE_POOL, EventDispatcher, EventHandler, event_handler
from nameko.exceptions import (
    ConfigurationError,
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    UnknownService,
    UnserializableValueError,
    deserialize,
    deserialize_to_instance,
    registry,
    safe_for_serialization,
    serialize,
)
from nameko.extensions import (
    DependencyProvider,
    Entrypoint,
    Extension,
    ProviderCollector,
    SharedExtension,
    register_entrypoint,
)
from nameko.messaging import Consumer, Publisher, consume
from nameko.rpc import MethodProxy, Rpc, RpcProxy, rpc
from nameko.runners import ServiceRunner, run_services
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ClusterRpcProxy, ServiceRpcProxy
from nameko.testing.services import (
    dummy,
    entrypoint_hook,
    entrypoint_waiter,
    once,
    replace_dependencies,
    restrict_entrypoints,
    worker_factory,
)
from nameko.testing.utils import get_container, get_extension
from nameko.timer import Timer, timer
from nameko.web.handlers import HttpRequestHandler, http
from nameko.web.websocket import WebSocketRpc
from werkzeug.wrappers import Response

seen = []


@pytest.fixture(autouse=True)
def forget():
    del seen[:]


@deserialize_to_instance
class SoldOut(Exception):
    pass


class Context(DependencyProvider):
    """Injects a few values of the worker's context."""

    def get_dependency(self, worker_ctx):
        return {
            "service": worker_ctx.service_name,
            "method": worker_ctx.entrypoint.method_name,
            "call_id": worker_ctx.call_id,
            "stack": list(worker_ctx.call_id_stack),
            "origin": worker_ctx.origin_call_id,
            "parent": worker_ctx.immediate_parent_call_id,
            "language": worker_ctx.data.get("language"),
            "all": sorted(worker_ctx.context_data),
        }


class Watching(DependencyProvider):
    """Notes the steps of each worker, as session providers do."""

    def worker_setup(self, worker_ctx):
        seen.append(("setup", worker_ctx.entrypoint.method_name, worker_ctx.args, worker_ctx.kwargs))

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        if exc_info is None:
            seen.append(("result", result))
        else:
            exc_type, exc, tb = exc_info
            names = []
            while tb is not None:
                names.append(tb.tb_frame.f_code.co_name)
                tb = tb.tb_next
            seen.append(("error", exc_type.__name__, str(exc), names[-1]))

    def worker_teardown(self, worker_ctx):
        seen.append(("teardown", type(worker_ctx.service).__name__))

    def get_dependency(self, worker_ctx):
        return self


class Service:
    name = "service"

    context = Context()
    watching = Watching()
    other = RpcProxy("other")

    @rpc
    def ask(self, *args, **kwargs):
        return [list(args), kwargs]

    @rpc
    def tell_context(self):
        return self.context

    @rpc
    def fail(self, text):
        raise ValueError(text)

    @rpc(expected_exceptions=SoldOut)
    def buy(self, sku, size=1):
        raise SoldOut(sku, size)

    @rpc
    def configure(self):
        raise ConfigurationError("badly")

    @rpc
    def give_object(self):
        return object()

    @rpc
    def catch(self, method):
        try:
            getattr(self.other, method)()
        except (MethodNotFound, UnknownService, RemoteError) as exc:
            return [type(exc).__name__, str(exc), list(exc.args)]

    @rpc
    def relay(self):
        return self.other.tell_context()

    @rpc
    def relay_error(self):
        return self.other.fail()


class Other:
    name = "other"
    context = Context()

    @rpc
    def tell_context(self):
        return self.context

    @rpc
    def fail(self):
        raise KeyError("key")


@pytest.fixture
def service(container_factory, rabbit_config):
    container = container_factory(Service, rabbit_config)
    container.start()
    return container


# Errors


def test_errors_of_a_standalone_caller(service, rabbit_config):
    with ServiceRpcProxy("service", rabbit_config, timeout=10) as proxy:
        with pytest.raises(MethodNotFound) as caught:
            proxy.absent()
        assert (str(caught.value), caught.value.args) == ("absent", ("absent",))
        assert caught.type is MethodNotFound
        with pytest.raises(IncorrectSignature):
            proxy.buy()
        with pytest.raises(SoldOut) as caught:
            proxy.buy("tea")
        assert caught.value.args == ("tea", "1")
        with pytest.raises(RemoteError) as caught:
            proxy.fail("text")
        assert (caught.value.exc_type, caught.value.value) == ("ValueError", "text")
        assert str(caught.value) == "ValueError text"
        with pytest.raises(RemoteError) as caught:
            proxy.configure()
        assert (caught.value.exc_type, str(caught.value)) == ("ConfigurationError", "ConfigurationError badly")
        with pytest.raises(RemoteError) as caught:
            proxy.give_object()
        assert caught.value.exc_type == "UnserializableValueError"


def test_an_unknown_service_of_a_standalone_caller(rabbit_config):
    with ClusterRpcProxy(rabbit_config, timeout=10) as cluster, pytest.raises(UnknownService) as caught:
        cluster.nobody.answers()
    assert str(caught.value) == "Unknown service `nobody`"
    assert caught.value._service_name == "nobody"


def test_errors_within_a_service(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, Service, Other)
    runner.start()
    with entrypoint_hook(get_container(runner, Service), "catch") as catch:
        assert catch("absent") == ["MethodNotFound", "absent", ["absent"]]
        assert catch("fail") == ["RemoteError", "KeyError 'key'", ["KeyError 'key'"]]


def test_a_remote_error_that_passes_a_service(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, Service, Other)
    runner.start()
    with ClusterRpcProxy(rabbit_config, timeout=10) as cluster, pytest.raises(RemoteError) as caught:
        cluster.service.relay_error()
    assert (caught.value.exc_type, caught.value.value) == ("RemoteError", "KeyError 'key'")


def test_errors_as_data():
    assert serialize(SoldOut("tea", {"size": 1})) == {
        "exc_type": "SoldOut",
        "exc_path": "test_idioms.SoldOut",
        "exc_args": ["tea", {"size": "1"}],
        "value": "('tea', {'size': 1})",
    }
    assert registry["test_idioms.SoldOut"] is SoldOut
    assert type(deserialize(serialize(SoldOut("tea")))) is SoldOut
    assert type(deserialize(serialize(MethodNotFound("tea")))) is MethodNotFound
    assert safe_for_serialization([b"a", {1: None}]) == [["97"], {"1": "None"}]
    assert str(UnserializableValueError(1.5)) == "Unserializable value: `1.5`"
    for error in (MethodNotFound("a"), UnknownService("a"), ConfigurationError("a"), RemoteError("A", "b")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again)


# Workers and their context


def test_the_steps_of_a_worker(service):
    with entrypoint_hook(service, "ask") as ask:
        assert ask(1, b=2) == [[1], {"b": 2}]
    assert seen == [("setup", "ask", (1,), {"b": 2}), ("result", [[1], {"b": 2}]), ("teardown", "Service")]


def test_the_steps_of_a_worker_that_fails(service):
    with entrypoint_hook(service, "fail") as fail, pytest.raises(ValueError, match="text"):
        fail("text")
    assert seen[1:] == [("error", "ValueError", "text", "fail"), ("teardown", "Service")]


def test_context_data_travels(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, Service, Other)
    runner.start()
    with ClusterRpcProxy(rabbit_config, context_data={"language": "de"}, timeout=10) as cluster:
        told = cluster.service.relay()
    assert (told["service"], told["method"], told["language"]) == ("other", "tell_context", "de")
    assert told["stack"][-1] == told["call_id"]
    assert told["parent"] == told["stack"][-2]
    assert told["origin"] == told["stack"][0]
    assert [call_id.rsplit(".", 1)[0] for call_id in told["stack"]][1:] == ["service.relay", "other.tell_context"]
    assert told["all"] == ["call_id_stack", "language"]


def test_context_data_of_a_hook(service):
    with entrypoint_hook(service, "tell_context", context_data={"language": "fr"}) as tell:
        told = tell()
    assert (told["language"], told["origin"], told["parent"]) == ("fr", None, None)


def test_a_worker_context_by_hand(service):
    entrypoint = get_extension(service, Rpc, method_name="ask")
    ctx = WorkerContext(service, Service(), entrypoint, (1,), {"a": 2}, data={"call_id_stack": ["x.y.1"]})
    assert ctx.call_id_stack[0] == "x.y.1"
    assert ctx.immediate_parent_call_id == ctx.origin_call_id == "x.y.1"
    assert (ctx.args, ctx.kwargs, ctx.service_name) == ((1,), {"a": 2}, "service")
    assert repr(ctx).startswith("<WorkerContext [service.ask] at 0x")


def test_the_configuration(service, rabbit_config):
    assert service.config == rabbit_config
    assert isinstance(service.config, dict)
    assert service.config["AMQP_URI"] == rabbit_config["AMQP_URI"]
    assert get_extension(service, Watching).container.config is service.config


# Extensions


class Line(SharedExtension, ProviderCollector):
    """A source of work that entrypoints share, with a thread of its own."""

    def __init__(self):
        super().__init__()
        self.queue = eventlet.Queue()
        self.thread = None

    def setup(self):
        seen.append("line is set up")

    def start(self):
        if self.thread is None:
            self.thread = self.container.spawn_managed_thread(self.run, identifier="line")

    def run(self):
        while True:
            item = self.queue.get()
            for provider in list(self._providers):
                provider.handle(item)

    def stop(self):
        self.wait_for_providers()
        self.thread.kill()
        super().stop()


class OnLine(Entrypoint):
    line = Line()

    def __init__(self, prefix="", **kwargs):
        self.prefix = prefix
        super().__init__(**kwargs)

    def setup(self):
        self.line.register_provider(self)

    def stop(self):
        self.line.unregister_provider(self)

    def handle(self, item):
        self.check_signature((item,), {})
        ctx = self.container.spawn_worker(
            self, (self.prefix + item,), {}, context_data={"language": "it"}, handle_result=self.handle_result
        )
        assert isinstance(ctx, WorkerContext)

    def handle_result(self, worker_ctx, result, exc_info):
        seen.append(("handled", worker_ctx.entrypoint.method_name, result, exc_info and exc_info[0].__name__))
        return "replaced", None


on_line = OnLine.decorator


class Lined:
    name = "lined"
    context = Context()
    watching = Watching()

    @on_line
    def bare(self, item):
        return item, self.context["language"]

    @on_line("pre-", expected_exceptions=ValueError)
    def fail(self, item):
        raise ValueError(item)


def test_an_entrypoint_with_a_shared_source(container_factory):
    container = container_factory(Lined, {})
    container.start()
    line = get_extension(container, Line)
    assert [type(ext) for ext in container.subextensions].count(Line) == 1
    with entrypoint_waiter(container, "bare", timeout=10), entrypoint_waiter(container, "fail", timeout=10):
        line.queue.put("item")
    container.stop()
    assert line.thread.dead
    handled = sorted(item for item in seen if item[0] == "handled")
    assert handled == [("handled", "bare", ("item", "it"), None), ("handled", "fail", None, "ValueError")]
    assert seen.count(("result", "replaced")) == 2
    assert seen.count("line is set up") == 1


def test_an_entrypoint_that_is_registered_by_hand(container_factory):
    def work(self, item):
        return item

    register_entrypoint(work, OnLine())
    cls = type("ByHand", (object,), {"name": "by_hand", "work": work})
    container = container_factory(cls, {})
    container.start()
    with entrypoint_waiter(container, "work", timeout=10) as result:
        get_extension(container, Line).queue.put("by hand")
    assert result.get() == "replaced"
    assert seen[-1] == ("handled", "work", "by hand", None)


class Inner(Extension):
    def __init__(self, step=1):
        self.step = step

    def setup(self):
        self.count = 0

    def add(self):
        self.count += self.step
        return self.count


class Outer(DependencyProvider):
    """A provider that is made with an extension of its own."""

    inner = Inner(step=2)

    def __init__(self, start, **options):
        self.begin = start
        self.options = options

    def get_dependency(self, worker_ctx):
        return lambda: self.begin + self.inner.add()


class WithNested:
    name = "with_nested"
    add = Outer(7, option=True)

    @dummy
    def work(self):
        return self.add()

    publish = Publisher()

    @consume(kombu.Queue("nested"))
    def hear(self, body):
        return body


def test_an_extension_within_a_provider(container_factory, rabbit_config):
    containers = [container_factory(WithNested, rabbit_config) for _ in range(2)]
    for container in containers:
        container.start()
        provider = get_extension(container, Outer)
        assert (provider.begin, provider.options, provider.attr_name) == (7, {"option": True}, "add")
        with entrypoint_hook(container, "work") as work:
            assert [work(), work()] == [9, 11]


def test_a_managed_thread_that_dies_ends_the_container(container_factory):
    class Dying(DependencyProvider):
        def start(self):
            self.container.spawn_managed_thread(self.die)

        def die(self):
            raise RuntimeError("enough")

    class Mortal:
        name = "mortal"
        dying = Dying()

    container = container_factory(Mortal, {})
    container.start()
    with pytest.raises(RuntimeError, match="enough"), eventlet.Timeout(10):
        container.wait()


def test_workers_wait_for_each_other(container_factory):
    class Slow:
        name = "slow"
        running = 0
        most = 0

        @dummy
        def work(self):
            Slow.running += 1
            Slow.most = max(Slow.most, Slow.running)
            eventlet.sleep(0.05)
            Slow.running -= 1

    container = container_factory(Slow, {"max_workers": 2})
    container.start()
    with entrypoint_hook(container, "work") as work:
        threads = [eventlet.spawn(work) for _ in range(6)]
        for thread in threads:
            thread.wait()
    assert Slow.most == 2


# Subclasses and patches


class LoggingRpc(Rpc):
    """Notes requests and their outcomes."""

    def handle_message(self, body, message):
        seen.append(("message", sorted(body), message.delivery_info["routing_key"]))
        super().handle_message(body, message)

    def handle_result(self, message, worker_ctx, result, exc_info):
        if exc_info is not None and exc_info[0] is KeyError:
            result, exc_info = "no such key", None
        return super().handle_result(message, worker_ctx, result, exc_info)


class Logged:
    name = "logged"

    @LoggingRpc.decorator
    def look(self, key):
        return {"a": 1}[key]


def test_an_rpc_of_ones_own(container_factory, rabbit_config):
    container_factory(Logged, rabbit_config).start()
    with ServiceRpcProxy("logged", rabbit_config, timeout=10) as proxy:
        assert (proxy.look("a"), proxy.look(key="b")) == (1, "no such key")
    assert seen == [("message", ["args", "kwargs"], "logged.look")] * 2


class Retrying(Consumer):
    """Puts a message back once."""

    def handle_result(self, message, worker_ctx, result=None, exc_info=None):
        if exc_info is not None and not message.delivery_info["redelivered"]:
            message.requeue()
            return result, exc_info
        return super().handle_result(message, worker_ctx, result, exc_info)


def test_a_consumer_of_ones_own(container_factory, rabbit_config):
    class Consuming:
        name = "consuming"
        times = 0

        @Retrying.decorator(kombu.Queue("retrying"))
        def take(self, body):
            Consuming.times += 1
            if Consuming.times < 2:
                raise ValueError(body)
            return body

        publish = Publisher()

        @dummy
        def send(self):
            self.publish("body", routing_key="retrying")

    container = container_factory(Consuming, rabbit_config)
    container.start()
    with (
        entrypoint_waiter(
            container, "take", timeout=10, callback=lambda worker_ctx, result, exc_info: result == "body"
        ) as result,
        entrypoint_hook(container, "send") as send,
    ):
        send()
    assert (result.get(), Consuming.times) == ("body", 2)


def test_a_timer_of_ones_own(container_factory):
    class Twice(Timer):
        def handle_timer_tick(self):
            seen.append("tick")
            super().handle_timer_tick()

    class Ticking:
        name = "ticking"

        @Twice.decorator(interval=0.01, eager=True)
        def tick(self):
            return "ticked"

    container = container_factory(Ticking, {})
    with entrypoint_waiter(container, "tick", timeout=10) as result:
        container.start()
    assert result.get() == "ticked"
    assert "tick" in seen


def test_a_timer_that_skips_ticks(container_factory):
    class Electing(Timer):
        ticks = 0

        def handle_timer_tick(self):
            Electing.ticks += 1
            if Electing.ticks < 3:
                self.worker_complete.send()
                return
            self.container.spawn_worker(self, (Electing.ticks,), {}, handle_result=self.handle_result)

    class Elected:
        name = "elected"

        @Electing.decorator(interval=0.01)
        def tick(self, number):
            return number

    container = container_factory(Elected, {})
    with entrypoint_waiter(container, "tick", timeout=10) as result:
        container.start()
    assert result.get() == 3
    container.stop()


def test_a_handler_of_ones_own(container_factory, rabbit_config):
    class Instances(EventHandler):
        broadcast_identifier = "one"

    class Handling:
        name = "handling"

        @Instances.decorator("source", "event", handler_type=BROADCAST, reliable_delivery=True)
        def on_broadcast(self, payload):
            return payload

        @event_handler("source", "event", handler_type=SERVICE_POOL, requeue_on_error=True)
        def on_pool(self, payload):
            return payload

    container = container_factory(Handling, rabbit_config)
    container.start()
    with (
        entrypoint_waiter(container, "on_broadcast", timeout=10) as one,
        entrypoint_waiter(container, "on_pool", timeout=10) as other,
    ):
        event_dispatcher(rabbit_config)("source", "event", "payload")
    assert (one.get(), other.get()) == ("payload", "payload")


def test_http_of_ones_own(container_factory, web_config, web_session):
    class Api(HttpRequestHandler):
        mapped = {KeyError: (404, "NOT_FOUND")}

        def response_from_exception(self, exc):
            status, code = self.mapped.get(type(exc), (500, "UNKNOWN"))
            return Response(f'{{"error": "{code}"}}', status=status, mimetype="application/json")

        def handle_request(self, request):
            request.shouted = request.args.get("q", "").upper()
            return super().handle_request(request)

    class Web:
        name = "web"

        @Api.decorator("GET", "/api/<int:number>", expected_exceptions=KeyError)
        def get(self, request, number):
            if number == 0:
                raise KeyError(number)
            return 200, {"X-Number": str(number)}, request.shouted

        @http("POST", "/plain")
        def plain(self, request):
            raise ConfigurationError("badly")

    container_factory(Web, web_config).start()
    got = web_session.get("/api/3?q=abc")
    assert (got.status_code, got.text, got.headers["X-Number"]) == (200, "ABC", "3")
    got = web_session.get("/api/0")
    assert (got.status_code, got.json()) == (404, {"error": "NOT_FOUND"})
    got = web_session.post("/plain")
    assert (got.status_code, got.text) == (500, "Error: ConfigurationError: badly\n")
    assert web_session.get("/nothing").status_code == 404
    assert web_session.get("/plain").status_code == 405


class Enveloped(HttpRequestHandler):
    """Puts results, and some errors, into an envelope."""

    def handle_result(self, event, worker_ctx, result, exc_info):
        if exc_info is not None and exc_info[0] is KeyError:
            super().handle_result(event, worker_ctx, "[none]", None)
            return None, exc_info
        return super().handle_result(event, worker_ctx, result and f"[{result}]", exc_info)


def test_http_whose_results_are_replaced(container_factory, web_config, web_session):
    class Web:
        name = "web"
        watching = Watching()

        @Enveloped.decorator("GET", "/find/<string:key>")
        def find(self, request, key):
            if key == "bad":
                raise ValueError(key)
            return {"a": "found"}[key]

    container_factory(Web, web_config).start()
    assert web_session.get("/find/a").text == "[found]"
    assert web_session.get("/find/b").text == "[none]"
    got = web_session.get("/find/bad")
    assert (got.status_code, got.text) == (500, "Error: ValueError: bad\n")
    assert [item for item in seen if item[0] in ("result", "error")] == [
        ("result", "[found]"),
        ("error", "KeyError", "'b'", "find"),
        ("error", "ValueError", "bad", "find"),
    ]


def test_websocket_calls_whose_results_are_replaced(container_factory, web_config, websocket):
    class Doubling(WebSocketRpc):
        def handle_result(self, event, worker_ctx, result, exc_info):
            return super().handle_result(event, worker_ctx, result and result * 2, exc_info)

    class Web:
        name = "web"

        @Doubling.decorator
        def double(self, socket_id, number):
            return number

        @Doubling.decorator
        def fail(self, socket_id):
            raise ConfigurationError("badly")

    container_factory(Web, web_config).start()
    socket = websocket()
    assert socket.rpc("double", number=4) == 8
    with pytest.raises(RemoteError) as caught:
        socket.rpc("fail")
    assert str(caught.value) == "ConfigurationError badly"
    with pytest.raises(MethodNotFound):
        socket.rpc("absent")


def test_a_patched_client_class():
    with mock.patch("nameko.standalone.rpc.ServiceRpcProxy") as patched:
        from nameko.standalone import rpc as module

        patched.return_value.__enter__.return_value.price.return_value = 3
        with module.ServiceRpcProxy("products", {}) as products:
            assert products.price("tea") == 3


def test_a_patched_method_of_clients(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, Service, Other)
    runner.start()
    with (
        mock.patch.object(MethodProxy, "__call__", return_value={"patched": True}),
        entrypoint_hook(get_container(runner, Service), "relay") as relay,
    ):
        assert relay() == {"patched": True}


def test_a_patched_dispatch(container_factory, rabbit_config):
    class Dispatching:
        name = "dispatching"
        dispatch = EventDispatcher()

        @dummy
        def work(self):
            self.dispatch("type", "data")

    container = container_factory(Dispatching, rabbit_config)
    dispatch = replace_dependencies(container, "dispatch")
    container.start()
    with entrypoint_hook(container, "work") as work:
        work()
    assert dispatch.call_args_list == [mock.call("type", "data")]


def test_a_mocked_dependency_provider(container_factory, rabbit_config):
    with mock.patch.object(Context, "get_dependency", return_value={"mocked": 1}):
        container = container_factory(Other, rabbit_config)
        container.start()
        with entrypoint_hook(container, "tell_context") as tell:
            assert tell() == {"mocked": 1}


def test_worker_factory_gives_mocks():
    service = worker_factory(Service, context={"given": 1})
    service.other.tell_context.side_effect = lambda: "told"
    assert (service.relay(), service.tell_context()) == ("told", {"given": 1})
    service.other.tell_context.assert_called_once_with()


# Waiting and restricting


def test_entrypoint_waiters_callback_sees_everything(service, rabbit_config):
    calls = []

    def callback(worker_ctx, result, exc_info):
        calls.append((worker_ctx.args, result, exc_info and exc_info[0]))
        return len(calls) == 3

    with (
        ServiceRpcProxy("service", rabbit_config, timeout=10) as proxy,
        entrypoint_waiter(service, "buy", callback=callback, timeout=10) as result,
    ):
        for sku in ("a", "b", "c"):
            with pytest.raises(SoldOut):
                proxy.buy(sku)
    assert [list(call[0]) for call in calls] == [["a"], ["b"], ["c"]]
    assert {call[1:] for call in calls} == {(None, SoldOut)}
    with pytest.raises(SoldOut) as caught:
        result.get()
    assert caught.value.args == ("c", 1)


def test_a_waiter_that_has_nothing_yet(service):
    with entrypoint_waiter(service, "ask", timeout=10) as result:
        with pytest.raises(result.NotReady):
            result.get()
        with entrypoint_hook(service, "ask") as ask:
            ask()
    assert result.get() == [[], {}]


def test_restricted_entrypoints(container_factory, rabbit_config):
    class Restricted:
        name = "restricted"

        @timer(interval=0.01, eager=True)
        def tick(self):
            seen.append("tick")

        @once
        def begin(self):
            seen.append("begun")

        @rpc
        def answer(self):
            return "answer"

    container = container_factory(Restricted, rabbit_config)
    restrict_entrypoints(container, "answer")
    container.start()
    with ServiceRpcProxy("restricted", rabbit_config, timeout=10) as proxy:
        assert proxy.answer() == "answer"
    assert seen == []


# Runners, containers


def test_run_services(rabbit_config):
    with run_services(rabbit_config, Service, Other, kill_on_exit=True) as runner:
        assert sorted(runner.service_names) == ["other", "service"]
        with entrypoint_hook(get_container(runner, Service), "relay") as relay:
            assert relay()["service"] == "other"


def test_a_runner_step_by_step(rabbit_config):
    runner = ServiceRunner(rabbit_config)
    runner.add_service(Service)
    runner.add_service(Other)
    assert {type(container) for container in runner.containers} == {ServiceContainer}
    runner.start()
    waiting = eventlet.spawn(runner.wait)
    runner.stop()
    with eventlet.Timeout(10):
        waiting.wait()


class OwnContainer(ServiceContainer):
    """Counts the workers."""

    def __init__(self, service_cls, config):
        self.spawned = []
        super().__init__(service_cls, config)

    def spawn_worker(self, entrypoint, args, kwargs, context_data=None, handle_result=None):
        self.spawned.append(entrypoint.method_name)
        return super().spawn_worker(entrypoint, args, kwargs, context_data=context_data, handle_result=handle_result)


def test_a_container_of_ones_own(container_factory, rabbit_config):
    rabbit_config["SERVICE_CONTAINER_CLS"] = "test_idioms.OwnContainer"
    runner = ServiceRunner(rabbit_config)
    runner.add_service(Other)
    (container,) = runner.containers
    runner.start()
    try:
        with ClusterRpcProxy(rabbit_config, timeout=10) as cluster:
            assert cluster.other.tell_context()["service"] == "other"
        assert container.spawned == ["tell_context"]
    finally:
        runner.kill()


@pytest.mark.parametrize(
    "cls, config",
    [
        (type("Nameless", (object,), {}), {}),
        (type("Numbered", (object,), {"name": 5}), {}),
        (type("Named", (object,), {"name": "named"}), {"serializer": "unknown"}),
    ],
)
def test_what_is_configured_wrongly(cls, config):
    with pytest.raises(ConfigurationError):
        ServiceContainer(cls, config)


# Standalone


def test_a_client_that_is_started_and_stopped(service, rabbit_config):
    client = ClusterRpcProxy(rabbit_config, timeout=10)
    cluster = client.start()
    calls = [cluster.service.ask.call_async(number) for number in range(3)]
    assert [call.result()[0] for call in reversed(calls)] == [[2], [1], [0]]
    assert cluster["service"].ask(1) == [[1], {}]
    client.stop()


def test_events_from_outside(container_factory, rabbit_config):
    class Hearing:
        name = "hearing"

        @event_handler("outside", "told")
        def hear(self, payload):
            return payload

    container = container_factory(Hearing, rabbit_config)
    container.start()
    dispatch = event_dispatcher(rabbit_config)
    with entrypoint_waiter(container, "hear", timeout=10) as result:
        dispatch("outside", "told", {"a": [1, None, "\u00e9"]})
    assert result.get() == {"a": [1, None, "\u00e9"]}


# Logs


def test_what_a_failing_worker_logs(service, caplog):
    with (
        caplog.at_level(logging.DEBUG, logger="nameko.containers"),
        entrypoint_hook(service, "fail") as fail,
        pytest.raises(ValueError, match="text"),
    ):
        fail("text")
    messages = [record.getMessage() for record in caplog.records]
    assert any("error handling worker" in message and "text" in message for message in messages)
    assert any(message.startswith("call stack for ") for message in messages)
    assert any(message.startswith("calling handler for <WorkerContext [service.fail] at 0x") for message in messages)
    assert any(message.startswith("ran worker ") for message in messages)


def test_an_event_of_eventlets():
    event = Event()
    eventlet.spawn(event.send, 1)
    assert event.wait() == 1
