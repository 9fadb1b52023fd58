"""What the log tells of containers and workers."""

import logging
from typing import Any

import pytest

from rpcservice import ServiceContainer
from rpcservice.testing import dummy


class Service:
    name = "service"

    @dummy
    def method(self, work: Any) -> None:
        work()


def told(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    """Give the messages of a level."""
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_debug_tells_of_each_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Where it came from, and how long it took."""
    caplog.set_level(logging.DEBUG, "rpcservice")
    container = ServiceContainer(Service)
    container.start()
    ctx = container.run_worker(
        container.entrypoints[0], (lambda: None,), context_data={"call_id_stack": ["caller.method.1"]}
    )
    container.stop()
    texts = told(caplog, logging.DEBUG)
    assert f"call stack of {ctx.call_id}: caller.method.1->{ctx.call_id}" in texts
    assert any(text.startswith(f"ran worker {ctx.call_id} in 0.0") for text in texts)
    assert (texts[0], texts[-1]) == (f"starting {container}", f"stopping {container}")


def test_nothing_is_told_of_workers_without_debug(caplog: pytest.LogCaptureFixture) -> None:
    """It is decided at the first call, so the others pay nothing."""
    caplog.set_level(logging.INFO, "rpcservice")
    container = ServiceContainer(Service)
    container.start()
    container.run_worker(container.entrypoints[0], (lambda: None,))
    container.stop()
    assert caplog.records == []


def test_what_is_killed_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Workers by their calls, and threads beside them."""
    container = ServiceContainer(Service)
    container.start()
    never, begun = container.backend.event(), container.backend.event()

    def work() -> None:
        begun.set()
        never.wait()

    ctx = container.spawn_worker(container.entrypoints[0], (work,))
    container.spawn_managed_thread(never.wait)
    assert begun.wait(5)
    container.kill()
    assert told(caplog, logging.WARNING) == [
        f"killing the worker of {ctx.call_id}",
        "killing a managed thread of service service",
    ]
