"""Fixtures of the whole suite; most come from the package's own pytest plugin."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rpcservice.testing import FakeHost

pytest_plugins = ["pytester"]


@pytest.fixture
def host() -> "FakeHost":
    """A host for one extension alone."""
    from rpcservice.testing import FakeHost

    return FakeHost()
