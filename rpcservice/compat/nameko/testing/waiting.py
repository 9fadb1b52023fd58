"""nameko's wait for a call."""

from contextlib import AbstractContextManager
from typing import Any

from rpcservice.testing import calls, waits

__all__ = (
    "WaitResult",
    "wait_for_call",
)


class WaitResult(calls.WaitResult):
    """What was waited for, once it has come."""

    def send(self, res: Any, exc_info: Any = None) -> None:
        """Keep the first outcome; later ones are dropped.

        Args:
            res: What was returned.
            exc_info: What was raised instead, as the triple of :func:`sys.exc_info` or by itself.
        """
        super().send(res, exc_info[1] if isinstance(exc_info, tuple) else exc_info)


def wait_for_call(
    obj: Any, target: str, callback: waits.CallCallback | None = None
) -> AbstractContextManager[calls.WaitResult]:
    """Give a block at whose end a method has been called; see :func:`rpcservice.testing.wait_for_call`."""
    return waits.wait_for_call(obj, target, callback, timeout=None)
