"""Fixtures of the whole suite; most come from the package's own pytest plugin."""

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rpcservice.testing import FakeHost

pytest_plugins = ["pytester", "taking_turns", "security_canary"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long scenarios to who asks for them: ``pytest -m faults``."""
    if "faults" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("faults") is not None]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.fixture(scope="session", autouse=True)
def _coverage_of_real_threads() -> None:
    """coverage follows threads of the patched module alone, which are greenlets."""
    from rpcservice.concurrency.native import native

    native("threading").settrace(threading.gettrace())


@pytest.fixture(autouse=True)
def _own_access_log() -> Iterator[None]:
    """Commands silence the log of HTTP requests, for the whole process."""
    yield
    logging.getLogger("rpcservice.web.access").setLevel(logging.NOTSET)


@pytest.fixture
def host() -> "FakeHost":
    """A host for one extension alone."""
    from rpcservice.testing import FakeHost

    return FakeHost()
