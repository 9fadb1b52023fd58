"""Entrypoints for services under test: ``once`` fires when the service starts, ``dummy`` never."""

from typing import Any

from rpcservice.core.entrypoint import Entrypoint, ExceptionTypes


class Once(Entrypoint):
    """Fires its method once, when the service starts.

    Args:
        args: Positional arguments for the method.
        expected_exceptions: As for every entrypoint.
        sensitive_arguments: As for every entrypoint.
        kwargs: Keyword arguments for the method.
    """

    def __init__(
        self,
        *args: Any,
        expected_exceptions: ExceptionTypes = (),
        sensitive_arguments: str | tuple[str, ...] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(expected_exceptions=expected_exceptions, sensitive_arguments=sensitive_arguments)
        self.args = args
        self.kwargs = kwargs

    def start(self) -> None:
        """Fire."""
        self.bound_to.spawn_worker(self, self.args, dict(self.kwargs))


class Dummy(Entrypoint):
    """Never fires by itself; for methods that only ``entrypoint_hook`` calls."""


once = Once.decorator
dummy = Dummy.decorator
