"""Which curves are measured, at which points, and how much each may grow."""

from collections.abc import Sequence
from dataclasses import dataclass, field

IN_FLIGHT = 50
"""Calls in flight, where that is not what grows."""


@dataclass(frozen=True)
class Point:
    """One point of a curve.

    Args:
        value: Where it lies on the curve's axis.
        in_flight: Calls under way at once.
        payload: Bytes of the one string that goes there and back; 0 for a short greeting.
        services: Services that one process hosts.
        called: How many of them are called, in turn; 0 for all of them.
        pending: Calls that wait for a slow method meanwhile, each in a greenlet of its own.
    """

    value: int
    in_flight: int = IN_FLIGHT
    payload: int = 0
    services: int = 1
    called: int = 0
    pending: int = 0

    @property
    def max_workers(self) -> int:
        """Workers a service, so that every call that is under way can be carried out."""
        return max(self.in_flight, IN_FLIGHT) + self.pending


@dataclass(frozen=True)
class Measure:
    """One figure of a point.

    Args:
        name: What tables call it.
        unit: Its unit.
        factor: What to multiply the seconds, or the calls a second, of the CSV file with.
        fields: The fields of the CSV file that it is the sum of.
        is_inverse: It is one divided by that sum.
    """

    name: str
    unit: str
    factor: float
    fields: tuple[str, ...]
    is_inverse: bool = False

    def of(self, total: float) -> float:
        """Give the figure for the sum of its fields."""
        return (1 / total if self.is_inverse else total) * self.factor


CALLS = Measure("calls", "1/s", 1, ("calls",))
# Throughput falls as one divided by what grows; this grows in proportion, so that it has a slope.
TIME = Measure("time a call", "us", 1e6, ("calls",), is_inverse=True)
P99 = Measure("p99", "ms", 1e3, ("p99",))
CPU = Measure("CPU a call", "us", 1e6, ("service_cpu", "client_cpu"))
BROKER_CPU = Measure("broker CPU a call", "us", 1e6, ("broker_cpu",))
SHOWN = (CALLS, P99, CPU, BROKER_CPU)
"""What tables and plots show of each point."""
SLOPES = (TIME, P99, CPU, BROKER_CPU)
"""What has its slope given."""


@dataclass(frozen=True)
class Limit:
    """How much a measure may change from one point of a curve to another.

    Args:
        measure: The measure.
        first: The value of the point to compare with.
        last: The value of the other point.
        change: The change that is still allowed: 0.1 lets it grow by a tenth, -0.15 lets it fall by so much.
    """

    measure: Measure
    first: int
    last: int
    change: float

    def is_kept(self, change: float) -> bool:
        """Whether a change is within the limit."""
        return change <= self.change if self.change > 0 else change >= self.change


@dataclass(frozen=True)
class Curve:
    """What grows, and from where to where.

    Args:
        name: What ``--curves`` calls it, and the stem of its plot.
        axis: What grows, for people.
        title: One line.
        points: Its points, in their order.
        step: What its slopes are given for, such as 100 services.
        base: The point from which on it has a slope: with few calls in flight there is nothing to gather.
        limits: What has to be kept.
    """

    name: str
    axis: str
    title: str
    points: tuple[Point, ...]
    step: int
    base: int = 0
    limits: tuple[Limit, ...] = field(default=())

    def choose(self, values: Sequence[int]) -> tuple[Point, ...]:
        """Give the points of these values; all of them for no values."""
        return tuple(point for point in self.points if not values or point.value in values)


CURVES: tuple[Curve, ...] = (
    Curve(
        "in-flight",
        "calls in flight",
        "one service, one client process",
        tuple(Point(value, in_flight=value) for value in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)),
        1000,
        IN_FLIGHT,
        (Limit(CALLS, 50, 1000, -0.15),),
    ),
    Curve(
        "payload",
        "bytes there and back",
        f"{IN_FLIGHT} calls in flight, one string of so many bytes there and back",
        tuple(Point(value, payload=value) for value in (100, 1000, 10_000, 100_000, 1_000_000)),
        1000,
    ),
    Curve(
        "services",
        "services that are called",
        f"{IN_FLIGHT} calls in flight, to all services of one process in turn",
        tuple(Point(value, services=value) for value in (1, 2, 5, 10, 20, 50, 100)),
        100,
        limits=(Limit(CPU, 1, 100, 0.1),),
    ),
    Curve(
        "hosted",
        "services hosted",
        f"{IN_FLIGHT} calls in flight, to one of the services of one process",
        tuple(Point(value, services=value, called=1) for value in (1, 10, 100)),
        100,
        limits=(Limit(CPU, 1, 100, 0.1),),
    ),
    Curve(
        "pending",
        "calls that wait",
        f"{IN_FLIGHT} calls in flight, while so many others wait for a slow method of the same process",
        tuple(Point(value, pending=value) for value in (10, 100, 1000, 10_000)),
        10_000,
        limits=(Limit(CPU, 10, 10_000, 0.1),),
    ),
)


def choose_curves(names: Sequence[str]) -> list[Curve]:
    """Give the named curves in their order; all of them for no names.

    Raises:
        ValueError: There is no curve of that name.
    """
    known = [curve.name for curve in CURVES]
    for name in names:
        if name not in known:
            raise ValueError(f"no curve {name!r}; there are: {', '.join(known)}")
    return [curve for curve in CURVES if not names or curve.name in names]
