"""Fixtures of the tests of the documentation."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def running() -> Callable[..., Any]:
    """Run services for the time of a block: ``with running(Orders, Products) as site: site.http("GET", "/orders")``."""
    import sites

    return sites.running
