"""Tests without a broker."""

import logging
import time
from unittest.mock import Mock, call

import eventlet
import pytest
from nameko.containers import ServiceContainer, WorkerContext
from nameko.exceptions import ExtensionNotFound
from nameko.extensions import DependencyProvider, Entrypoint
from nameko.log_helpers import make_timing_logger
from nameko.testing.services import (
    dummy,
    entrypoint_hook,
    entrypoint_waiter,
    once,
    replace_dependencies,
    restrict_entrypoints,
    worker_factory,
)
from nameko.testing.utils import (
    ANY_PARTIAL,
    AnyInstanceOf,
    DummyProvider,
    ResourcePipeline,
    assert_stops_raising,
    find_free_port,
    get_container,
    get_extension,
    unpack_mock_call,
    wait_for_worker_idle,
)
from nameko.testing.utils import wait_for_call as wait_for_mock
from nameko.testing.waiting import WaitResult, wait_for_call
from nameko.utils import REDACTED, get_redacted_args, sanitize_url
from nameko.utils.concurrency import SpawningProxy, SpawningSet, fail_fast_imap
from nameko.utils.retry import retry
from shop import NotInStock, OrdersService, ProductsService, Settings


class Counter(DependencyProvider):
    seen = []

    def get_dependency(self, worker_ctx):
        return self.seen

    def worker_setup(self, worker_ctx):
        self.seen.append(("setup", worker_ctx.call_id))

    def worker_result(self, worker_ctx, result=None, exc_info=None):
        self.seen.append(("result", result, exc_info and exc_info[0]))

    def worker_teardown(self, worker_ctx):
        self.seen.append(("teardown", worker_ctx.entrypoint.method_name))


class LocalService:
    name = "local"

    counter = Counter()

    @dummy
    def add(self, first, second=1):
        return first + second

    @dummy
    def fail(self):
        raise NotInStock("tea")

    @once(3, second=4)
    def at_start(self, first, second):
        return first * second


@pytest.fixture(autouse=True)
def forget():
    del Counter.seen[:]


def test_worker_factory():
    service = worker_factory(OrdersService)
    service.products.price.side_effect = lambda sku: len(sku)
    assert service.place("tea", 2) == 6
    service.products.price.assert_called_once_with("tea")
    service.dispatch.assert_called_once_with("order_placed", {"sku": "tea", "total": 6})


def test_worker_factory_with_a_dependency_of_ones_own():
    products = ProductsService()
    service = worker_factory(OrdersService, products=products)
    assert service.place("coffee") == 600


def test_worker_factory_knows_the_names():
    with pytest.raises(ExtensionNotFound):
        worker_factory(OrdersService, product=None)


def test_entrypoint_hook(container_factory):
    container = container_factory(LocalService, {})
    container.start()
    with entrypoint_hook(container, "add") as add:
        assert add(1) == 2
        assert add(1, second=5) == 6
    with entrypoint_hook(container, "fail") as fail, pytest.raises(NotInStock):
        fail()
    with pytest.raises(ExtensionNotFound), entrypoint_hook(container, "nothing"):
        pass


def test_hooks_of_dependencies(container_factory, predictable_call_ids):
    container = container_factory(LocalService, {})
    restrict_entrypoints(container, "add", "fail")
    container.start()
    with entrypoint_hook(container, "add") as add:
        add(1)
    with entrypoint_hook(container, "fail", context_data={"language": "de"}) as fail, pytest.raises(NotInStock):
        fail()
    assert Counter.seen == [
        ("setup", "local.add.0"),
        ("result", 2, None),
        ("teardown", "add"),
        ("setup", "local.fail.1"),
        ("result", None, NotInStock),
        ("teardown", "fail"),
    ]


def test_once_and_entrypoint_waiter(container_factory):
    container = container_factory(LocalService, {})
    with entrypoint_waiter(container, "at_start") as result:
        with pytest.raises(WaitResult.NotReady):
            result.get()
        container.start()
    assert result.get() == 12
    assert Counter.seen[-1] == ("teardown", "at_start")


def test_entrypoint_waiter_with_a_callback(container_factory):
    container = container_factory(LocalService, {})
    container.start()
    seen = []

    def callback(worker_ctx, result, exc_info):
        seen.append((worker_ctx.args, result, exc_info))
        return result == 3

    waiter = entrypoint_waiter(container, "add", callback=callback, timeout=10)
    with waiter as result, entrypoint_hook(container, "add") as add:
        add(1)
        add(2)
    assert result.get() == 3
    assert seen == [((1,), 2, None), ((2,), 3, None)]


def test_entrypoint_waiter_times_out(container_factory):
    container = container_factory(LocalService, {})
    container.start()
    with pytest.raises(entrypoint_waiter.Timeout), entrypoint_waiter(container, "add", timeout=0.01):
        pass
    with pytest.raises(RuntimeError), entrypoint_waiter(container, "nothing"):
        pass


def test_replace_dependencies(container_factory):
    container = container_factory(OrdersService, {"AMQP_URI": "memory://"})
    products, dispatch = replace_dependencies(container, "products", "dispatch")
    with pytest.raises(ExtensionNotFound):
        replace_dependencies(container, "nothing")
    with pytest.raises(RuntimeError):
        replace_dependencies(container, "products", products=1)
    products.price.return_value = 3
    service = container.service_cls()
    for provider in container.dependencies:
        setattr(service, provider.attr_name, provider.get_dependency(None) if provider.attr_name != "setting" else "")
    assert service.place("tea") == 3
    assert dispatch.call_args_list == [call("order_placed", {"sku": "tea", "total": 3})]


def test_replace_one_dependency_of_a_running_service(container_factory):
    class Service:
        name = "service"
        setting = Settings("SETTING")
        other = Settings("OTHER")

        @dummy
        def read(self):
            return self.setting.read(), self.other

    container = container_factory(Service, {})
    mock = replace_dependencies(container, "setting", other="replaced")
    mock.read.return_value = "mocked"
    container.start()
    with entrypoint_hook(container, "read") as read:
        assert read() == ("mocked", "replaced")
    with pytest.raises(RuntimeError):
        replace_dependencies(container, "setting")
    with pytest.raises(RuntimeError):
        restrict_entrypoints(container, "read")


def test_wait_for_call():
    class Target:
        def method(self, arg):
            if arg < 0:
                raise ValueError(arg)
            return arg

    target = Target()
    with wait_for_call(target, "method") as result:
        target.method(1)
        target.method(2)
    assert result.get() == 1

    def callback(args, kwargs, res, exc_info):
        return exc_info is not None

    with wait_for_call(target, "method", callback) as result:
        target.method(1)
        with pytest.raises(ValueError):
            target.method(-1)
    with pytest.raises(ValueError):
        result.get()


def test_wait_result():
    result = WaitResult()
    assert not result.has_result
    result.send(1, None)
    result.send(2, None)
    assert (result.has_result, result.get()) == (True, 1)


def test_wait_for_mock():
    mock = Mock()
    eventlet.spawn(mock, 1)
    with wait_for_mock(5, mock) as called:
        called.assert_called_once_with(1)
    with pytest.raises(eventlet.Timeout), wait_for_mock(0.01, Mock()):
        pass


def test_assert_stops_raising():
    mock = Mock(side_effect=[ValueError, ValueError, 1])
    assert_stops_raising(mock, ValueError, interval=0.001)
    assert mock.call_count == 3
    with pytest.raises(eventlet.Timeout):
        assert_stops_raising(Mock(side_effect=ValueError), timeout=0.01, interval=0.001)


def test_lookups(container_factory, runner_factory):
    container = container_factory(LocalService, {})
    assert get_extension(container, Counter).attr_name == "counter"
    assert get_extension(container, Entrypoint, method_name="add").method_name == "add"
    assert get_extension(container, Settings) is None
    runner = runner_factory({}, LocalService)
    assert get_container(runner, LocalService).service_name == "local"
    assert get_container(runner, ProductsService) is None


def test_a_runner(runner_factory):
    runner = runner_factory({}, LocalService)
    runner.start()
    with entrypoint_hook(get_container(runner, LocalService), "add") as add:
        assert add(1) == 2
    runner.stop()
    runner.wait()


def test_wait_for_worker_idle(container_factory):
    class Service:
        name = "service"
        done = []

        @once
        def work(self):
            eventlet.sleep(0.05)
            self.done.append(1)

    container = container_factory(Service, {})
    container.start()
    eventlet.sleep()
    with pytest.warns(DeprecationWarning):
        wait_for_worker_idle(container)
    assert Service.done == [1]


def test_matchers():
    assert AnyInstanceOf(int) == 1
    assert AnyInstanceOf(int) != "1"
    assert repr(AnyInstanceOf(int)) == "<AnyInstanceOf-int>"
    assert ANY_PARTIAL != 1
    mock = Mock()
    mock(1, a=2)
    positional, keyword = unpack_mock_call(mock.call_args)
    assert (positional, keyword) == ((1,), {"a": 2})
    assert 0 < find_free_port() < 65536


def test_a_worker_context(mock_container):
    mock_container.service_name = "service"
    mock_container.config = {}
    worker_ctx = WorkerContext(mock_container, None, DummyProvider("method"), data={"language": "de"})
    assert worker_ctx.context_data["language"] == "de"
    assert worker_ctx.call_id.startswith("service.method.")
    assert worker_ctx.call_id_stack == [worker_ctx.call_id]


def test_a_provider_with_a_mock_of_its_container(mock_container):
    mock_container.config["SETTING"] = "on"
    mock_container.shared_extensions = {}
    provider = Settings("SETTING").bind(mock_container, "setting")
    provider.setup()
    assert provider.get_dependency(Mock()) == "on"
    assert (mock_container.serializer, mock_container.accept) == ("json", ["json"])


def test_resource_pipeline():
    made, destroyed = [], []

    def create():
        eventlet.sleep()
        made.append(len(made))
        return made[-1]

    resources = ResourcePipeline(create, destroyed.append, size=2)
    with resources.run() as pipeline, pipeline.get() as first, pipeline.get() as second:
        assert (first, second) == (0, 1)
    assert sorted(destroyed) == made
    with pytest.raises(RuntimeError):
        ResourcePipeline(create, destroyed.append, size=0)


def test_redacted_arguments():
    from nameko.rpc import rpc

    class Service:
        name = "service"

        @rpc(sensitive_arguments=("password", "card.number", "absent.key"))
        def pay(self, user, password, card=None, *args, **kwargs):
            pass

    container = ServiceContainer(Service, {"AMQP_URI": "memory://"})
    entrypoint = get_extension(container, Entrypoint, method_name="pay")
    card = {"number": "1234", "name": "Ada"}
    redacted = get_redacted_args(entrypoint, "ada", "secret", card=card)
    assert redacted == {
        "user": "ada",
        "password": REDACTED,
        "card": {"number": REDACTED, "name": "Ada"},
        "args": (),
        "kwargs": {},
    }
    assert card["number"] == "1234"


def test_sanitize_url():
    assert sanitize_url("pyamqp://user:secret@host:5672/vhost") == "pyamqp://user:********@host:5672/vhost"
    assert sanitize_url("http://host/") == "http://host/"


def test_retry():
    tries = []

    @retry(for_exceptions=ValueError, max_attempts=2, delay=0.001)
    def work(arg):
        tries.append(arg)
        raise ValueError(arg)

    with pytest.raises(ValueError):
        work("x")
    assert tries == ["x"] * 3

    @retry
    def fine():
        return 1

    assert fine() == 1


def test_spawning():
    class Item:
        def __init__(self, value):
            self.value = value

        def add(self, number):
            eventlet.sleep()
            if self.value + number == 0:
                raise ValueError("zero")
            return self.value + number

    items = [Item(1), Item(2)]
    assert SpawningProxy(items).add(1) == [2, 3]
    assert sorted(SpawningSet(items).all.add(2)) == [3, 4]
    with pytest.raises(ValueError):
        SpawningProxy([Item(1), Item(2)], abort_on_error=True).add(-1)
    pool = eventlet.GreenPool(2)
    assert list(fail_fast_imap(pool, lambda number: number * 2, [3])) == [6]


def test_timing_logger(caplog):
    log_time = make_timing_logger(logging.getLogger("timing"), precision=1, level=logging.INFO)
    with caplog.at_level(logging.INFO), log_time("hello %s", "world"):
        time.sleep(0)
    assert caplog.messages == ["hello world in 0.0s"]
