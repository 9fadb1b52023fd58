"""Measures the points of curves: services and a client in processes of their own, the points in turn, over rounds."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.growth_curves import Curve, Point
from benchmarks.processes import Child, ChildFailed, cpu_seconds

HERE = Path(__file__).resolve().parent
_CLOCK_TICK = os.sysconf("SC_CLK_TCK")
_LIMIT = 60.0
"""Seconds that a service, or the calls that are to wait, may need before a measurement."""

Figures = dict[str, float]


@dataclass(frozen=True)
class Ground:
    """What all measurements stand on.

    Args:
        uri: The broker.
        folder: For logs and config files.
        seconds: How long one measurement lasts.
        warmup: How long the load is on before it.
        broker_pid: The broker's process, where it is ours to look at.
    """

    uri: str
    folder: Path
    seconds: float
    warmup: float
    broker_pid: int | None = None

    def spawn(self, command: list[str], name: str, env: dict[str, str]) -> Child:
        """Start a child with its own log."""
        path = f"{HERE / 'services'}:{HERE / 'clients'}:{HERE.parent}"
        env = {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **env}
        return Child(command, log=self.folder / f"{name}.log", env=env, cwd=self.folder)

    def broker_cpu(self) -> float:
        """Give the processor time of the broker so far; 0 where it is not ours."""
        return cpu_seconds(self.broker_pid) if self.broker_pid is not None else 0.0


def measure_round(
    ground: Ground, curve: Curve, points: Sequence[Point], is_backward: bool, add: Callable[[Point, Figures], None]
) -> None:
    """Measure each point once, with new processes.

    Args:
        ground: The broker, and how long to measure.
        curve: The curve.
        points: Its points.
        is_backward: Take the last point first, so that what changes with time hits both ends of the curve.
        add: Takes the figures of a point.

    Raises:
        ChildFailed: A service or the client failed.
    """
    ordered = list(reversed(points)) if is_backward else list(points)
    services: dict[str, Child] = {}
    try:
        for point in ordered:
            prefix = _prefix(curve, point)
            if prefix not in services:
                services[prefix] = _start_service(ground, prefix, point.services, _workers(curve, points, point))
        _run_client(ground, curve, ordered, services, add)
    finally:
        for service in services.values():
            service.stop()


def _prefix(curve: Curve, point: Point) -> str:
    """Name the services of a point: a process for each number of services, else one for the whole curve."""
    return f"growth_{curve.name.replace('-', '_')}_{point.services}"


def _workers(curve: Curve, points: Sequence[Point], point: Point) -> int:
    """Give the workers that a process needs for all points that it serves."""
    return max(other.max_workers for other in points if _prefix(curve, other) == _prefix(curve, point))


def _start_service(ground: Ground, prefix: str, count: int, workers: int) -> Child:
    config = ground.folder / f"{prefix}.yaml"
    # JSON is YAML too.
    config.write_text(json.dumps({"AMQP_URI": ground.uri, "max_workers": workers}))
    command = [sys.executable, "-m", "rpcservice", "run", "--config", str(config), "growth_service"]
    return ground.spawn(command, prefix, {"GROWTH_PREFIX": prefix, "GROWTH_SERVICES": str(count)})


def _run_client(
    ground: Ground,
    curve: Curve,
    points: Sequence[Point],
    services: dict[str, Child],
    add: Callable[[Point, Figures], None],
) -> None:
    plan = {
        "uri": ground.uri,
        "seconds": ground.seconds,
        "warmup": ground.warmup,
        "points": [{**asdict(point), "prefix": _prefix(curve, point)} for point in points],
    }
    command = [sys.executable, str(HERE / "clients" / "growth_client.py"), json.dumps(plan)]
    client = ground.spawn(command, "growth-client", {})
    try:
        for point in points:
            add(point, _take(ground, client, point, services[_prefix(curve, point)]))
        # Not before it has released the calls that wait: they would go back to their queue, and come again.
        client.report("done", _LIMIT)
    finally:
        client.stop()


def _take(ground: Ground, client: Child, point: Point, service: Child) -> Figures:
    try:
        client.report("begin", _LIMIT)
        begun, broker, machine = time.perf_counter(), ground.broker_cpu(), machine_cpu()
        report = client.report("end", _LIMIT + ground.seconds)
        seconds = time.perf_counter() - begun
        broker, machine = ground.broker_cpu() - broker, machine_cpu() - machine
    except ChildFailed as exc:
        raise ChildFailed(f"at {point.value}: {exc}\n    the service: {service.log_tail()}") from exc
    figures = {name: float(value) for name, value in report.items() if name != "mark"}
    ours = figures["calls"] * (figures["service_cpu"] + figures["client_cpu"])
    if ground.broker_pid is not None:
        figures["broker_cpu"] = broker / seconds / figures["calls"]
        figures["others"] = max(0.0, (machine - broker) / seconds - ours)
    return figures


def machine_cpu() -> float:
    """Give the processor time that all cores of the machine have been busy, or were taken away by its host."""
    numbers = [int(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waiting = numbers[3:5]
    return (sum(numbers) - idle - waiting) / _CLOCK_TICK
