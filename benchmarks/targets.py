"""What is to be reached: the rows of the table of targets, each one figure of the catalogue with its limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.catalogue import Metric, choose_scenarios
from benchmarks.peers import OURS, PEERS

FAST = "rpcservice-fast"
Medians = Mapping[tuple[str, str, str], float]
"""What one run measured, by scenario, peer and metric."""


@dataclass(frozen=True)
class Limit:
    """One figure next to what it has to be.

    Args:
        value: The figure, or rpcservice's divided by a peer's; None where it was not measured.
        wanted: The least that it may be where higher is better, else the most; None where all is well.
        is_reached: Whether it is; None where there is nothing to judge.
    """

    value: float | None
    wanted: float | None
    is_reached: bool | None


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Args:
        title: What it says.
        scenario: The scenario that gives it.
        name: The metric of that scenario.
        ratios: By peer, what rpcservice's figure divided by the peer's has to reach.
        bound: What rpcservice's figure itself has to reach.
        ours: The peer that is rpcservice in this row, as it is installed.
    """

    title: str
    scenario: str
    name: str
    ratios: Mapping[str, float] = field(default_factory=dict)
    bound: float | None = None
    ours: str = OURS

    @property
    def metric(self) -> Metric:
        """Its metric."""
        return choose_scenarios([self.scenario])[0].metric(self.name)

    def value(self, medians: Medians, peer: str) -> float | None:
        """Give a peer's figure, or None where it was not measured."""
        return medians.get((self.scenario, peer, self.name))

    def own(self, medians: Medians) -> Limit:
        """Give rpcservice's figure and its bound."""
        return self._judge(self.value(medians, self.ours), self.bound)

    def against(self, medians: Medians, peer: str) -> Limit:
        """Give the ratio to a peer and what it has to be."""
        ours, theirs = self.value(medians, self.ours), self.value(medians, peer)
        return self._judge(ours / theirs if ours is not None and theirs else None, self.ratios.get(peer))

    def limits(self, medians: Medians) -> list[Limit]:
        """Give all that there is to reach in this row."""
        found = [self.own(medians), *(self.against(medians, peer) for peer in self.ratios)]
        return [limit for limit in found if limit.wanted is not None]

    def _judge(self, value: float | None, wanted: float | None) -> Limit:
        if value is None or wanted is None:
            return Limit(value, wanted, None)
        return Limit(value, wanted, self.metric.is_reached(value, wanted))


def _against(
    nameko: float, faststream: float | None = None, aiopika: float | None = None, **floor: float
) -> dict[str, float]:
    named = {"nameko": nameko, "faststream": faststream, "aiopika": aiopika, **floor}
    return {peer: ratio for peer, ratio in named.items() if ratio is not None}


TARGETS: tuple[Target, ...] = (
    Target("RPC, 50 in flight", "rpc-50", "calls", _against(9, 12, 4.5, pyamqp=1.4)),
    Target("the same, 10 KB payload", "rpc-50-10kb", "calls", _against(7, 8, 3, pyamqp=1.2)),
    Target("the same, with rpcservice[fast]", "rpc-50-10kb", "calls", _against(7, 8, 3, pyamqp=1.2), ours=FAST),
    Target("RPC, one after the other: p50", "rpc-sequential", "p50", _against(0.45, 0.45, 0.7, pyamqp=1.2)),
    Target("CPU a call, service and client", "rpc-50", "service + client CPU", _against(0.15, 0.12, 0.25, pyamqp=0.9)),
    Target("broker CPU a call", "rpc-50", "broker CPU", _against(0.12)),
    Target("events handled by one service", "events-handled", "events", _against(3, 4, 2, pyamqp=1.2)),
    Target("events published from 50 greenlets", "publish-50", "events", _against(15, 4, 3)),
    Target("HTTP requests", "http", "requests", _against(1.8, wsgi=0.6)),
    Target("HTTP p99", "http", "p99", _against(1)),
    Target("AMQP connections of 20 services", "many-services", "AMQP connections", bound=1),
    Target("RSS of one idle service", "startup", "RSS", _against(1)),
    Target("start to the first answered call", "startup", "start", _against(1)),
    Target("stop of 20 services", "many-services", "stop", bound=1000),
    Target("embedded broker: p50", "memory", "p50", bound=0.12),
    Target("embedded broker: 50 in flight", "memory", "calls", bound=12_000),
    Target("prefer_local=True: p50", "local", "p50"),
    Target("prefer_local=True: 50 in flight", "local", "calls"),
    Target("1 to 2 workers, calls of 1 ms CPU", "workers", "busy growth"),
    Target("1 to 2 workers, short calls", "workers", "short growth"),
)
"""In the order of the table. A row without limits shows its figures alone."""


def peers_by_column() -> dict[str, list[str]]:
    """Give the columns of the table in their order, and whom each compares with: the bare libraries share one."""
    columns: dict[str, list[str]] = {}
    for peer in PEERS:
        if not peer.is_ours:
            columns.setdefault("floor" if peer.is_floor else peer.title, []).append(peer.name)
    return columns
