"""What services and tests on nameko 3 do."""

import kombu
import nameko
import pytest
from nameko import config
from nameko.amqp.publish import Publisher as PublisherCore
from nameko.containers import ServiceContainer, WorkerContext
from nameko.events import EventDispatcher, event_handler
from nameko.exceptions import ConfigurationError, MethodNotFound, RemoteError, UnknownService
from nameko.extensions import DependencyProvider, Entrypoint
from nameko.messaging import Consumer, Publisher, consume
from nameko.rpc import Client, ClusterRpc, ReplyListener, Rpc, ServiceRpc, rpc
from nameko.runners import ServiceRunner, run_services
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ClusterRpcClient, ServiceRpcClient
from nameko.testing.services import dummy, entrypoint_hook, entrypoint_waiter, once, worker_factory
from nameko.testing.utils import get_container, get_extension
from nameko.utils.retry import retry

LIMIT = config.get("LIMIT", 5)


class Noting(PublisherCore):
    """Notes what is published."""

    published = []

    def publish(self, payload, **kwargs):
        self.published.append((kwargs.get("routing_key"), sorted(kwargs)))
        return super().publish(payload, **kwargs)


class NotingDispatcher(EventDispatcher):
    publisher_cls = Noting


class NotingRpc(ClusterRpc):
    publisher_cls = Noting


class Session(DependencyProvider):
    seen = []

    def setup(self):
        self.url = config["SESSION_URL"]

    def get_dependency(self, worker_ctx):
        return {"url": self.url}

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        self.seen.append((worker_ctx.entrypoint.method_name, result, exc_info and str(exc_info[1])))


class Store:
    name = "store"

    session = Session()
    self_rpc = ServiceRpc("store")
    cluster = NotingRpc()
    dispatch = NotingDispatcher()
    publish = Publisher(exchange=kombu.Exchange("things", type="direct"), serializer="json", delivery_mode=1)

    @rpc
    def url(self):
        return self.session["url"]

    @rpc
    def add(self, *numbers, start=0):
        return sum(numbers, start)

    @rpc(expected_exceptions=(ValueError, KeyError))
    def fail(self):
        raise ValueError("no")

    @rpc
    def through(self):
        first = self.cluster.store.add.call_async(1, 2)
        second = self.cluster["store"]["add"].call_async(3, start=10)
        return [first.result(), second.result(), self.self_rpc.add(4)]

    @rpc
    def catch(self):
        try:
            self.self_rpc.nothing()
        except MethodNotFound as exc:
            missing = str(exc)
        try:
            self.cluster.nobody.answers()
        except UnknownService as exc:
            return [missing, str(exc)]

    @dummy
    def tell(self):
        self.dispatch("told", {"a": 1})
        self.publish({"b": 2}, routing_key="thing", priority=3, headers={"x-own": "1"})

    @event_handler("store", "told")
    def hear(self, payload):
        return payload

    @consume(kombu.Queue("things", exchange=kombu.Exchange("things", type="direct"), routing_key="thing"))
    def take(self, body):
        return body

    @rpc
    def read(self):
        return config["SESSION_URL"]


@pytest.fixture(autouse=True)
def forget():
    del Session.seen[:], Noting.published[:]


@pytest.fixture
def store(container_factory, rabbit_config):
    with config.patch({"SESSION_URL": "sqlite://"}):
        container = container_factory(Store)
        container.start()
        yield container


def test_configuration():
    before = dict(config)
    with config.patch({"a": {"b": 1}, "LIMIT": 7}):
        assert (config["a"]["b"], config.get("LIMIT"), "a" in config) == (1, 7, True)
        assert nameko.config is config
        with config.patch({"a": 2}, clear=True):
            assert dict(config) == {"a": 2}
        config["a"]["b"] = 3
    assert dict(config) == before
    assert LIMIT == 5
    patch = config.patch({"c": 1})
    patch.start()
    assert config["c"] == 1
    patch.stop()
    config.setup({"d": 1})
    assert dict(config) == {"d": 1}
    config.setup(before)


def test_calls(store):
    with ServiceRpcClient("store", timeout=10) as client:
        assert (client.url(), client.add(1, 2, start=3), client.through()) == ("sqlite://", 6, [3, 13, 4])
        assert client.catch() == ["nothing", "Unknown service `nobody`"]
        with pytest.raises(RemoteError, match="ValueError no"):
            client.fail()
        call = client.add.call_async(1)
        assert (call.result(), call.result()) == (1, 1)
    assert ("fail", None, "no") in Session.seen
    assert [key for key, _ in Noting.published] == ["store.add", "store.add", "nobody.answers"]
    assert Noting.published[0][1] == ["correlation_id", "extra_headers", "mandatory", "routing_key"]


def test_the_parts_of_a_client(store):
    with ClusterRpcClient(timeout=10) as client:
        assert isinstance(client, Client)
        assert (client.service_name, client.method_name, client.identifier) == (None, None, "*.*")
        assert client.store.identifier == "store.*"
        assert client.store.add.fully_specified
        with pytest.raises(ValueError, match=r"Cannot call unspecified method store\.\*"):
            client.store()


def test_events_and_messages(store):
    with (
        entrypoint_waiter(store, "hear", timeout=10) as heard,
        entrypoint_waiter(store, "take", timeout=10) as taken,
        entrypoint_hook(store, "tell") as tell,
    ):
        tell()
    assert (heard.get(), taken.get()) == ({"a": 1}, {"b": 2})
    assert [key for key, _ in Noting.published] == ["told"]


def test_an_event_with_options(store):
    dispatch = event_dispatcher(serializer="json", headers={"x-own": "1"})
    with entrypoint_waiter(store, "hear", timeout=10) as heard:
        dispatch("store", "told", [1])
    assert heard.get() == [1]


def test_configuration_that_changes_while_a_service_runs(store):
    with config.patch({"SESSION_URL": "other"}), entrypoint_hook(store, "read") as read:
        assert read() == "other"
    with entrypoint_hook(store, "url") as url:
        assert url() == "sqlite://"


@pytest.mark.usefixtures("rabbit_config")
def test_run_services():
    with config.patch({"SESSION_URL": "run"}), run_services(Store) as runner:
        assert isinstance(runner, ServiceRunner)
        with ClusterRpcClient(timeout=10) as client:
            assert client.store.url() == "run"
        assert get_container(runner, Store).service_name == "store"


def test_parts_of_a_service(store):
    assert isinstance(get_extension(store, ReplyListener), ReplyListener)
    assert len([ext for ext in store.extensions if isinstance(ext, ReplyListener)]) == 1
    entrypoint = get_extension(store, Rpc, method_name="add")
    ctx = WorkerContext(store, None, entrypoint, (1,), {}, {"language": "de"})
    assert ctx.context_data["language"] == ctx.data["language"] == "de"
    assert ctx.call_id_stack == [ctx.call_id] == ctx.context_data["call_id_stack"]
    assert (ctx.origin_call_id, ctx.immediate_parent_call_id) == (None, None)


class Acking(Consumer):
    """Notes how messages end."""

    ended = []

    def handle_message_processed(self, message, result=None, exc_info=None):
        self.ended.append(exc_info and exc_info[0].__name__)
        super().handle_message_processed(message, result, exc_info)


@pytest.mark.usefixtures("rabbit_config")
def test_a_consumer_of_ones_own(container_factory):
    queue = kombu.Queue("acked")

    class Consuming:
        name = "consuming"
        # Declared here too: in nameko it may send before its consumer has declared the queue.
        publish = Publisher(declare=[queue])

        @Acking.decorator(queue, prefetch_count=1)
        def take(self, body):
            if body == "bad":
                raise ValueError(body)
            return body

        @once
        def send(self):
            for body in ("bad", "good"):
                self.publish(body, routing_key="acked")

    container = container_factory(Consuming)
    with entrypoint_waiter(container, "take", callback=lambda ctx, result, exc_info: result == "good", timeout=10):
        container.start()
    container.stop()
    assert Acking.ended == ["ValueError", None]


def test_unit_tests_of_services():
    service = worker_factory(Store, session={"url": "given"})
    service.cluster.store.add.call_async.return_value.result.return_value = 1
    service.cluster["store"]["add"].call_async.return_value.result.return_value = 2
    service.self_rpc.add.return_value = 3
    assert (service.url(), service.through()[2]) == ("given", 3)


def test_what_is_configured_wrongly():
    with config.patch({"serializer": "unknown"}), pytest.raises(ConfigurationError):
        ServiceContainer(Store)


def test_retry():
    calls = []

    @retry(for_exceptions=KeyError, max_attempts=2, delay=0)
    def work():
        calls.append(1)
        raise KeyError

    with pytest.raises(KeyError):
        work()
    assert len(calls) == 3


def test_an_entrypoint_fires_by_hand(container_factory, empty_config):
    class Hand(Entrypoint):
        def fire(self, *args):
            return self.container.spawn_worker(self, args, {}, handle_result=lambda ctx, result, exc_info: (7, None))

    class Service:
        name = "service"

        @Hand.decorator
        def work(self, number):
            return number

    container = container_factory(Service)
    container.start()
    with entrypoint_waiter(container, "work", timeout=10) as result:
        ctx = get_extension(container, Hand).fire(5)
    assert (result.get(), ctx.args, ctx.kwargs) == (7, (5,), {})
