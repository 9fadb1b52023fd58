"""The load that a client puts on its service: one loop and one clock for all peers. Standard library alone."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Plan:
    """What one client is to do; the harness gives it as JSON in the first argument."""

    uri: str
    service: str
    task: str
    in_flight: int
    payload: int
    seconds: float
    warmup: float
    max_workers: int

    @property
    def method(self) -> str:
        """The method to call."""
        return "echo" if self.payload else "hello"

    @property
    def argument(self) -> str:
        """Its one argument."""
        return "x" * self.payload if self.payload else "world"

    @property
    def arguments(self) -> dict[str, str]:
        """The same by its name, for peers that pass no others."""
        return {"text" if self.payload else "name": self.argument}

    @property
    def answer(self) -> str:
        """What it must answer."""
        return self.argument if self.payload else "Hello, world!"

    @property
    def event(self) -> dict[str, Any]:
        """The payload of the events to publish."""
        return {"order": 4711, "sku": "sku-1", "quantity": 2, "customer": "somebody"}


def read_plan() -> Plan:
    """Give the plan from the command line."""
    return Plan(**json.loads(sys.argv[1]))


def tell(mark: str, **values: Any) -> None:
    """Report to the harness."""
    print(json.dumps({"mark": mark, **values}), flush=True)


def percentile(ordered: list[float], share: float) -> float:
    """Give the value below which that share of the ordered values lies."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Meter:
    """Measures one window: from the report "begin" to the report "end"."""

    def __init__(self) -> None:
        tell("begin")
        self._cpu = time.process_time()
        self._start = time.perf_counter()

    def finish(self, latencies: Iterable[float]) -> None:
        """End the window and report it."""
        seconds = time.perf_counter() - self._start
        cpu = time.process_time() - self._cpu
        ordered = sorted(latencies)
        tell(
            "end",
            count=len(ordered),
            seconds=seconds,
            cpu=cpu,
            p50=percentile(ordered, 0.5),
            p99=percentile(ordered, 0.99),
        )


def run_greenlets(plan: Plan, call: Callable[[], object]) -> None:
    """Keep the plan's number of calls under way from greenlets, first to warm up and then to measure."""
    import eventlet

    def loop(end: float, latencies: list[float]) -> None:
        clock = time.perf_counter
        begun = clock()
        while begun < end:
            call()
            now = clock()
            latencies.append(now - begun)
            begun = now

    def drive(seconds: float) -> list[float]:
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        threads = [eventlet.spawn(loop, end, latencies) for _ in range(plan.in_flight)]
        for thread in threads:
            thread.wait()
        return latencies

    drive(plan.warmup)
    meter = Meter()
    meter.finish(drive(plan.seconds))


async def run_tasks(plan: Plan, call: Callable[[], Awaitable[object]]) -> None:
    """Do the same from asyncio's tasks."""

    async def loop(end: float, latencies: list[float]) -> None:
        clock = time.perf_counter
        begun = clock()
        while begun < end:
            await call()
            now = clock()
            latencies.append(now - begun)
            begun = now

    async def drive(seconds: float) -> list[float]:
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        await asyncio.gather(*(loop(end, latencies) for _ in range(plan.in_flight)))
        return latencies

    await drive(plan.warmup)
    meter = Meter()
    meter.finish(await drive(plan.seconds))


def run_window(plan: Plan, send: Callable[[], str], receive: Callable[[], Iterable[str]]) -> None:
    """Do the same from one blocking loop.

    Args:
        plan: What to do.
        send: Begins a call and gives its id.
        receive: Waits for answers and gives the ids of their calls.
    """

    def drive(seconds: float) -> list[float]:
        clock = time.perf_counter
        latencies: list[float] = []
        pending: dict[str, float] = {}

        def begin(now: float) -> None:
            pending[send()] = now

        end = clock() + seconds
        for _ in range(plan.in_flight):
            begin(clock())
        while pending:
            for answered in receive():
                now = clock()
                latencies.append(now - pending.pop(answered))
                if now < end:
                    begin(now)
        return latencies

    drive(plan.warmup)
    meter = Meter()
    meter.finish(drive(plan.seconds))
