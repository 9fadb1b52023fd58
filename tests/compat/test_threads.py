"""Managed threads and workers in the hands of nameko's extensions: green threads of eventlet's."""

from collections.abc import Iterator
from typing import Any

import eventlet
import pytest
from eventlet.event import Event
from eventlet.support.greenlets import GreenletExit

from rpcservice.compat.nameko.containers import ServiceContainer
from rpcservice.compat.nameko.testing.services import dummy


class Service:
    name = "service"
    begun: Any
    ended: Any

    @dummy
    def method(self) -> None:
        try:
            self.begun.send()
            Event().wait()
        finally:
            self.ended.send()


@pytest.fixture
def container() -> Iterator[ServiceContainer]:
    """A started container."""
    Service.begun, Service.ended = Event(), Event()
    made = ServiceContainer(Service, {})
    made.start()
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """Nothing here takes long."""
    with eventlet.Timeout(10):
        yield


def test_a_thread_gives_what_its_function_returns(container: ServiceContainer) -> None:
    """As eventlet's threads do."""
    thread = container.spawn_managed_thread(lambda: 42)
    assert (thread.dead, thread.is_alive()) == (False, True)
    assert (thread.wait(), thread.wait(1), thread.is_alive()) == (42, True, False)
    assert not thread
    assert thread not in container._threads


def test_a_thread_raises_what_its_function_raises(
    container: ServiceContainer, capfd: pytest.CaptureFixture[str]
) -> None:
    """And so does the container, which it kills; nothing else is told of it."""

    def fail() -> None:
        raise LookupError("nothing there")

    thread = container.spawn_managed_thread(fail)
    for ended in (thread, container):
        with pytest.raises(LookupError, match="nothing there"):
            ended.wait()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("end", [eventlet.kill, lambda thread: thread.kill()])
def test_a_thread_can_be_killed(container: ServiceContainer, end: Any) -> None:
    """In the ways that eventlet has; the container lives on."""
    thread = container.spawn_managed_thread(lambda: Event().wait())
    assert thread.wait(0.01) is False
    end(thread)
    with pytest.raises(GreenletExit):
        thread.wait()
    assert thread.dead
    assert container.wait(0) is False


def test_a_thread_that_has_not_begun_can_be_cancelled(container: ServiceContainer) -> None:
    """Its function does not run."""
    ran: list[int] = []
    thread = container.spawn_managed_thread(lambda: ran.append(1))
    thread.cancel()
    with pytest.raises(GreenletExit):
        thread.wait()
    assert ran == []


def test_a_function_can_be_linked_to_the_end_of_a_thread(container: ServiceContainer) -> None:
    """It gets the thread and what it was linked with."""
    linked: list[Any] = []
    thread = container.spawn_managed_thread(lambda: 1)
    thread.link(lambda *args, **kwargs: linked.append((args, kwargs)), 2, key=3)
    thread.wait()
    eventlet.sleep(0)
    assert linked == [((thread, 2), {"key": 3})]


def test_threads_end_with_their_container(container: ServiceContainer) -> None:
    """Where they stand."""
    thread = container.spawn_managed_thread(lambda: Event().wait())
    assert thread.wait(0.01) is False
    container.stop()
    assert thread.dead


def test_a_worker_can_be_killed(container: ServiceContainer) -> None:
    """By the thread that nameko has for it; the others, and the container, go on."""
    (entrypoint,) = container.entrypoints
    ctx = container.spawn_worker(entrypoint)
    Service.begun.wait()
    thread = container._worker_threads[ctx]
    assert (bool(thread), thread.dead) == (True, False)
    thread.kill()
    Service.ended.wait()
    assert container.pool.wait_for([ctx], eventlet.hubs.get_hub().clock() + 5)
    assert (bool(thread), thread.dead) == (False, True)
    thread.kill()
    assert container.wait(0) is False
