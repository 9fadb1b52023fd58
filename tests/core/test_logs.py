"""Log lines of a worker say whose they are."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from rpcservice import ServiceContainer, WorkerContext
from rpcservice.concurrency import green
from rpcservice.core.logs import WorkerFilter

log = logging.getLogger("shop.code")


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.handler.addFilter(WorkerFilter())
    return caplog


@pytest.mark.parametrize(("number", "worker"), [(None, "-"), ("2", "2")])
def test_lines_carry_the_number_of_one_of_several_processes(
    number: str | None, worker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RPCSERVICE_WORKER", raising=False)
    if number is not None:
        monkeypatch.setenv("RPCSERVICE_WORKER", number)
    record = log.makeRecord("shop", logging.INFO, "shop.py", 1, "bought", (), None)
    assert WorkerFilter().filter(record)
    assert vars(record)["worker"] == worker


def whose(record: logging.LogRecord) -> tuple[Any, Any, Any]:
    fields = vars(record)
    return fields["service"], fields["method"], fields["call_id"]


def test_lines_inside_a_worker_carry_service_method_and_call_id(
    hand: type[Any],
    start: Callable[..., ServiceContainer],
    fire: Callable[..., WorkerContext],
    log_lines: pytest.LogCaptureFixture,
) -> None:
    class Shop:
        name = "shop"

        @hand.decorator
        def buy(self) -> None:
            log.warning("bought")

    ctx = fire(start(Shop), "buy")
    (line,) = [record for record in log_lines.records if record.message == "bought"]
    assert whose(line) == ("shop", "buy", ctx.call_id)


def test_lines_of_what_a_worker_spawns_carry_them_too(
    hand: type[Any],
    start: Callable[..., ServiceContainer],
    fire: Callable[..., WorkerContext],
    log_lines: pytest.LogCaptureFixture,
) -> None:
    class Shop:
        name = "shop"

        @hand.decorator
        def buy(self) -> None:
            assert green().spawn(log.warning, "beside").wait(5)

    ctx = fire(start(Shop), "buy")
    (line,) = [record for record in log_lines.records if record.message == "beside"]
    assert whose(line) == ("shop", "buy", ctx.call_id)


def test_the_line_of_a_failed_call_carries_them(
    hand: type[Any],
    start: Callable[..., ServiceContainer],
    fire: Callable[..., WorkerContext],
    log_lines: pytest.LogCaptureFixture,
) -> None:
    class Shop:
        name = "shop"

        @hand.decorator
        def buy(self) -> None:
            raise RuntimeError("broke")

    ctx = fire(start(Shop), "buy")
    (line,) = [record for record in log_lines.records if "broke" in record.message]
    assert whose(line) == ("shop", "buy", ctx.call_id)


def test_lines_outside_a_worker_carry_a_dash(log_lines: pytest.LogCaptureFixture) -> None:
    log.warning("nobody's")
    assert whose(log_lines.records[0]) == ("-", "-", "-")
