"""How many cores so many calls a second take, from the processor time a call that ``make bench`` has measured."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.pages import render_table

SCENARIO = "rpc-50"
PEER = "rpcservice"
RATES = (10_000, 100_000, 1_000_000)
LOAD = 0.6
"""The share of a core that is planned with: the rest is for peaks, and for hosts that fail."""
NODE_CORES = 8
SIDES = {"service CPU": "services", "client CPU": "callers", "broker CPU": "brokers"}


class CostsUnknown(Exception):
    """Raised when a file of results holds no costs of a call; the message names the command that measures them."""


@dataclass(frozen=True)
class Costs:
    """What one call costs.

    Args:
        date: When it was measured.
        commit: At which commit.
        where: On what.
        microseconds: Processor time a call, by metric.
    """

    date: str
    commit: str
    where: str
    microseconds: Mapping[str, float]


def read_costs(path: Path, date: str = "") -> Costs:
    """Give the costs of a call from a file of results.

    Args:
        path: The CSV file of ``make bench``.
        date: Of which run; the latest one when empty.

    Raises:
        CostsUnknown: It holds none.
    """
    with open(path, newline="") as source:
        rows = [
            row
            for row in csv.DictReader(source)
            if (row["peer"], row["scenario"]) == (PEER, SCENARIO) and row["metric"] in SIDES
        ]
    date = date or (rows[-1]["date"] if rows else "")
    chosen = {row["metric"]: row for row in rows if row["date"] == date}
    missing = [metric for metric in SIDES if metric not in chosen]
    if missing:
        raise CostsUnknown(f"{path} holds no {missing[0]!r} of {SCENARIO} of {date or 'any date'}; run: make bench")
    row = chosen["broker CPU"]
    where = f"{row['machine']}, {row['cores']} cores, {row['broker']}, Python {row['python']}"
    return Costs(date, row["commit"], where, {metric: float(chosen[metric]["value"]) for metric in SIDES})


def fleet_block(costs: Costs) -> str:
    """Give the table of a fleet, and what it comes from."""
    header = ["calls a second", *(f"{side}, {costs.microseconds[metric]:.0f} us" for metric, side in SIDES.items())]
    rows = [[f"{rate:,}", *(_shown(cores(costs, metric, rate)) for metric in SIDES)] for rate in RATES]
    nodes = ceil(cores(costs, "broker CPU", RATES[-1]) / NODE_CORES)
    return (
        f"{render_table(header, rows)}\n\n"
        f"Cores for so many calls a second, and what a call costs; the brokers of the last row are {nodes} nodes of "
        f"{NODE_CORES} cores.\nFrom the rows {SCENARIO} of ``benchmarks/results.csv`` of {costs.date}, commit "
        f"{costs.commit}:\n{costs.where}."
    )


def cores(costs: Costs, metric: str, rate: int) -> float:
    """Give the cores that one side needs for so many calls a second."""
    return rate * costs.microseconds[metric] / 1e6 / LOAD


def _shown(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"
