"""What is measured: the scenarios and their metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

PAYLOAD_10_KB = 10 * 1024


@dataclass(frozen=True)
class Metric:
    """One figure of a scenario.

    Args:
        name: What it is called in the table and in the CSV file.
        unit: Its unit.
        higher_is_better: Whether a larger value is the better one.
    """

    name: str
    unit: str
    higher_is_better: bool = False

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
        script: Which of a peer's clients does it.
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
    script: str = "client"
    is_stored: bool = False
    only: tuple[str, ...] = ()

    def metric(self, name: str) -> Metric:
        """Give a metric by its name."""
        return next(metric for metric in self.metrics if metric.name == name)


def _rate(name: str) -> Metric:
    return Metric(name, "1/s", higher_is_better=True)


_SERVICE_CPU = Metric("service CPU", "us")
_CLIENT_CPU = Metric("client CPU", "us")
_BROKER_CPU = Metric("broker CPU", "us")
_BOTH_CPU = Metric("service + client CPU", "us")
_RPC_CPU = (_SERVICE_CPU, _CLIENT_CPU, _BOTH_CPU, _BROKER_CPU)

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "startup",
        "start-up, from the command to the first answered call; RSS when idle after it",
        (Metric("start", "ms"), Metric("RSS", "MB")),
        role="",
    ),
    Scenario(
        "rpc-sequential",
        "RPC, one call after the other",
        (Metric("p50", "ms"), Metric("p99", "ms"), *_RPC_CPU),
        task="rpc",
    ),
    Scenario(
        "rpc-50",
        "RPC, 50 calls in flight from one client process",
        (_rate("calls"), Metric("p99", "ms"), *_RPC_CPU, Metric("RSS", "MB")),
        task="rpc",
        in_flight=50,
    ),
    Scenario(
        "rpc-50-10kb",
        "RPC, 50 in flight, one string of 10 KB there and back",
        (_rate("calls"), Metric("p99", "ms"), *_RPC_CPU),
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
        (_rate("events"), _CLIENT_CPU),
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
        (_rate("requests"), Metric("p99", "ms"), _SERVICE_CPU),
        role="http",
    ),
    Scenario(
        "many-services",
        "20 services with 5 entrypoints each in one process",
        (
            Metric("AMQP connections", ""),
            Metric("start", "ms"),
            Metric("RSS", "MB"),
            Metric("stop", "ms"),
        ),
        role="",
    ),
    Scenario(
        "memory",
        "RPC inside one process over memory://",
        (Metric("p50", "ms"), _rate("calls")),
        role="",
        task="rpc",
        script="memory",
        in_flight=50,
        only=("rpcservice",),
    ),
    Scenario(
        "local",
        "RPC between services of one process by prefer_local=True",
        (Metric("p50", "ms"), _rate("calls")),
        role="",
        task="rpc",
        script="local",
        in_flight=50,
        only=("rpcservice",),
    ),
    Scenario(
        "workers",
        "RPC, 50 in flight, on 1 and on 2 workers: rpcservice run --workers N",
        (
            _rate("busy calls, 1 worker"),
            _rate("busy calls, 2 workers"),
            Metric("busy growth", "x", higher_is_better=True),
            _rate("short calls, 1 worker"),
            _rate("short calls, 2 workers"),
            Metric("short growth", "x", higher_is_better=True),
        ),
        role="",
        task="rpc",
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
