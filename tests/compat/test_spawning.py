"""Containers of others that override ``spawn_worker``: whatever fires goes through it."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from waiting import wait_until

import rpcservice
from rpcservice.compat.nameko.containers import ServiceContainer
from rpcservice.compat.nameko.testing.services import entrypoint_hook, once
from rpcservice.compat.nameko.timer import timer
from rpcservice.compat.nameko.web.handlers import http
from rpcservice.compat.nameko.web.websocket import rpc as on_call
from rpcservice.errors import ContainerBeingKilled, WorkerPoolFull
from rpcservice.testing.websocket import VirtualSocket
from rpcservice.web.server import WebServer

MEMORY = {"AMQP_URI": "memory://", "WEB_SERVER_ADDRESS": "127.0.0.1:0"}

Host = Callable[..., Any]


class Audit(ServiceContainer):
    """With nameko's signature."""

    def spawn_worker(  # type: ignore[override]  # as subclasses for nameko have it
        self, entrypoint: Any, args: Any, kwargs: Any, context_data: Any = None, handle_result: Any = None
    ) -> Any:
        """Note who fires, and whether it says how its outcome is sent."""
        vars(self).setdefault("spawned", []).append((entrypoint.method_name, callable(handle_result)))
        return super().spawn_worker(entrypoint, args, kwargs, context_data=context_data, handle_result=handle_result)


class Silent(ServiceContainer):
    """Has nothing run."""

    def spawn_worker(self, *args: Any, **kwargs: Any) -> Any:
        """Do nothing."""


class Rewriting(ServiceContainer):
    """Changes outcomes before they are sent."""

    def spawn_worker(self, entrypoint: Any, args: Any, kwargs: Any, **options: Any) -> Any:  # type: ignore[override]  # as theirs
        """Put another ``handle_result`` about the entrypoint's own."""
        handle = options.pop("handle_result")
        options["handle_result"] = lambda ctx, result, exc_info: handle(ctx, f"{result}!", exc_info)
        return super().spawn_worker(entrypoint, args, kwargs, **options)


class Service:
    name = "service"

    @http("GET", "/page")
    def page(self, request: Any) -> str:
        return "page"

    @timer(interval=60, eager=True)
    def tick(self) -> None:
        pass

    @on_call
    def ask(self, socket_id: str) -> str:
        return "asked"

    @once
    def begin(self) -> None:
        pass

    @rpcservice.rpc
    def add(self, a: int, b: int) -> int:
        return a + b


class Page:
    name = "page"

    @http("GET", "/page")
    def page(self, request: Any) -> str:
        return "page"


@pytest.fixture
def host() -> Iterator[Host]:
    """Start a service in a container of some class."""
    started: list[ServiceContainer] = []

    def start(cls: type[ServiceContainer], service_cls: type = Service, **settings: Any) -> Any:
        started.append(cls(service_cls, {**MEMORY, **settings}))
        started[-1].start()
        return started[-1]

    yield start
    for container in started:
        container.kill()


def ask(container: ServiceContainer, path: str) -> tuple[int, str]:
    """Give the status and the text of a page."""
    from http.client import HTTPConnection

    connection = HTTPConnection(*container.resources.get(WebServer).address, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_every_entrypoint_goes_through_the_spawn_worker_of_a_subclass(host: Host) -> None:
    """With a ``handle_result`` that it may wrap."""
    audit = host(Audit)
    assert ask(audit, "/page") == (200, "page")
    socket = VirtualSocket(*audit.resources.get(WebServer).address, "/ws").connect()
    assert socket.rpc("ask") == "asked"
    socket.close()
    wait_until(lambda: {"tick", "begin"} <= {name for name, _ in audit.spawned})
    assert {("page", True), ("ask", True), ("tick", True)} <= set(audit.spawned)


def test_an_entrypoint_of_rpcservice_gets_its_message_past_a_signature_of_nameko(host: Host) -> None:
    """It is answered, and its request is settled."""
    audit = host(Audit)
    with rpcservice.ServiceRpcClient("service", MEMORY, timeout=5) as service:
        assert service.add(1, 2) == 3
    assert ("add", True) in audit.spawned


def test_a_subclass_may_change_an_outcome_before_it_is_sent(host: Host) -> None:
    assert ask(host(Rewriting, Page), "/page") == (200, "page!")


def test_a_wrapped_spawn_worker_is_used_too(host: Host) -> None:
    """As instrumentation wraps it on the class, or a test on the instance."""
    container = host(ServiceContainer, Page)
    with patch.object(container, "spawn_worker", wraps=container.spawn_worker) as spawn:
        assert ask(container, "/page") == (200, "page")
    assert spawn.call_count == 1
    with patch.object(ServiceContainer, "spawn_worker", autospec=True, side_effect=RuntimeError("wrapped")):
        assert ask(container, "/page")[0] == 500
    assert ask(container, "/page") == (200, "page")


def test_a_hook_gets_the_result_through_a_subclass(host: Host) -> None:
    with entrypoint_hook(host(Audit), "add") as add:
        assert add(1, 2) == 3


def test_a_call_that_a_subclass_runs_nothing_for_is_an_error(host: Host) -> None:
    """Its caller is not left without an answer."""
    container = host(Silent)
    assert ask(container, "/page")[0] == 500
    with (
        entrypoint_hook(container, "page") as page,
        pytest.raises(RuntimeError, match=r"Silent\.spawn_worker spawned no worker for service\.page\."),
    ):
        page(None)


def test_a_wait_for_a_worker_ends_as_without_a_subclass(host: Host) -> None:
    """And a stopped container takes nothing."""
    container = host(Audit, max_workers=1)
    entrypoint = next(one for one in container.entrypoints if one.method_name == "tick")
    wait_until(lambda: ("tick", True) in container.spawned and not container.pool.running)
    with patch.object(container.pool, "size", 0), pytest.raises(WorkerPoolFull):
        container.run_worker(entrypoint, wait=0.01)
    container.kill()
    with pytest.raises(ContainerBeingKilled):
        container.run_worker(entrypoint)
