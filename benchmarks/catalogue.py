"""What is measured: the scenarios, their metrics, and the goals against nameko."""

from collections.abc import Sequence
from dataclasses import dataclass

GOAL_PEER = "nameko"
PAYLOAD_10_KB = 10 * 1024


@dataclass(frozen=True)
class Metric:
    """One figure of a scenario.

    Args:
        name: What it is called in the table and in the CSV file.
        unit: Its unit.
        higher_is_better: Whether a larger value is the better one.
        goal: The ratio of rpcservice to nameko to reach: at least that where higher is better, else at most.
        bound: The value that rpcservice itself has to reach, in the same sense.
    """

    name: str
    unit: str
    higher_is_better: bool = False
    goal: float | None = None
    bound: float | None = None

    def is_reached(self, value: float, wanted: float) -> bool:
        """Whether a value is at least as good as the one that is wanted."""
        return value >= wanted if self.higher_is_better else value <= wanted


@dataclass(frozen=True)
class Scenario:
    """One thing that is done to every peer in turn.

    Args:
        name: What ``--scenarios`` calls it.
        title: One line for the table.
        metrics: Its figures, in the order of the table.
        role: Which service of a peer it needs: "main", "http", "many", or "" for none that stays up.
        task: What the client does: "rpc", "publish" or "" where there is no client.
        in_flight: How many calls or events are under way at once.
        payload: Bytes of the one string that goes there and back; 0 for a short greeting.
        is_stored: Whether a durable queue takes the published events, so that the broker's disk counts.
        only: The peers that it is for; all of them when empty.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    role: str = "main"
    task: str = ""
    in_flight: int = 1
    payload: int = 0
    is_stored: bool = False
    only: tuple[str, ...] = ()

    def metric(self, name: str) -> Metric:
        """Give a metric by its name."""
        return next(metric for metric in self.metrics if metric.name == name)


def _rate(name: str, goal: float | None = None, bound: float | None = None) -> Metric:
    return Metric(name, "1/s", higher_is_better=True, goal=goal, bound=bound)


_SERVICE_CPU = Metric("service CPU", "us")
_CLIENT_CPU = Metric("client CPU", "us")
_BROKER_CPU = Metric("broker CPU", "us")
_RPC_CPU = (_SERVICE_CPU, _CLIENT_CPU, _BROKER_CPU)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "startup",
        "start-up, from the command to the first answered call",
        (Metric("start", "ms"), Metric("RSS", "MB")),
        role="",
    ),
    Scenario(
        "rpc-sequential",
        "RPC, one call after the other",
        (Metric("p50", "ms", goal=0.5), Metric("p99", "ms"), *_RPC_CPU),
        task="rpc",
    ),
    Scenario(
        "rpc-50",
        "RPC, 50 calls in flight from one client process",
        (_rate("calls", goal=6), Metric("p99", "ms"), *_RPC_CPU, Metric("RSS", "MB")),
        task="rpc",
        in_flight=50,
    ),
    Scenario(
        "rpc-50-10kb",
        "RPC, 50 in flight, one string of 10 KB there and back",
        (_rate("calls", goal=5), Metric("p99", "ms"), *_RPC_CPU),
        task="rpc",
        in_flight=50,
        payload=PAYLOAD_10_KB,
    ),
    Scenario(
        "events-handled",
        "events handled, from a queue that is full",
        (_rate("events"), _SERVICE_CPU),
    ),
    Scenario(
        "publish-sequential",
        "events published with confirms, one after the other",
        (_rate("events"), _CLIENT_CPU),
        role="",
        task="publish",
    ),
    Scenario(
        "publish-50",
        "events published with confirms, from 50 greenlets or tasks",
        (_rate("events", goal=8), _CLIENT_CPU),
        role="",
        task="publish",
        in_flight=50,
    ),
    Scenario(
        "publish-50-stored",
        "the same into a durable queue: the broker's disk sets the pace",
        (_rate("events"), _CLIENT_CPU),
        role="",
        task="publish",
        in_flight=50,
        is_stored=True,
    ),
    Scenario(
        "http",
        "HTTP, GET /hello/<name>, wrk -t1 -c16",
        (_rate("requests", goal=1.5), Metric("p99", "ms"), _SERVICE_CPU),
        role="http",
    ),
    Scenario(
        "many-services",
        "20 services with 5 entrypoints each in one process",
        (
            Metric("AMQP connections", "", bound=1),
            Metric("start", "ms"),
            Metric("RSS", "MB"),
            Metric("stop", "ms", bound=1000),
        ),
        role="",
    ),
    Scenario(
        "memory",
        "RPC inside one process over memory://",
        (Metric("p50", "ms", bound=0.2), _rate("calls", bound=8000)),
        role="",
        task="memory",
        in_flight=50,
        only=("rpcservice",),
    ),
)


def choose_scenarios(names: Sequence[str]) -> list[Scenario]:
    """Give the named scenarios in the catalogue's order; all of them for no names.

    Raises:
        ValueError: There is no scenario of that name.
    """
    known = [scenario.name for scenario in SCENARIOS]
    for name in names:
        if name not in known:
            raise ValueError(f"no scenario {name!r}; there are: {', '.join(known)}")
    return [scenario for scenario in SCENARIOS if not names or scenario.name in names]
