"""What services log, as it comes to the loggers that nameko's users know."""

import http.client
import inspect
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
from under_nameko import standing_in

from rpcservice.compat import nameko
from rpcservice.compat.nameko._logging import WORDS

with standing_in():
    from nameko.containers import ServiceContainer, WorkerContext
    from nameko.runners import run_services
    from nameko.testing.services import dummy, entrypoint_hook
    from nameko.web.handlers import http as on_http

MEMORY = {"AMQP_URI": "memory://"}
Records = list[logging.LogRecord]


class Expected(Exception):
    """Part of the contract."""


class Service:
    name = "service"

    @dummy(expected_exceptions=Expected)
    def refuse(self) -> None:
        raise Expected("not today")

    @dummy
    def fail(self) -> None:
        raise ValueError("broken")


class Web:
    name = "web"

    @on_http("GET", "/page")
    def page(self, request: Any) -> str:
        return "page"


@pytest.fixture
def heard() -> Iterator[Callable[[str, int], Any]]:
    """Give what a logger of nameko's is told during a block, from a level on."""

    class Keep(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.records: Records = []

        def emit(self, record: logging.LogRecord) -> None:
            self.records.append(record)

    @contextmanager
    def listen(name: str, level: int) -> Iterator[Records]:
        logger, keep = logging.getLogger(name), Keep()
        before = logger.level
        logger.addHandler(keep)
        logger.setLevel(level)
        try:
            yield keep.records
        finally:
            logger.removeHandler(keep)
            logger.setLevel(before)

    with standing_in():
        yield listen


@pytest.fixture
def container() -> Iterator[Any]:
    """A container that runs."""
    container = ServiceContainer(Service, MEMORY)
    container.start()
    yield container
    container.kill()


def test_an_expected_exception_is_a_warning(heard: Any, container: Any) -> None:
    """Without a traceback."""
    with (
        heard("nameko.containers", logging.WARNING) as records,
        entrypoint_hook(container, "refuse") as refuse,
        pytest.raises(Expected),
    ):
        refuse()
    (record,) = records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.getMessage().startswith("(expected) error handling worker service.refuse.")


def test_another_exception_is_an_error(heard: Any, container: Any) -> None:
    """With its traceback."""
    with (
        heard("nameko.containers", logging.WARNING) as records,
        entrypoint_hook(container, "fail") as fail,
        pytest.raises(ValueError),
    ):
        fail()
    (record,) = records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError


def test_a_thread_that_dies_is_critical(heard: Any, container: Any) -> None:
    """It takes the container with it."""

    def die() -> None:
        raise RuntimeError("enough")

    with heard("nameko.containers", logging.WARNING) as records:
        container.spawn_managed_thread(die, identifier="watcher")
        with pytest.raises(RuntimeError, match="enough"):
            container.wait(10)
    assert records[0].levelname == "CRITICAL"
    assert "watcher of service service: thread exited with error" in records[0].getMessage()


def test_the_runner_says_what_it_starts(heard: Any) -> None:
    with heard("nameko.runners", logging.INFO) as records, run_services(MEMORY, Service, kill_on_exit=True):
        pass
    assert records[0].getMessage() == "starting services: service"


def test_workers_and_their_end_are_told_of_by_the_logger_of_containers(heard: Any) -> None:
    """As in nameko: at DEBUG what runs, as a warning what is killed."""
    with heard("nameko.containers", logging.DEBUG) as records:
        container = ServiceContainer(Service, MEMORY)
        container.start()
        thread = container.spawn_managed_thread(container.backend.event().wait)
        assert thread.wait(0.01) is False
        container.kill()
        assert thread.wait(10)
    told = [(record.levelname, record.getMessage()) for record in records]
    assert ("DEBUG", f"starting {container}") in told
    assert ("WARNING", f"killing a managed thread of service {container.service_name}") in told


def test_a_worker_is_told_of_in_namekos_words(heard: Any) -> None:
    """At DEBUG, step by step; "spawning" alone is not said."""
    with heard("nameko.containers", logging.DEBUG) as records:
        container = ServiceContainer(Service, MEMORY)
        container.start()
        with entrypoint_hook(container, "fail") as fail, pytest.raises(ValueError, match="broken"):
            fail()
        container.kill()
    (ctx,) = {
        id(arg): arg for record in records for arg in record.args or () if isinstance(arg, WorkerContext)
    }.values()
    assert repr(ctx) == f"<WorkerContext [service.fail] at {id(ctx):#x}>"
    told = [re.sub(r"\d+\.\d{3}s$", "0.000s", record.getMessage()) for record in records]
    begin = told.index(f"call stack for {ctx.call_id}: {ctx.call_id}")
    assert told[begin + 1 : told.index(f"ran worker {ctx.call_id} in 0.000s")] == [
        f"setting up {ctx}",
        f"calling handler for {ctx}",
        f"ran handler for {ctx} in 0.000s",
        f"error handling worker {ctx.call_id}: ValueError: broken",
        f"handling result for {ctx}",
        f"handled result for {ctx} in 0.000s",
        f"signalling result for {ctx}",
        f"tearing down worker {ctx}",
        f"tore down worker {ctx} in 0.000s",
    ]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, words in WORDS.items() for text in words.texts])
def test_what_is_said_in_other_words_is_said(name: str, text: str) -> None:
    """A line of ours that is written anew would not be found any more."""
    assert f'"{text}"' in inspect.getsource(import_module(name))


def test_without_the_layer_the_words_are_our_own(caplog: pytest.LogCaptureFixture) -> None:
    """For services that know nothing of nameko."""
    nameko.uninstall()
    logging.getLogger("rpcservice.core.worker").error("%s: %s", "call", "text")
    assert caplog.messages == ["call: text"]


def test_requests_are_logged_where_that_is_asked_for(heard: Any) -> None:
    """By nameko's logger of the web server."""
    from rpcservice.web.server import WebServer

    config = {**MEMORY, "WEB_SERVER_ADDRESS": "127.0.0.1:0"}
    with heard("nameko.web.server", logging.DEBUG) as records, run_services(config, Web) as runner:
        connection = http.client.HTTPConnection(*runner.resources.get(WebServer).address, timeout=10)
        connection.request("GET", "/page")
        assert connection.getresponse().read() == b"page"
        connection.close()
    assert ['"GET /page" 200' in record.getMessage() for record in records].count(True) == 1


def test_a_level_of_nameko_s_is_ours_too(heard: Any, container: Any) -> None:
    """Of the package, for all below it."""
    with (
        heard("nameko", logging.CRITICAL) as records,
        entrypoint_hook(container, "fail") as fail,
        pytest.raises(ValueError),
    ):
        fail()
    assert records == []


def test_levels_that_were_remembered_are_forgotten() -> None:
    """Something may have been logged, or not, before nameko's loggers were put above ours."""
    ours, theirs = logging.getLogger("rpcservice.core.runner"), logging.getLogger("nameko.runners")
    theirs.setLevel(logging.DEBUG)
    before = ours.isEnabledFor(logging.DEBUG)
    with standing_in():
        within = ours.isEnabledFor(logging.DEBUG)
    assert (before, within, ours.isEnabledFor(logging.DEBUG)) == (False, True, False)
    theirs.setLevel(logging.NOTSET)
