"""What the programs on rpcservice share: to import it patches the process, so it is imported first."""

import eventlet

eventlet.monkey_patch()

import dataclasses  # noqa: E402
from collections.abc import Callable, Mapping  # noqa: E402
from typing import Any  # noqa: E402

import load  # noqa: E402
from eventlet.event import Event  # noqa: E402

from rpcservice import ServiceRunner, rpc, timer  # noqa: E402

_done = Event()


class Client:
    """A service that measures once, as soon as all has started; then the program ends."""

    @timer(interval=3600, eager=True)
    def drive(self) -> None:
        """Measure, in one worker."""
        try:
            self.measure()
        finally:
            _done.send()

    def measure(self) -> None:
        """Put the load on, and report."""
        raise NotImplementedError


class Greeter:
    """What programs that are both service and client call."""

    @rpc
    def hello(self, name):
        return f"Hello, {name}!"


def measure_one_and_many(plan: load.Plan, call: Callable[[], object]) -> None:
    """Measure twice: first one call after the other, then many at once."""
    for in_flight in (1, plan.in_flight):
        load.run_greenlets(dataclasses.replace(plan, in_flight=in_flight), call)


def run(config: Mapping[str, Any], *services: type) -> None:
    """Run services until one has measured."""
    runner = ServiceRunner(config)
    for service in services:
        runner.add_service(service)
    runner.start()
    _done.wait()
    runner.kill()
