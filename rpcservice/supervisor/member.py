"""Member, a worker's side of its supervisor: it asks for sockets, says how it is, and does as it is told."""

import os
import signal
import socket as socket_types
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rpcservice.concurrency import Backend, Event
from rpcservice.concurrency.native import native
from rpcservice.core.process import Process
from rpcservice.errors import ConfigError
from rpcservice.supervisor.channel import Channel
from rpcservice.supervisor.handover import Handover, listener_name


class Stoppable(Protocol):
    """What ends the services: the signals of the command line."""

    def demand(self, count: int) -> None:
        """Act as after so many signals; may be called from any thread."""
        ...


class Member:
    """This process as one of a supervisor's workers.

    A real thread hears the supervisor, so that its death is noticed even while the services block the loop: then they
    are stopped, and what does not stop is ended.

    Args:
        handover: What this process was given.
        channel: Its end of the channel.
        backend: The one of the services.
        patience: Seconds that a stop may take, also when the supervisor is gone.
    """

    def __init__(self, handover: Handover, channel: Channel, backend: Backend, patience: float) -> None:
        self.number = handover.number
        self._channel = channel
        self._backend = backend
        self._patience = patience
        self._inherited = dict(handover.listeners)
        self._used: list[str] = []
        self._answers: dict[str, Any] = {}
        self._answered: dict[str, Event] = {}
        self._process: Process | None = None
        self._stoppable: Stoppable | None = None
        self._demanded = 0
        self._sleep: Callable[[float], None] = native("time").sleep
        # A hang-up is for the supervisor, who restarts all in turn.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        native("threading").Thread(target=self._hear, name="rpcservice-supervised", daemon=True).start()

    def join(self, process: Process) -> None:
        """Have the services of this process know that it is one of several."""
        self._process = process
        process.join(self)

    def stop_by(self, stoppable: Stoppable) -> None:
        """Have the supervisor's wish to stop carried out in order, from now on."""
        self._stoppable = stoppable
        if self._demanded:
            stoppable.demand(self._demanded)

    def listener(self, key: str, address: str) -> socket_types.socket:
        """Give the listening socket for an address: inherited, or else as the supervisor makes it now.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        name = listener_name(key, address)
        descriptor = self._inherited.pop(name, None)
        if descriptor is None:
            descriptor = self._ask_for(name, key, address)
        self._used.append(name)
        sock: socket_types.socket = native("socket").socket(fileno=descriptor)
        sock.setblocking(False)
        return sock

    def _ask_for(self, name: str, key: str, address: str) -> int:
        answered = self._answered[name] = self._backend.event()
        self._say("listen", [key, address])
        answered.wait()
        error, descriptor = self._answers.pop(name)
        if error is not None:
            raise ConfigError(error)
        return int(descriptor)

    def report_ready(self, lines: Sequence[str]) -> None:
        """Say that the services are up; the supervisor shows the lines of the first one that is."""
        for descriptor in self._inherited.values():
            os.close(descriptor)
        self._inherited.clear()
        self._say("ready", {"lines": list(lines), "listeners": self._used, "stop_limit": self._patience})

    def report_leaving(self) -> None:
        """Say that the services are about to stop, unless it is the supervisor who wants them to."""
        if not self._demanded:
            self._say("leaving", True)

    def _say(self, kind: str, value: Any) -> None:
        try:
            self._channel.send(kind, value)
        except OSError:
            return  # the supervisor is gone, which is heard, and ends this process

    def _hear(self) -> None:
        """Do what the supervisor says, to its end."""
        while True:
            try:
                for kind, value, descriptor in self._channel.receive():
                    self._do(kind, value, descriptor)
            except EOFError:
                break
        self._demand(1)
        self._sleep(self._patience)
        os.kill(os.getpid(), signal.SIGKILL)

    def _do(self, kind: str, value: Any, descriptor: int | None) -> None:
        if kind == "listening":
            name, error = value
            self._answers[name] = error, descriptor
            self._backend.post(self._answered[name].set)
        elif kind == "lead" and self._process is not None:
            self._backend.post(self._process.lead)
        elif kind == "stop":
            self._demand(1, others_serve_on=bool(value))
        elif kind == "kill":
            self._demand(2)

    def _demand(self, count: int, *, others_serve_on: bool = False) -> None:
        if self._process is not None:
            self._process.others_serve_on = others_serve_on
        self._demanded = count
        if self._stoppable is not None:
            self._stoppable.demand(count)
        else:
            # Nothing runs yet that has to be stopped in order.
            os.kill(os.getpid(), signal.SIGTERM)
