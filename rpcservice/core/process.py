"""Process, what this process is among those that a supervisor runs side by side; alone it is the only one."""

from collections.abc import Callable
from socket import socket
from typing import Protocol

from rpcservice.core.resource import Resource

NUMBER_VARIABLE = "RPCSERVICE_WORKER"
"""The environment variable with the number of a process of ``rpcservice run --workers``; a replacement keeps it."""


class Supervisor(Protocol):
    """What a process may ask of the supervisor that started it."""

    number: int

    def listener(self, key: str, address: str) -> socket:
        """Give the listening socket for an address, which all processes share.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        ...


class Process(Resource):
    """What extensions may know of the process that they are in: ``host.resource(Process)``.

    Attributes:
        number: The number of this process, from 1 on; None where there is no supervisor.
        others_serve_on: Whether other processes take what comes to the addresses of this one when it stops.
    """

    def setup(self) -> None:
        """Be alone, until :meth:`join`."""
        self.number: int | None = None
        self.others_serve_on = False
        self._supervisor: Supervisor | None = None
        self._leads = True
        self._waiting: list[Callable[[], object]] = []

    def join(self, supervisor: Supervisor) -> None:
        """Be one of several; called before anything starts."""
        self._supervisor = supervisor
        self.number = supervisor.number
        self.others_serve_on = True
        self._leads = False

    def listener(self, key: str, address: str) -> socket | None:
        """Give the listening socket that processes share for an address; None where this process is alone.

        Args:
            key: The key of the configuration, for messages.
            address: Its value.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        return None if self._supervisor is None else self._supervisor.listener(key, address)

    def when_leading(self, function: Callable[[], object]) -> None:
        """Call a function once this is the process that does what only one of them is to do; maybe at once.

        It stays that process until it ends. The function must not wait.
        """
        if self._leads:
            function()
        else:
            self._waiting.append(function)

    def lead(self) -> None:
        """Be the process that does what only one of them is to do; the supervisor says so."""
        self._leads = True
        waiting, self._waiting = self._waiting, []
        for function in waiting:
            function()
