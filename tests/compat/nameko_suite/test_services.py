"""Tests on a broker."""

import eventlet
import pytest
from kombu import Exchange, Queue
from nameko.exceptions import MethodNotFound, RemoteError, UnknownService
from nameko.messaging import Publisher, consume
from nameko.standalone.events import event_dispatcher
from nameko.standalone.rpc import ClusterRpcProxy, ServiceRpcProxy
from nameko.testing.services import dummy, entrypoint_hook, entrypoint_waiter, replace_dependencies
from nameko.testing.utils import get_container, get_rabbit_connections
from shop import DiaryService, OrdersService, ProductsService, WebService


@pytest.fixture(autouse=True)
def forget():
    del DiaryService.notes[:]


def test_two_services(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, OrdersService, ProductsService)
    runner.start()
    with entrypoint_hook(get_container(runner, OrdersService), "place") as place:
        assert place("tea", count=2) == 900
    with entrypoint_hook(get_container(runner, OrdersService), "place_both") as place_both:
        assert place_both("tea", "coffee") == 1050


def test_an_event_is_handled(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, OrdersService, ProductsService, DiaryService)
    runner.start()
    diary = get_container(runner, DiaryService)
    with entrypoint_waiter(diary, "note") as result, ServiceRpcProxy("orders", rabbit_config) as orders:
        assert orders.place("coffee") == 600
    assert result.get() == 600
    assert sorted(DiaryService.notes) == ["coffee", "tick"]


def test_standalone_events(container_factory, rabbit_config):
    container = container_factory(DiaryService, rabbit_config)
    container.start()
    dispatch = event_dispatcher(rabbit_config)
    with entrypoint_waiter(container, "note", timeout=10) as result:
        dispatch("orders", "order_placed", {"sku": "milk", "total": 3})
    assert result.get() == 3


def test_cluster_proxy(runner_factory, rabbit_config):
    runner = runner_factory(rabbit_config, OrdersService, ProductsService)
    runner.start()
    with ClusterRpcProxy(rabbit_config, timeout=10) as cluster:
        assert cluster.products.list_skus() == ["coffee", "tea"]
        assert cluster["products"].price("tea") == 450
        call = cluster.orders.place_both.call_async("tea", "tea")
        assert call.result() == 900
        with pytest.raises(RemoteError) as raised:
            cluster.products.price("water")
        assert raised.value.exc_type == "NotInStock"
        with pytest.raises(UnknownService):
            cluster.nobody.answers()


def test_a_service_with_a_replaced_dependency(container_factory, rabbit_config):
    container = container_factory(OrdersService, rabbit_config)
    products = replace_dependencies(container, "products")
    products.price.return_value = 1
    container.start()
    with ServiceRpcProxy("orders", rabbit_config, timeout=10) as orders:
        assert orders.place("anything", 7) == 7
    products.price.assert_called_once_with("anything")


def test_a_setting(container_factory, rabbit_config):
    config = dict(rabbit_config, SETTING="on")
    container = container_factory(OrdersService, config)
    container.start()
    with entrypoint_hook(container, "read_setting") as read_setting:
        assert read_setting() == "on"


def test_a_message_is_taken_off_its_queue(container_factory, rabbit_config, rabbit_manager, get_message_from_queue):
    rabbit_manager.create_queue(rabbit_config["vhost"], "notes", auto_delete=False, durable=True)
    container = container_factory(DiaryService, rabbit_config)
    with entrypoint_waiter(container, "begin"):
        container.start()
    message = get_message_from_queue("notes")
    assert message.payload == {"note": "opened"}


def test_consume_and_publish(container_factory, rabbit_config):
    exchange = Exchange("letters", type="direct")
    queue = Queue("letters", exchange=exchange, routing_key="letter")

    class Post:
        name = "post"
        send = Publisher(exchange=exchange)

        @dummy
        def write(self, text):
            self.send(text, routing_key="letter")

        @consume(queue)
        def read(self, body):
            return body

    container = container_factory(Post, rabbit_config)
    container.start()
    with entrypoint_waiter(container, "read", timeout=10) as result, entrypoint_hook(container, "write") as write:
        write("hello")
    assert result.get() == "hello"


def test_each_test_has_a_vhost(rabbit_config, rabbit_manager, amqp_uri):
    vhost = rabbit_config["vhost"]
    assert amqp_uri.endswith(vhost)
    assert amqp_uri == rabbit_config["AMQP_URI"]
    assert vhost in [found["name"] for found in rabbit_manager.get_all_vhosts()]
    assert get_rabbit_connections(vhost, rabbit_manager) == []


def test_http(container_factory, web_config, web_session):
    container = container_factory(WebService, web_config)
    container.start()
    assert web_session.get("/products/tea").text == "tea small"
    assert web_session.get("/products/tea?size=large").text == "tea large"
    response = web_session.get("/products/water")
    assert (response.status_code, response.text) == (400, "Error: NotInStock: water\n")
    response = web_session.post("/echo", data="body")
    assert (response.status_code, response.headers["X-Method"], response.text) == (201, "POST", "body")
    assert web_session.get("/nowhere").status_code == 404


def test_websockets(container_factory, web_config, web_config_port, web_session, websocket):
    container = container_factory(WebService, web_config)
    container.start()
    socket = websocket()
    assert socket.wait_for_event("connected")[0] == "connected"
    assert socket.rpc("watch", sku="tea") == ["tea"]
    web_session.post("/products/tea/sold")
    with eventlet.Timeout(5):
        assert socket.wait_for_event("sold") == ("sold", {"sku": "tea"})
    with pytest.raises(MethodNotFound):
        socket.rpc("unknown")
    assert web_config["WEB_SERVER_ADDRESS"].endswith(str(web_config_port))
