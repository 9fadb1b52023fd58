"""One module of nameko's, ``store.py``, unedited: run by nameko 2, by nameko 3 and by us, it gives the same answers."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml
from command_process import Running
from nameko_environment import nameko_python
from nameko_process import HERE
from raw_caller import RawCaller, call_body
from shop_errors import OutOfStock
from waiting import wait_until

from rpcservice import IncorrectSignature, MethodNotFound, ServiceContainer, deserialize_to_instance, rpc
from rpcservice.testing import RabbitMQNode
from rpcservice.testing.callers import Dispatcher, cluster_client
from rpcservice.testing.ports import free_ports

RUNNERS = {
    "nameko2": lambda: [nameko_python(2), "-c", "from nameko.cli.main import main; main()", "run"],
    "nameko3": lambda: [nameko_python(3), "-c", "from nameko.cli import cli; cli()", "run"],
    "rpcservice": lambda: [sys.executable, "-m", "rpcservice", "run", "--nameko"],
}
QUEUES = ("rpc-store", "evt-store-sold--store.on_sold", "evt-peer-opened", "express-deliveries")
deserialize_to_instance(OutOfStock)


class Peer:
    name = "peer"

    @rpc
    def fail(self) -> None:
        raise ValueError("no", 3)


class Store(NamedTuple):
    """The running store, and what talks to it."""

    rpc: Any
    dispatch: Dispatcher
    uri: str
    web: str

    @property
    def seen(self) -> list[Any]:
        """What the service has noted since its start."""
        noted: list[Any] = self.rpc.seen()
        return noted

    def wait_for(self, *entry: Any, times: int = 1) -> None:
        """Wait until the service has noted this, that often."""
        wait_until(lambda: self.seen.count([*entry]) == times, f"{entry} in {self.seen}")


@pytest.fixture(scope="module", params=RUNNERS)
def store(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    uri, folder = rabbitmq.vhost(), tmp_path_factory.mktemp("store")
    (port,) = free_ports(1)
    config = {"AMQP_URI": uri, "WEB_SERVER_ADDRESS": f"127.0.0.1:{port}", "MY_KEY": {"of": "the store"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    containers: list[ServiceContainer] = []

    def make(cls: type) -> ServiceContainer:
        containers.append(ServiceContainer(cls, {"AMQP_URI": uri, "rpc_timeout": 15}))
        return containers[-1]

    make(Peer).start()
    command = [*RUNNERS[request.param](), "--config", str(folder / "config.yaml"), "store"]
    running = Running(command, cwd=HERE)
    try:
        wait_until(lambda: _is_up(rabbitmq, uri, running), "the start of the store")
        yield Store(cluster_client(make).store, Dispatcher(make), uri, f"http://127.0.0.1:{port}")
        running.process.terminate()
        assert running.wait() == 0, running.err
    finally:
        running.process.kill()
        for container in containers:
            container.stop()
        rabbitmq.delete_vhost(uri)


def _is_up(rabbitmq: RabbitMQNode, uri: str, running: Running) -> bool:
    assert running.process.poll() is None, "\n".join(running.err)
    queues = rabbitmq.queues(uri)
    return all(name in queues and queues[name]["consumers"] for name in QUEUES)


def test_a_method_answers(store: Store) -> None:
    assert store.rpc.price("tea", quantity=5) == {"sku": "tea", "total": 15}


def test_a_registered_error_comes_as_itself(store: Store) -> None:
    with pytest.raises(OutOfStock) as caught:
        store.rpc.sell_out()
    assert caught.value.args == ("lamp", "7")


def test_an_unknown_method_is_method_not_found(store: Store) -> None:
    with pytest.raises(MethodNotFound):
        store.rpc.nothing()


def test_arguments_that_do_not_fit_are_an_incorrect_signature(store: Store) -> None:
    with pytest.raises(IncorrectSignature):
        store.rpc.price()


def test_an_entrypoint_takes_options(store: Store) -> None:
    assert store.rpc.log_in("secret") == 6


def test_the_configuration_is_injected(store: Store) -> None:
    assert store.rpc.setting("MY_KEY") == {"of": "the store"}


def test_hooks_run_in_their_order(store: Store) -> None:
    store.rpc.price("coffee")
    store.wait_for("result", "price", {"sku": "coffee", "total": 3})
    with pytest.raises(OutOfStock):
        store.rpc.sell_out()
    wait_until(lambda: ["result", "sell_out", "OutOfStock"] in store.seen)
    seen = store.seen
    assert seen.index(["setup", "note"]) < seen.index(["start", "store"])


def test_what_a_hook_puts_into_the_context_is_sent_on(store: Store) -> None:
    context = store.rpc.context_by_rpc()
    assert context["noted"] == "by the journal"
    assert [call_id.rpartition(".")[0] for call_id in context["call_id_stack"]][-2:] == [
        "store.context_by_rpc",
        "store.see_context",
    ]


def test_context_data_is_seen(store: Store) -> None:
    with RawCaller(store.uri) as caller:
        headers = {"nameko.language": "de", "bare": "yes", "nameko.call_id_stack": ["somebody.called.1"]}
        context = caller.ask_for_json("store.see_context", call_body(), application_headers=headers)["result"]
    assert (context["language"], context["bare"]) == ("de", "yes")
    assert [call_id.rpartition(".")[0] for call_id in context["call_id_stack"]] == [
        "somebody.called",
        "store.see_context",
    ]


def test_a_service_calls_itself(store: Store) -> None:
    assert store.rpc.price_by_rpc("tea") == {"sku": "tea", "total": 6}


def test_calls_are_made_at_once(store: Store) -> None:
    assert store.rpc.prices_at_once(8) == [3 * number for number in range(8)]


def test_errors_of_calls_are_caught_by_namekos_classes(store: Store) -> None:
    assert store.rpc.errors_by_rpc() == [
        ["OutOfStock", ["lamp", "7"]],
        ["MethodNotFound", ["nothing"]],
        ["RemoteError", "ValueError", "('no', 3)", "ValueError ('no', 3)"],
    ]


def test_its_own_event_and_its_own_message_arrive(store: Store) -> None:
    assert store.rpc.sell("tea") == "sold"
    store.wait_for("sold", {"sku": "tea"})
    store.wait_for("delivery", {"sku": "tea"}, "yes")


def test_events_of_others_arrive(store: Store) -> None:
    store.dispatch("peer", "opened", {"at": 8})
    store.dispatch("peer", "closed", {"at": 18})
    store.wait_for("opened", {"at": 8}, None)
    store.wait_for("closed", {"at": 18})


def test_an_event_comes_again_after_an_error(store: Store) -> None:
    store.dispatch("peer", "broken", "cup")
    store.wait_for("broken", "cup", times=2)


def test_an_extension_of_its_own_fires_its_method(store: Store) -> None:
    store.rpc.ring_bell(3)
    store.wait_for("bell", 3, "bell")


def test_a_timer_has_fired(store: Store) -> None:
    store.wait_for("tick")


def test_http_is_answered(store: Store) -> None:
    with urlopen(f"{store.web}/prices/tea?quantity=4", timeout=10) as answer:
        assert (answer.status, answer.headers["X-Store"], answer.read()) == (200, "ours", b"12")


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("POST", "/broken", 500, b"Error: ValueError: broken\n"),
        ("GET", "/nowhere", 404, None),
        ("PUT", "/broken", 405, None),
        ("GET", "/prices/tea?quantity=x", 500, b"Error: ValueError: invalid literal for int() with base 10: 'x'\n"),
    ],
)
def test_http_errors_are_answered(store: Store, method: str, path: str, status: int, body: bytes | None) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(f"{store.web}{path}", method=method), timeout=10)
    with caught.value as answer:
        assert answer.code == status
        assert body is None or answer.read() == body


def test_a_reply_on_the_wire_is_namekos(store: Store) -> None:
    """The raw reply is nameko's, but for the two properties that nameko leaves out."""
    with RawCaller(store.uri) as caller:
        reply = caller.ask("store.price", call_body("tea"), correlation_id="1")
    properties = {name: value for name, value in reply.properties.items() if name not in ("app_id", "message_id")}
    assert properties == {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "application_headers": {},
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": "1",
    }
    assert reply.body == '{"result": {"sku": "tea", "total": 3}, "error": null}'
