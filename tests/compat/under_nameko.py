"""Imports under nameko's names, for test modules that run in the suite's own process."""

from collections.abc import Iterator
from contextlib import contextmanager

from rpcservice.compat import nameko


@contextmanager
def standing_in() -> Iterator[None]:
    """Stand in for nameko during a block: ``with standing_in(): from nameko.timer import timer``."""
    was_installed = nameko.is_installed()
    nameko.install()
    try:
        yield
    finally:
        if not was_installed:
            nameko.uninstall()
