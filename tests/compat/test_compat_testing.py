"""nameko's helpers for tests, as far as its own suites of tests/compat/nameko_suite do not show them."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import eventlet
import pytest
import requests
from under_nameko import standing_in

from rpcservice.concurrency import green
from rpcservice.errors import RemoteError
from rpcservice.testing import RabbitMQNode

with standing_in():
    from nameko.containers import ServiceContainer, WorkerContext
    from nameko.exceptions import ExtensionNotFound
    from nameko.extensions import DependencyProvider
    from nameko.testing.rabbit import Client, HTTPError
    from nameko.testing.services import (
        MockDependencyProvider,
        dummy,
        entrypoint_hook,
        entrypoint_waiter,
        once,
        worker_factory,
    )
    from nameko.testing.utils import (
        DummyProvider,
        ResourcePipeline,
        get_rabbit_connections,
        reset_rabbit_connections,
        wait_for_worker_idle,
    )
    from nameko.testing.waiting import WaitResult
    from nameko.testing.websocket import Socket, make_virtual_socket

MEMORY = {"AMQP_URI": "memory://"}


class Seven(DependencyProvider):
    """Injects a number."""

    def get_dependency(self, worker_ctx: Any) -> int:
        return 7


class Service:
    name = "service"

    seven = Seven()

    @once(1, expected_exceptions=ValueError, sensitive_arguments="first", second=2)
    def begin(self, first: int, second: int) -> int:
        return first + second + self.seven

    @dummy
    def wait(self) -> None:
        green().event().wait()


@pytest.fixture
def container() -> Iterator[Any]:
    """A container that runs."""
    container = ServiceContainer(Service, MEMORY)
    yield container
    container.kill()


def test_once_keeps_the_options_of_entrypoints_for_itself(container: Any) -> None:
    """The rest is for the method."""
    (begin,) = [found for found in container.entrypoints if found.method_name == "begin"]
    assert (begin.expected_exceptions, begin.sensitive_arguments) == ((ValueError,), ("first",))
    with entrypoint_waiter(container, "begin", timeout=10) as result:
        container.start()
    assert result.get() == 10


def test_a_class_that_is_no_whole_service_has_its_dependencies_replaced() -> None:
    """A mixin without a name, for example."""

    class Mixin:
        seven = Seven()
        eight = Seven()

    made = worker_factory(Mixin, seven=1)
    assert made.seven == 1
    assert made.eight.anything() is not None
    with pytest.raises(ExtensionNotFound, match="Mixin has no dependency nine; it has: eight, seven"):
        worker_factory(Mixin, nine=9)


def test_a_mock_provider_injects_what_it_was_given() -> None:
    """Or a mock."""
    provider = MockDependencyProvider("seven", 8)
    assert (provider.attr_name, provider.get_dependency(Mock())) == ("seven", 8)
    assert MockDependencyProvider("seven").get_dependency(Mock()).anything() is not None


def test_a_hook_ends_with_the_container(container: Any) -> None:
    """It raises why."""
    container.start()
    green().call_later(0.01, green().start, container.kill, RuntimeError("enough"))
    with entrypoint_hook(container, "wait", timeout=10) as wait, pytest.raises(RuntimeError, match="enough"):
        wait()


def test_a_hook_has_a_time_limit(container: Any) -> None:
    """The waiter's exception."""
    container.start()
    with entrypoint_hook(container, "wait", timeout=0.01) as wait, pytest.raises(entrypoint_waiter.Timeout):
        wait()


def test_a_wait_result_takes_an_error_as_a_triple() -> None:
    """As nameko's callers send it."""
    result = WaitResult()
    result.send(None, (ValueError, ValueError("no"), None))
    with pytest.raises(ValueError, match="no"):
        result.get()


@pytest.mark.parametrize("made_up", [Mock(service_name="made", config={}), Mock(service_name="made")])
def test_a_worker_context_is_made_of_mocks(made_up: Any) -> None:
    """As unit tests of extensions do."""
    stack = {"call_id_stack": [f"parent.{number}" for number in range(20)]}
    ctx = WorkerContext(made_up, None, DummyProvider("method"), args=(1,), data=stack)
    assert ctx.call_id.startswith("made.method.")
    assert (len(ctx.call_id_stack), ctx.call_id_stack[-1]) == (11, ctx.call_id)
    assert (ctx.container, ctx.entrypoint.method_name) == (made_up, "method")


def test_the_parents_that_are_tracked_are_those_of_the_configuration() -> None:
    """Of a made-up container too."""
    made_up = Mock(service_name="made", config={"parent_calls_tracked": 1})
    ctx = WorkerContext(made_up, None, Mock(method_name="method"), data={"call_id_stack": ["a", "b"]})
    assert ctx.call_id_stack == ["b", ctx.call_id]


def test_a_resource_that_cannot_be_made_fails_the_test_that_wants_it() -> None:
    """nameko's would wait for ever; the next one is made again."""
    create = Mock(side_effect=[ValueError("first"), "second", "third", "fourth", "fifth", "sixth"])
    destroyed: list[str] = []
    with ResourcePipeline(create, destroyed.append, size=1).run() as pipeline:
        with pytest.raises(ValueError, match="first"), pipeline.get():
            pass
        with pipeline.get() as item:
            assert item == "second"
    assert "second" in destroyed
    assert len(destroyed) == create.call_count - 1


@pytest.mark.broker
def test_connections_of_a_vhost_are_reset(managed_rabbitmq: RabbitMQNode) -> None:
    """And one that is gone meanwhile is no error."""
    rabbit = Client(managed_rabbitmq.api_uri)
    connections = Mock(get_connections=lambda: [{"vhost": "a", "name": "gone"}, {"vhost": "b", "name": "other"}])
    connections.delete_connection.side_effect = rabbit.delete_connection
    assert get_rabbit_connections("a", connections) == [{"vhost": "a", "name": "gone"}]
    reset_rabbit_connections("a", connections)
    connections.delete_connection.assert_called_once_with("gone")
    with pytest.raises(HTTPError) as caught:
        rabbit.get_queue("/", "nowhere")
    assert caught.value.response.status_code == 404
    assert isinstance(caught.value, requests.HTTPError), "code that works with nameko may catch that"


def test_another_answer_of_the_api_is_raised() -> None:
    """It is not known what it means."""

    class Refusing:
        def get_connections(self) -> list[dict[str, str]]:
            return [{"vhost": "a", "name": "one"}]

        def delete_connection(self, name: str) -> None:
            raise HTTPError("DELETE", Mock(status_code=500, text="no"))

    with pytest.raises(HTTPError, match="500"):
        reset_rabbit_connections("a", Refusing())
    assert get_rabbit_connections("b", Mock(get_connections=lambda: None)) == []


def test_a_websocket_of_a_test_tells_results_and_events_apart() -> None:
    """Without a connection."""
    import json

    sent: list[Any] = []
    socket = Socket(lambda text: sent.append(json.loads(text)))

    def answer(success: bool, **rest: Any) -> None:
        frame = {"type": "result", "success": success, "correlation_id": sent[-1]["correlation_id"], **rest}
        socket.receive(json.dumps(frame))

    green().call_later(0, lambda: answer(True, data=3))
    assert socket.rpc("add", a=1, b=2) == 3
    assert (sent[0]["method"], sent[0]["data"]) == ("add", {"a": 1, "b": 2})
    error = {"exc_type": "Unheard", "exc_path": "x.Unheard", "exc_args": ["no"], "value": "no"}
    green().call_later(0, lambda: answer(False, error=error))
    with pytest.raises(RemoteError, match="Unheard no"):
        socket.rpc("add")
    socket.receive(json.dumps({"type": "event", "event": "sold", "data": 1}))
    assert socket.wait_for_event("sold") == ("sold", 1)


def test_a_websocket_that_cannot_connect_says_why() -> None:
    """To who waits for it."""
    from rpcservice.testing import find_free_port

    app, connect = make_virtual_socket("127.0.0.1", find_free_port())
    task = green().spawn(app.run_forever)
    with pytest.raises(OSError, match=r"(?i)refused"):
        connect()
    assert task.wait(10)


def test_a_wait_for_idle_workers_that_ends_in_time_leaves_no_clock_behind(container: Any) -> None:
    """One that still ran would strike in the next test."""
    container.start()
    (waiting,) = (entrypoint for entrypoint in container.entrypoints if entrypoint.method_name == "wait")
    container.spawn_worker(waiting)
    with pytest.warns(DeprecationWarning), pytest.raises(eventlet.Timeout, match="0 seconds"):
        wait_for_worker_idle(container, timeout=0)
    eventlet.sleep(0.01)
