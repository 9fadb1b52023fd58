import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rpcservice.cli import logs
from rpcservice.config import Settings
from rpcservice.core.container import ServiceContainer
from rpcservice.core.logs import WorkerFilter
from rpcservice.errors import ConfigError, MissingExtra
from rpcservice.testing import dummy, entrypoint_hook

log = logging.getLogger("shop.orders")


class Orders:
    name = "orders"

    @dummy
    def place(self, sku: str) -> None:
        log.info("placed %s", sku)


@pytest.fixture(autouse=True)
def restored(own_logging: None) -> Iterator[None]:
    """The handlers of this module's own logger are undone too."""
    yield
    logging.getLogger("shop.orders").handlers.clear()


def dict_config(**loggers: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"plain": {"format": "%(service)s|%(method)s|%(call_id)s|%(message)s"}},
        "handlers": {"plain": {"class": "logging.StreamHandler", "formatter": "plain"}},
        **loggers,
    }


def test_lines_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings())
    log.warning("no %s left", "tea")
    line = capsys.readouterr().err
    assert line.endswith(" WARNING shop.orders: no tea left\n")


def test_lines_of_a_worker_name_its_call(
    capsys: pytest.CaptureFixture[str], container_factory: Callable[..., ServiceContainer]
) -> None:
    container = container_factory(Orders)
    container.start()
    logs.set_up(Settings())
    with entrypoint_hook(container, "place") as place:
        place("tea")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("shop.orders: ")[2].partition(".place.")[0] for line in lines if "placed tea" in line] == [
        "[orders"
    ]


def test_debug_lines_come_when_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings())
    log.debug("hidden")
    logs.set_up(Settings(), level=logging.DEBUG)
    log.debug("shown")
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()] == ["shown"]


@pytest.mark.parametrize(("level", "is_written"), [(logging.INFO, False), (logging.DEBUG, True)])
def test_http_requests_have_lines_when_they_are_asked_for(level: int, is_written: bool) -> None:
    logs.set_up(Settings(), level=level)
    assert logging.getLogger(logs.ACCESS_LOG).isEnabledFor(logging.INFO) is is_written


def test_logging_of_ones_own_has_lines_for_http_requests() -> None:
    logs.set_up(Settings(logging=dict_config(root={"handlers": ["plain"], "level": "INFO"})))
    assert logging.getLogger(logs.ACCESS_LOG).isEnabledFor(logging.INFO)


def test_json_lines_hold_the_call(
    capsys: pytest.CaptureFixture[str], container_factory: Callable[..., ServiceContainer]
) -> None:
    container = container_factory(Orders)
    container.start()
    logs.set_up(Settings(log_format="json"))
    with entrypoint_hook(container, "place") as place:
        place("tea")
    objects = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (line,) = [one for one in objects if one["message"] == "placed tea"]
    assert line["call_id"].startswith("orders.place.")
    assert {key: line[key] for key in ("level", "logger", "service", "method")} == {
        "level": "INFO",
        "logger": "shop.orders",
        "service": "orders",
        "method": "place",
    }
    assert line["timestamp"]


def test_a_traceback_is_part_of_its_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings(log_format="json"))
    try:
        raise ValueError("no luck")
    except ValueError:
        log.exception("failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: no luck" in json.loads(line)["exc_info"]


def test_json_lines_without_the_package_tell_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pythonjsonlogger.json", None)
    with pytest.raises(MissingExtra, match=r"pip install 'rpcservice\[logging\]'"):
        logs.set_up(Settings(log_format="json"))


def test_logging_overrides_the_format(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(log_format="json", logging=dict_config(root={"handlers": ["plain"], "level": "INFO"}))
    logs.set_up(settings)
    log.info("placed")
    assert capsys.readouterr().err == "-|-|-|placed\n"


def test_logging_may_use_the_call_in_any_handler(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings(logging=dict_config(loggers={"shop.orders": {"handlers": ["plain"], "level": "INFO"}})))
    log.info("placed")
    assert "-|-|-|placed" in capsys.readouterr().err


def test_a_filter_of_the_configurations_own_is_not_doubled() -> None:
    description = dict_config(root={"handlers": ["plain"]})
    description["filters"] = {"call": {"()": "rpcservice.core.logs.WorkerFilter"}}
    description["handlers"]["plain"]["filters"] = ["call"]
    logs.set_up(Settings(logging=description))
    (handler,) = logging.getLogger().handlers
    assert [type(one) for one in handler.filters] == [WorkerFilter]


def test_logging_keeps_the_loggers_of_what_is_imported_already(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Settings(logging=dict_config(root={"handlers": ["plain"], "level": "INFO"})))
    assert not logging.getLogger("rpcservice.core.runner").disabled


def test_a_wrong_logging_configuration_names_the_key_and_the_cause() -> None:
    with pytest.raises(ConfigError, match=r"LOGGING is no configuration for logging\.config\.dictConfig: .*'nowhere'"):
        logs.set_up(Settings(logging=dict_config(root={"handlers": ["nowhere"]})))


def test_what_is_held_back_is_written_once_logging_is_set_up(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.held_back():
        log.warning("early")
        assert capsys.readouterr().err == ""
        logs.set_up(Settings())
    assert capsys.readouterr().err.endswith("WARNING shop.orders: early\n")


def test_what_is_held_back_is_not_lost_when_there_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError), logs.held_back():
        log.warning("early")
        raise ConfigError("wrong")
    assert caplog.messages == ["early"]


def test_lines_do_nothing_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A routing key or an error may be a stranger's."""
    logs.set_up(Settings())
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        log.exception("message %s failed", "\x1b]0;owned\x07")
    text = capsys.readouterr().err
    assert "message \\x1b]0;owned\\x07 failed\n" in text
    assert text.endswith("\nValueError: \\x1b[2J\n")
    assert "\x1b" not in text
